"""Where one picture shows what another does: features, local geometry, a smooth field, and likeness along it.

Features are SIFT (Lowe 2004) in its square-root form (Arandjelovic and Zisserman 2012, "Three things everyone should
know to improve object retrieval"): they survive rotation, scale, deformation and gain. Of a mirror image and of an
inverted picture the same features follow by reordering the numbers of each descriptor, so that a picture is looked at
once. Descriptors are rounded to whole numbers: their products are exact, in whatever order they are added up.

No single map of the plane is fitted, because an elastic deformation has none. Matches support each other where the
turn and scale of one predict the place of another, the more loosely the further away it is; groups of such matches
carry a thin-plate spline, and the pictures are correlated in small windows along it. So a shaded, erased or partly
covered picture agrees where it can, and chance agrees nowhere.
"""

import math
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import RBFInterpolator
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from augment.gray import gray_percentiles

Floats = NDArray[np.float64]

SAMPLE_KEYPOINTS, SLICE_KEYPOINTS = 1000, 2000
_DESCRIPTOR_LENGTH = 255.0
_MIN_SIDE = 256  # pixels; from here on, features are looked for at half the resolution
_OCTAVE_SHARES = (0.4, 0.3, 0.2, 0.1)  # of the features kept, from fine to coarse, so that other scales find partners
_FINEST_PX = 2.4
_MAX_RATIO = 0.85  # of distances, best to second best (Lowe 2004); geometry sorts out the rest
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
_WINDOW_PX = 17  # of the windows that are correlated, at the resolution that is looked at
_BLUR_PX = 1.0
_MIN_CONTRAST = 2.0  # standard deviation in a window, of 255 gray levels
AGREEING_NCC = 0.7
_MIN_OVERLAP = 0.05  # of the sample's pixels
_MIN_CLASS = 0.2 * _MIN_OVERLAP  # of the sample's pixels, both labels together


class Variant(NamedTuple):
    """How a picture may have been changed before it was turned: mirrored left to right, gray levels inverted."""

    mirrored: bool = False
    inverted: bool = False


VARIANTS = tuple(Variant(mirrored, inverted) for inverted in (False, True) for mirrored in (False, True))


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """The keypoints of a picture, ordered so that the first of them are a fair choice of all scales.

    Attributes:
        points: (n, 2) float32, x and y in pixels of the picture at full resolution.
        angles: (n,) float32, direction in radians, clockwise as displayed from the x axis.
        sizes: (n,) float32, diameter in pixels of the picture at full resolution.
        descriptors: (n, 128) uint8, each row about 255 long.
        width: of the picture in pixels.
    """

    points: NDArray[np.float32]
    angles: NDArray[np.float32]
    sizes: NDArray[np.float32]
    descriptors: NDArray[np.uint8]
    width: int

    def __len__(self) -> int:
        return len(self.points)

    def strongest(self, most: int) -> "Features":
        """Return the first of them."""
        return Features(self.points[:most], self.angles[:most], self.sizes[:most], self.descriptors[:most], self.width)

    def seen_as(self, variant: Variant) -> "Features":
        """Return the features of the picture's mirror image, or of the picture inverted, or both."""
        points, angles = self.points, self.angles
        if variant.mirrored:
            points = points * np.array((-1, 1), np.float32) + np.array((self.width - 1, 0), np.float32)
            angles = np.float32(np.pi) - angles
        if variant.inverted:
            angles = angles + np.float32(np.pi)
        return Features(points, angles, self.sizes, self.descriptors[:, _reordering(variant)], self.width)


@cache
def _reordering(variant: Variant) -> NDArray[np.intp]:
    """Return where each number of a descriptor comes from; rows are across the direction, columns along it."""
    order = np.arange(128).reshape(4, 4, 8)
    if variant.mirrored:
        order = order[::-1, :, -np.arange(8) % 8]
    if variant.inverted:
        order = order[::-1, ::-1]
    return order.ravel()


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
        """By how much the sample is turned counter-clockwise as displayed, 0 to 360."""
        return float(math.degrees(math.atan2(self.transform[1, 0], self.transform[0, 0])) % 360.0)


