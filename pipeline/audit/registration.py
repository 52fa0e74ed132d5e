"""Where one picture lies in another: matched features, the deformation that fits them, and how alike the two are then.

Features are SIFT (Lowe 2004) in its square-root form (Arandjelovic and Zisserman 2012, "Three things everyone should
know to improve object retrieval"): they survive rotation, deformation and gain; a mirror image is looked up as such.
Descriptors are rounded to whole numbers, so that their products are exact, in whatever order they are added up.
"""

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.polynomial import polynomial
from numpy.typing import NDArray

from augment.gray import gray_percentiles

Floats = NDArray[np.float64]

SAMPLE_KEYPOINTS, SLICE_KEYPOINTS, FULL_KEYPOINTS = 400, 1000, 2000  # the last at full resolution
_DESCRIPTOR_LENGTH = 255.0
_MAX_RATIO = 0.8  # of distances, best to second best (Lowe 2004)
_RANSAC_PX = 16.0
_MIN_SCALE, _MAX_SCALE = 0.7, 1.4
_MIN_MATCHES = 4
_FIT_PX = (12.0, 6.0, 4.0)  # how far a match may be off in each round of fitting
_MIN_FOR_CUBIC, _MIN_FOR_SQUARE = 30, 16
_SHRINK = 2  # pictures are compared at half the resolution
_MIN_OVERLAP = 0.05  # of the sample's pixels
_MIN_CLASS = 0.2 * _MIN_OVERLAP  # of the sample's pixels, both labels together
_BLUR_PX = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """The keypoints of a picture, the strongest first.

    Attributes:
        points: (n, 2) float32, x and y in pixels of the picture at full resolution.
        descriptors: (n, 128) uint8, each row about 255 long.
    """

    points: NDArray[np.float32]
    descriptors: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.points)

    def strongest(self, most: int) -> "Features":
        """Return the first of them."""
        return Features(self.points[:most], self.descriptors[:most])


@dataclass(frozen=True, slots=True, eq=False)
class Match:
    """Where one picture lies in another.

    Attributes:
        sample_points: (n, 2) x and y of the agreeing keypoints in the sample, in pixels.
        other_points: (n, 2) of their partners.
        transform: (2, 3) from sample to other, the partial affine map that they agree on.
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


@dataclass(frozen=True, slots=True, eq=False)
class Warp:
    """Polynomials that say where in the other picture each pixel of the sample lies.

    Attributes:
        coefficients: (powers of x, powers of y, 2), for x and y in the other picture.
        centre: (2,) and `spread`: what points are shifted and divided by before.
    """

    coefficients: Floats
    centre: Floats
    spread: float

    def __call__(self, points: NDArray[Any]) -> Floats:
        """Return where points (n, 2), x and y in pixels of the sample, lie in the other picture."""
        x, y = (np.asarray(points, np.float64) - self.centre).T / self.spread
        return np.asarray(polynomial.polyval2d(x, y, self.coefficients).T, np.float64)

    def pixel_map(self, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Return (y, x, 2): for every second pixel of a sample of this shape, x and y in the other picture."""
        x, y = (
            (np.arange(0, side, _SHRINK) - centre) / self.spread
            for side, centre in zip(reversed(shape), self.centre, strict=True)
        )
        return np.ascontiguousarray(polynomial.polygrid2d(x, y, self.coefficients).T, np.float32)


def mirror(image: NDArray[Any], mirrored: bool) -> NDArray[Any]:
    """Return a picture as it is, or mirrored left to right."""
    return np.ascontiguousarray(image[:, ::-1]) if mirrored else image


