"""The deformation between a sample and its slice, recovered from matched features, and how well it explains both."""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.audit.features import Features
from pipeline.audit.matching import Match, pair_up

Floats = NDArray[np.float64]

_FIT_PX = (12.0, 6.0, 4.0)  # how far a match may be off in each round of fitting
_FEWEST_FOR_CUBIC, _FEWEST_FOR_SQUARE = 30, 16
_SHRINK = 2  # pictures are compared at half the resolution
_SMALLEST_OVERLAP = 0.05  # of the sample's pixels
_BLUR_PX = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Warp:
    """Polynomials that say where in the other picture each pixel of the sample lies.

    Attributes:
        degree: of both polynomials, 1 to 3.
        coefficients: (terms, 2), for x and y.
        centre: (2,) and `spread`: what points are shifted and divided by before.
    """

    degree: int
    coefficients: Floats
    centre: Floats
    spread: float

    def __call__(self, points: NDArray[Any]) -> Floats:
        """Return where points (n, 2), x and y in pixels of the sample, lie in the other picture."""
        return _terms((np.asarray(points, np.float64) - self.centre) / self.spread, self.degree) @ self.coefficients

    def pixel_map(self, shape: tuple[int, int]) -> NDArray[np.float32]:
        """Return (y, x, 2): for every second pixel of a sample of this shape, x and y in the other picture."""
        columns, rows = (
            np.vander((np.arange(0, side, _SHRINK) - centre) / self.spread, self.degree + 1, increasing=True)
            for side, centre in zip(reversed(shape), self.centre, strict=True)
        )
        grid = np.zeros((2, self.degree + 1, self.degree + 1))
        for (i, j), (x, y) in zip(_powers(self.degree), self.coefficients, strict=True):
            grid[:, j, i] = x, y
        where = np.stack([rows @ axis @ columns.T for axis in grid], axis=-1)
        return where.astype(np.float32)


def fit_warp(sample: Features, other: Features, found: Match) -> Warp:
    """Return the smoothest warp that the matches support, fitted again with those that it explains."""
    rows, partners = pair_up(sample, other)
    here, there = sample.points[rows].astype(np.float64), other.points[partners].astype(np.float64)
    linear = np.concatenate((found.transform[:, :2].T, found.transform[:, 2:].T))
    predicted = here @ linear[:2] + linear[2]
    close = np.hypot(*(predicted - there).T) < 2 * _FIT_PX[0]
    warp = _fit(here[close], there[close]) if close.sum() >= _FEWEST_FOR_SQUARE else None
    if warp is None:
        return _fit(found.sample_points.astype(np.float64), found.other_points.astype(np.float64))
    for reach in _FIT_PX:
        close = np.hypot(*(warp(here) - there).T) < reach
        if close.sum() < _FEWEST_FOR_SQUARE:
            break
        warp = _fit(here[close], there[close])
    return warp


def correlation(sample: NDArray[Any], other: NDArray[Any], where: NDArray[np.float32]) -> float:
    """Return the normalised cross-correlation of a sample with what another picture shows at the mapped places.

    Args:
        sample: (Y, X).
        other: (Y, X).
        where: of `Warp.pixel_map`.

    Returns:
        -1 to 1; 0 where too few pixels lie inside the other picture.
    """
    inside = _inside(where, other.shape)
    if inside.sum() < _SMALLEST_OVERLAP * inside.size:
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
        0 to 1; None where there is too little of either class to tell.
    """
    inside = _inside(where, other.shape)
    warped = cv2.remap((other > 0).astype(np.uint8), where, None, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REFLECT)
    here, there = (label[::_SHRINK, ::_SHRINK] > 0)[inside], (warped > 0)[inside]
    if there.sum() * 2 > there.size:
        here, there = ~here, ~there
    either = int(here.sum() + there.sum())
    if either < _SMALLEST_OVERLAP * 0.2 * inside.size:
        return None
    return 2.0 * int((here & there).sum()) / either


def _fit(here: Floats, there: Floats) -> Warp:
    degree = 3 if len(here) >= _FEWEST_FOR_CUBIC else 2 if len(here) >= _FEWEST_FOR_SQUARE else 1
    centre = np.asarray(here.mean(axis=0), np.float64)
    spread = float(max(np.abs(here - centre).max(), 1.0))
    solution, *_ = np.linalg.lstsq(_terms((here - centre) / spread, degree), there, rcond=None)
    return Warp(degree, np.asarray(solution, np.float64), centre, spread)


def _terms(points: Floats, degree: int) -> Floats:
    x, y = points.T
    return np.stack([x**i * y**j for i, j in _powers(degree)], axis=1)


def _powers(degree: int) -> list[tuple[int, int]]:
    """Return the powers of x and y in every term."""
    return [(i, j) for i in range(degree + 1) for j in range(degree + 1 - i)]


def _inside(where: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    x, y = where[..., 0], where[..., 1]
    inside: NDArray[np.bool_] = (x >= 0) & (y >= 0) & (x <= shape[1] - 1) & (y <= shape[0] - 1)
    return inside


def _smooth(image: NDArray[Any]) -> NDArray[np.float32]:
    smooth: NDArray[np.float32] = cv2.GaussianBlur(image.astype(np.float32), (0, 0), _BLUR_PX)
    return smooth
