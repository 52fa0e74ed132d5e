"""Where one picture shows what another does: matches that support each other, and the smooth field that they carry.

No single map of the plane is fitted, because an elastic deformation has none. Matches support each other where the
turn and scale of one predict the place of another, the more loosely the further away it is; groups of such matches
carry a thin-plate spline.
"""

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import RBFInterpolator
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from pipeline.audit.search.features import Features, distances, pair_features

Floats = NDArray[np.float64]

_CHOICES = 3  # nearest features that may be the partner once the field says where to look
_REACH_PX, _LOOSE_PX, _LOOSE = 150.0, 4.0, 0.35  # matches within reach predict each other's place to a + b * distance
_MAX_TURN, _MAX_LOG_SCALE = math.radians(40.0), 0.5
_MIN_SUPPORT = 2
_MAX_MATCHES = 500
MIN_GROUP = 5
_FIT_PX = (14.0, 8.0, 5.0)  # how far a match may be off in each round of fitting
_MAX_CONTROLS = 200
_SMOOTHING = 50.0
_NODE_PX = 16


@dataclass(frozen=True, slots=True, eq=False)
class Match:
    """Features of two pictures that agree.

    Attributes:
        sample_points: (n, 2) x and y of the agreeing keypoints in the sample, in pixels.
        other_points: (n, 2) of their partners.
        transform: (2, 3) from sample to other, the similarity that fits them best.
    """

    sample_points: NDArray[np.float32]
    other_points: NDArray[np.float32]
    transform: Floats

    @property
    def inliers(self) -> int:
        """Agreeing matches, every place counted once."""
        both = self.sample_points, self.other_points
        return min(len(np.unique(np.rint(points / 2), axis=0)) for points in both)

    @property
    def scale(self) -> float:
        """Pixels of the other picture for one of the sample."""
        return float(math.hypot(self.transform[0, 0], self.transform[1, 0]))

    @property
    def angle_deg(self) -> float:
        """By how much the sample is turned counter-clockwise as displayed: 0 to 359.9, in steps of 0.1."""
        return round(math.degrees(math.atan2(self.transform[1, 0], self.transform[0, 0])) % 360.0, 1) % 360.0

    def reversed(self) -> "Match":
        """Return where the other picture lies in the sample."""
        return Match(self.other_points, self.sample_points, _similarity(self.other_points, self.sample_points))


NO_MATCH = Match(np.zeros((0, 2), np.float32), np.zeros((0, 2), np.float32), np.eye(2, 3))


def match_features(sample: Features, other: Features) -> Match:
    """Return the largest group of matches that support each other."""
    if min(len(sample), len(other)) < MIN_GROUP:
        return NO_MATCH
    rows, partners = pair_features(sample, other)
    group = _largest_group(sample, other, rows[:_MAX_MATCHES], partners[:_MAX_MATCHES])
    if len(group) < MIN_GROUP:
        return NO_MATCH
    here, there = sample.points[rows[group]], other.points[partners[group]]
    return Match(here, there, _similarity(here, there))


def _largest_group(
    sample: Features, other: Features, rows: NDArray[np.intp], partners: NDArray[np.intp]
) -> NDArray[np.intp]:
    """Return which of the matches make the largest group in which each supports at least two others."""
    here = sample.points[rows].astype(np.float64) @ (1, 1j)
    there = other.points[partners].astype(np.float64) @ (1, 1j)
    log_scale = np.log(other.sizes[partners] / sample.sizes[rows]).astype(np.float64)
    turn = (other.angles[partners] - sample.angles[rows]).astype(np.float64)
    step, image = here - here[:, None], there - there[:, None]  # [i, j]: from match i to match j
    distance = np.abs(step)
    off = np.abs(step * np.exp(log_scale + 1j * turn)[:, None] - image) / np.exp(log_scale)[:, None]
    fits = off < _LOOSE_PX + _LOOSE * distance
    turned = np.abs(np.angle(np.exp(1j * (turn - turn[:, None])))) < _MAX_TURN
    scaled = np.abs(log_scale - log_scale[:, None]) < _MAX_LOG_SCALE
    apart = (distance > _LOOSE_PX) & (np.abs(image) > 1.0) & (distance < _REACH_PX)
    supports = fits & fits.T & turned & scaled & apart
    kept = np.ones(len(rows), np.bool_)
    while True:
        enough = kept & ((supports & kept).sum(axis=1) >= _MIN_SUPPORT)
        if (enough == kept).all():
            break
        kept = enough
    members = np.flatnonzero(kept)
    if not len(members):
        return members
    _, label = connected_components(csr_array(supports[np.ix_(members, members)]), directed=False)
    largest: NDArray[np.intp] = members[label == np.bincount(label).argmax()]
    return largest