NO_MATCH = Match(np.zeros((0, 2), np.float32), np.zeros((0, 2), np.float32), np.eye(2, 3))


def mirror(image: NDArray[Any], mirrored: bool) -> NDArray[Any]:
    """Return a picture as it is, or mirrored left to right."""
    return np.ascontiguousarray(image[:, ::-1]) if mirrored else image


def shrinkage(image: NDArray[Any]) -> int:
    """Return by how much a picture is shrunk before it is looked at: large ones are faster and less noisy so."""
    return 2 if min(image.shape) >= _MIN_SIDE else 1


def find_features(image: NDArray[Any], *, most: int = SAMPLE_KEYPOINTS) -> Features:
    """Return the keypoints of a picture (Y, X) of any gray dtype, at most so many."""
    gray, scale = to_gray8(image), shrinkage(image)
    if scale > 1:
        gray = cv2.resize(gray, (gray.shape[1] // scale, gray.shape[0] // scale), interpolation=cv2.INTER_AREA)
    sift = cv2.SIFT_create()  # type: ignore[attr-defined]  # missing in OpenCV's types
    keypoints, raw = sift.detectAndCompute(gray, None)
    if raw is None:
        none = np.zeros(0, np.float32)
        return Features(np.zeros((0, 2), np.float32), none, none, np.zeros((0, 128), np.uint8), image.shape[1])
    sizes = np.array([point.size for point in keypoints], np.float32)
    order = _fair_order(sizes, np.array([point.response for point in keypoints]))[:most]
    points = np.array([keypoints[k].pt for k in order], np.float32)
    angles = np.radians(np.array([keypoints[k].angle for k in order], np.float32))
    share = raw[order] / np.maximum(raw[order].sum(axis=1, keepdims=True), 1.0)
    descriptors = np.rint(np.sqrt(share) * _DESCRIPTOR_LENGTH).astype(np.uint8)
    points = (points + np.float32(0.5)) * np.float32(scale) - np.float32(0.5)
    return Features(points, angles, sizes[order] * np.float32(scale), descriptors, image.shape[1])


def _fair_order(sizes: NDArray[np.float32], responses: Floats) -> NDArray[np.intp]:
    """Return an order of keypoints of which every beginning holds the strongest of each octave, by its share."""
    octave = np.clip(np.floor(np.log2(sizes / _FINEST_PX)), 0, len(_OCTAVE_SHARES) - 1).astype(np.intp)
    turn = np.empty(len(sizes))
    for number, share in enumerate(_OCTAVE_SHARES):
        own = np.flatnonzero(octave == number)
        turn[own[np.argsort(-responses[own], kind="stable")]] = np.arange(1, len(own) + 1) / share
    return np.argsort(turn, kind="stable")


def distances(sample: Features, other: Features) -> NDArray[np.float32]:
    """Return (n, m) squared distances of descriptors; exact, because all are whole numbers below 2**24."""
    here, there = sample.descriptors.astype(np.float32), other.descriptors.astype(np.float32)
    squares = np.square(here).sum(axis=1)[:, None] + np.square(there).sum(axis=1)
    return np.asarray(squares - 2.0 * (here @ there.T), np.float32)


def pair_features(sample: Features, other: Features) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return which features of the sample are much nearer to one of the other's than to any second one."""
    distance = distances(sample, other)
    rows = np.arange(len(distance))
    best = distance.argmin(axis=1)
    first = distance[rows, best].copy()
    distance[rows, best] = np.inf
    clear = first < _MAX_RATIO * _MAX_RATIO * distance.min(axis=1)
    return rows[clear], best[clear]


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


class Agreement(NamedTuple):
    """How alike a sample and another picture are along a warp.

    Attributes:
        ncc: (y, x) normalised cross-correlation in a window around every step-th pixel of the sample; 0 where there is
            nothing to compare.
        inside: (y, x) where the other picture has pixels.
        step: of the pixels.
    """

    ncc: NDArray[np.float32]
    inside: NDArray[np.bool_]
    step: int

    @property
    def area_px(self) -> int:
        """Pixels of the sample around which the two agree."""
        return int((self.ncc >= AGREEING_NCC).sum()) * self.step**2

    @property
    def inside_px(self) -> int:
        """Pixels of the sample that the other picture has, too."""
        return int(self.inside.sum()) * self.step**2


def compare(
    sample: NDArray[Any], other: NDArray[Any], warp: Warp, *, inverted: bool = False
) -> tuple[Agreement, float]:
    """Return the agreement in windows, and the correlation of all that lies inside, of a sample and another picture."""
    step = shrinkage(sample)
    where = warp.pixel_map(sample.shape, step)
    scale = max(warp.match.scale, 0.25)
    inside = _inside(where, other.shape)
    there = cv2.remap(_smooth(to_gray8(other), max(_BLUR_PX, 0.5 * scale * step)), where, None, cv2.INTER_LINEAR)
    here = _smooth(to_gray8(sample), _BLUR_PX * step / 2 + 0.5)[::step, ::step]
    if inverted:
        here = np.float32(255.0) - here
    here, there = (np.where(inside, each, np.float32(0.0)) for each in (here, there))
    weight = _box(inside.astype(np.float32))
    enough = weight > 0.5
    weight = np.maximum(weight, np.float32(1e-6))
    mean_a, mean_b = _box(here) / weight, _box(there) / weight
    var_a = np.maximum(_box(here * here) / weight - mean_a * mean_a, 0.0)
    var_b = np.maximum(_box(there * there) / weight - mean_b * mean_b, 0.0)
    cov = _box(here * there) / weight - mean_a * mean_b
    textured = enough & inside & (var_a > _MIN_CONTRAST**2) & (var_b > _MIN_CONTRAST**2)
    ncc = np.where(textured, cov / np.sqrt(np.maximum(var_a * var_b, 1e-6)), 0.0).astype(np.float32)
    return Agreement(ncc, inside, step), _correlation(here[inside], there[inside])


def _correlation(here: NDArray[np.float32], there: NDArray[np.float32]) -> float:
    if not len(here):
        return 0.0
    one, other = here.astype(np.float64) - float(here.mean()), there.astype(np.float64) - float(there.mean())
    norm = float(np.sqrt((one * one).sum() * (other * other).sum()))
    return float((one * other).sum()) / norm if norm > 0 else 0.0


def _box(image: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(cv2.blur(image, (_WINDOW_PX, _WINDOW_PX), borderType=cv2.BORDER_CONSTANT), np.float32)


def label_agreement(label: NDArray[Any], other: NDArray[Any], where: NDArray[np.float32], step: int) -> float | None:
    """Return the F1 score of the rarer class between a label and another picture's, at the mapped places.

    Args:
        label: (Y, X) class indices or ids; everything above 0 counts as one class.
        other: (Y, X).
        where: of `Warp.pixel_map`.
        step: of the same.

    Returns:
        0 to 1; None where there is too little of either class to compare.
    """
    inside = _inside(where, other.shape)
    warped = cv2.remap((other > 0).astype(np.uint8), where, None, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REFLECT)
    here, there = (label[::step, ::step] > 0)[inside], (warped > 0)[inside]
    if there.sum() * 2 > there.size:
        here, there = ~here, ~there
    either = int(here.sum() + there.sum())
    if either < _MIN_CLASS * inside.size:
        return None
    return 2.0 * int((here & there).sum()) / either


def to_gray8(image: NDArray[Any]) -> NDArray[np.uint8]:
    """Return a picture (Y, X) in 8 bits, as it is or spread between its own dark and bright ends."""
    if image.dtype == np.uint8:
        return np.ascontiguousarray(image)
    low, high = gray_percentiles(image)
    spread = (image.astype(np.float32) - np.float32(low)) * np.float32(255.0 / max(high - low, 1e-12))
    return np.ascontiguousarray(np.clip(spread, 0.0, 255.0).astype(np.uint8))


def _inside(where: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    x, y = where[..., 0], where[..., 1]
    inside: NDArray[np.bool_] = (x >= 0) & (y >= 0) & (x <= shape[1] - 1) & (y <= shape[0] - 1)
    return inside


def _smooth(image: NDArray[Any], sigma: float) -> NDArray[np.float32]:
    smooth: NDArray[np.float32] = cv2.GaussianBlur(image.astype(np.float32), (0, 0), sigma)
    return smooth