def find_features(image: NDArray[Any], *, most: int = SAMPLE_KEYPOINTS, half: bool = True) -> Features:
    """Return the strongest keypoints of a picture.

    Args:
        image: (Y, X) of any gray dtype.
        most: keypoints to keep.
        half: look at half the resolution, which is faster and less easily misled by noise.
    """
    gray = _to_gray8(image)
    scale = 2 if half and min(gray.shape) >= 64 else 1
    if scale > 1:
        gray = cv2.resize(gray, (gray.shape[1] // scale, gray.shape[0] // scale), interpolation=cv2.INTER_AREA)
    sift = cv2.SIFT_create(nfeatures=most)  # type: ignore[attr-defined]  # missing in OpenCV's types
    keypoints, raw = sift.detectAndCompute(gray, None)
    if raw is None:
        return Features(np.zeros((0, 2), np.float32), np.zeros((0, 128), np.uint8))
    order = sorted(range(len(keypoints)), key=lambda k: -keypoints[k].response)[:most]
    points = np.array([keypoints[k].pt for k in order], np.float32)
    share = raw[order] / np.maximum(raw[order].sum(axis=1, keepdims=True), 1.0)
    descriptors = np.rint(np.sqrt(share) * _DESCRIPTOR_LENGTH).astype(np.uint8)
    return Features((points + np.float32(0.5)) * np.float32(scale) - np.float32(0.5), descriptors)


def match_features(sample: Features, other: Features) -> Match:
    """Return the matches of a sample's features with another picture's that agree on one rotation, scale and shift."""
    if min(len(sample), len(other)) < _MIN_MATCHES:
        return NO_MATCH
    rows, partners = pair_features(sample, other)
    if len(rows) < _MIN_MATCHES:
        return NO_MATCH
    here, there = sample.points[rows], other.points[partners]
    cv2.setRNGSeed(0)
    transform, kept = cv2.estimateAffinePartial2D(here, there, method=cv2.RANSAC, ransacReprojThreshold=_RANSAC_PX)
    if transform is None:
        return NO_MATCH
    inside = kept.ravel() > 0
    found = Match(here[inside], there[inside], np.asarray(transform, np.float64))
    return found if _MIN_SCALE <= found.scale <= _MAX_SCALE else NO_MATCH


def pair_features(sample: Features, other: Features) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return which features of the sample are much nearer to one of the other's than to any second one."""
    # Squared distances, less the sample's own length; exact, because all are whole numbers below 2**24.
    here, there = sample.descriptors.astype(np.float32), other.descriptors.astype(np.float32)
    distance = np.square(there).sum(axis=1) - 2.0 * (here @ there.T)
    rows = np.arange(len(distance))
    best = distance.argmin(axis=1)
    first = distance[rows, best].copy()
    distance[rows, best] = np.inf
    length = np.square(here).sum(axis=1)
    clear = length + first < _MAX_RATIO * _MAX_RATIO * (length + distance.min(axis=1))
    return rows[clear], best[clear]


def fit_warp(sample: Features, other: Features, found: Match) -> Warp:
    """Return the smoothest warp that the matches support.

    An elastic deformation bends what RANSAC takes for one rotation, scale and shift, so that true matches far from the
    middle are lost. They are taken back: fitted, chosen anew by how far they are off the fit, and fitted again.
    """
    rows, partners = pair_features(sample, other)
    here, there = sample.points[rows].astype(np.float64), other.points[partners].astype(np.float64)
    predicted = here @ found.transform[:, :2].T + found.transform[:, 2]
    close = np.hypot(*(predicted - there).T) < 2 * _FIT_PX[0]
    if close.sum() < _MIN_FOR_SQUARE:
        return _fit(found.sample_points.astype(np.float64), found.other_points.astype(np.float64))
    warp = _fit(here[close], there[close])
    for reach in _FIT_PX:
        close = np.hypot(*(warp(here) - there).T) < reach
        if close.sum() < _MIN_FOR_SQUARE:
            break
        warp = _fit(here[close], there[close])
    return warp


def correlate(sample: NDArray[Any], other: NDArray[Any], where: NDArray[np.float32]) -> float:
    """Return the normalised cross-correlation (NCC) of a sample with what another picture shows at the mapped places.

    Normalised, because samples differ from their slices in gain and bias, which it does not change.

    Args:
        sample: (Y, X).
        other: (Y, X).
        where: of `Warp.pixel_map`.

    Returns:
        -1 to 1; 0 where too few pixels lie inside the other picture.
    """
    inside = _inside(where, other.shape)
    if inside.sum() < _MIN_OVERLAP * inside.size:
        return 0.0
    warped = cv2.remap(_smooth(other), where, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    here = _smooth(sample)[::_SHRINK, ::_SHRINK][inside].astype(np.float64)
    there = warped[inside].astype(np.float64)
    here, there = here - here.mean(), there - there.mean()
    norm = float(np.sqrt((here * here).sum() * (there * there).sum()))
    return float((here * there).sum()) / norm if norm > 0 else 0.0


def label_agreement(label: NDArray[Any], other: NDArray[Any], where: NDArray[np.float32]) -> float | None:
    """Return the F1 score of the rarer class between a label and another picture's, at the mapped places.

    Args:
        label: (Y, X) class indices or ids; everything above 0 counts as one class.
        other: (Y, X).
        where: of `Warp.pixel_map`.

    Returns:
        0 to 1; None where there is too little of either class to compare.
    """
    inside = _inside(where, other.shape)
    warped = cv2.remap((other > 0).astype(np.uint8), where, None, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REFLECT)
    here, there = (label[::_SHRINK, ::_SHRINK] > 0)[inside], (warped > 0)[inside]
    if there.sum() * 2 > there.size:
        here, there = ~here, ~there
    either = int(here.sum() + there.sum())
    if either < _MIN_CLASS * inside.size:
        return None
    return 2.0 * int((here & there).sum()) / either


def _to_gray8(image: NDArray[Any]) -> NDArray[np.uint8]:
    """Return a picture (Y, X) in 8 bits, as it is or spread between its own dark and bright ends."""
    if image.dtype == np.uint8:
        return np.ascontiguousarray(image)
    low, high = gray_percentiles(image)
    spread = (image.astype(np.float32) - np.float32(low)) * np.float32(255.0 / max(high - low, 1e-12))
    return np.ascontiguousarray(np.clip(spread, 0.0, 255.0).astype(np.uint8))


def _fit(here: Floats, there: Floats) -> Warp:
    """Return the least-squares fit; a term x**i * y**j counts where i + j is at most the degree."""
    degree = 3 if len(here) >= _MIN_FOR_CUBIC else 2 if len(here) >= _MIN_FOR_SQUARE else 1
    centre = np.asarray(here.mean(axis=0), np.float64)
    spread = float(max(np.abs(here - centre).max(), 1.0))
    x, y = (here - centre).T / spread
    counts = np.add.outer(range(degree + 1), range(degree + 1)) <= degree
    terms = polynomial.polyvander2d(x, y, [degree, degree])[:, counts.ravel()]
    coefficients = np.zeros((degree + 1, degree + 1, 2))
    coefficients[counts] = np.linalg.lstsq(terms, there, rcond=None)[0]
    return Warp(coefficients, centre, spread)


def _inside(where: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    x, y = where[..., 0], where[..., 1]
    inside: NDArray[np.bool_] = (x >= 0) & (y >= 0) & (x <= shape[1] - 1) & (y <= shape[0] - 1)
    return inside


def _smooth(image: NDArray[Any]) -> NDArray[np.float32]:
    smooth: NDArray[np.float32] = cv2.GaussianBlur(image.astype(np.float32), (0, 0), _BLUR_PX)
    return smooth