def _similarity(here: NDArray[np.float32], there: NDArray[np.float32]) -> Floats:
    """Return (2, 3), the turn, scale and shift that fit points best (Umeyama 1991, without a mirror)."""
    a, b = here.astype(np.float64) @ (1, 1j), there.astype(np.float64) @ (1, 1j)
    middle_a, middle_b = a.mean(), b.mean()
    factor = np.vdot(a - middle_a, b - middle_b) / max(np.vdot(a - middle_a, a - middle_a).real, 1e-9)
    shift = middle_b - factor * middle_a
    return np.array([[factor.real, -factor.imag, shift.real], [factor.imag, factor.real, shift.imag]])


@dataclass(frozen=True, slots=True, eq=False)
class Warp:
    """A thin-plate spline that says where in the other picture each pixel of the sample lies.

    Attributes:
        field: of points (n, 2), x and y in pixels of the sample.
        match: the matches that it was fitted to.
    """

    field: Any
    match: Match

    def __call__(self, points: NDArray[Any]) -> Floats:
        """Return where points (n, 2), x and y in pixels of the sample, lie in the other picture."""
        return np.asarray(self.field(np.asarray(points, np.float64)), np.float64)

    def pixel_map(self, shape: tuple[int, ...], step: int) -> NDArray[np.float32]:
        """Return (y, x, 2): for every step-th pixel of a sample of this shape, x and y in the other picture."""
        size = [math.ceil(side / step) for side in shape]
        n_nodes = [max(2, math.ceil(side / _NODE_PX) + 1) for side in shape]
        ys, xs = (np.linspace(0, side - 1, n) for side, n in zip(shape, n_nodes, strict=True))
        nodes = self(np.stack(np.meshgrid(xs, ys), axis=-1).reshape(-1, 2)).reshape(*n_nodes, 2).astype(np.float32)
        rows = (np.arange(size[0]) * step * (n_nodes[0] - 1) / max(shape[0] - 1, 1)).astype(np.float32)
        columns = (np.arange(size[1]) * step * (n_nodes[1] - 1) / max(shape[1] - 1, 1)).astype(np.float32)
        grid = np.meshgrid(columns, rows)
        where: NDArray[np.float32] = cv2.remap(
            nodes, grid[0], grid[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        return where


def fit_warp(sample: Features, other: Features, found: Match) -> Warp:
    """Return the smooth field that the matches support, after true matches that were left out are taken back."""
    distance = distances(sample, other)
    nearest = np.argpartition(distance, min(_CHOICES, distance.shape[1] - 1), axis=1)[:, :_CHOICES]
    here = np.repeat(sample.points, nearest.shape[1], axis=0)
    there = other.points[nearest.ravel()]
    warp = Warp(_spline(found.sample_points, found.other_points), found)
    for reach in _FIT_PX:
        off = np.hypot(*(warp(here) - there).T) / found.scale
        close = np.flatnonzero(off < reach)
        points, first = np.unique(np.rint(here[close]), axis=0, return_index=True)
        close = close[first]
        if len(points) < max(MIN_GROUP, len(found.sample_points) // 2):
            break
        match = Match(here[close], there[close], _similarity(here[close], there[close]))
        warp = Warp(_spline(here[close], there[close]), match)
    return warp


def _spline(here: NDArray[Any], there: NDArray[Any]) -> RBFInterpolator:
    """Return the spline through some of the matches, evenly chosen; a pixel or two off, to bridge their noise."""
    points, first = np.unique(np.rint(here).astype(np.float64), axis=0, return_index=True)
    chosen = np.linspace(0, len(points) - 1, min(len(points), _MAX_CONTROLS)).astype(np.intp)
    targets = there[first[chosen]].astype(np.float64)
    straight = np.linalg.matrix_rank(points[chosen] - points[chosen].mean(axis=0)) < 2
    degree = -1 if straight else 1  # points on one line carry no affine map
    return RBFInterpolator(points[chosen], targets, kernel="thin_plate_spline", smoothing=_SMOOTHING, degree=degree)
