"""How alike two pictures are along a field: correlation in small windows.

So a shaded, erased or partly covered picture agrees where it can, and chance agrees nowhere.
"""

from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.audit.search.features import shrinkage, to_gray8
from pipeline.audit.search.large_pictures import few_at_a_time
from pipeline.audit.search.registration import Warp

WINDOW_PX = 17  # of the windows that are correlated, at the resolution that is looked at
_BLUR_PX = 1.0
_MIN_CONTRAST = 2.0  # standard deviation in a window, of 255 gray levels
AGREEING_NCC = 0.7
_MAX_COHERENCE = 0.8  # 1 on a straight edge, 0 where no direction is preferred
_MIN_OVERLAP = 0.05  # of the sample's pixels
_IGNORED = 2  # beside 0 and 1
_MIN_CLASS = 0.2 * _MIN_OVERLAP  # of the sample's pixels, both labels together


class Agreement(NamedTuple):
    """How alike a sample and another picture are along a warp.

    Attributes:
        ncc: (y, x) normalised cross-correlation in a window around every step-th pixel of the sample; 0 where there is
            nothing to compare.
        inside: (y, x) where the other picture has pixels.
        detailed: (y, x) where the sample's gray levels change in more than one direction.
        step: of the pixels.
    """

    ncc: NDArray[np.float32]
    inside: NDArray[np.bool_]
    detailed: NDArray[np.bool_]
    step: int

    @property
    def area_px(self) -> int:
        """Pixels of the sample around which the two agree."""
        return int((self.ncc >= AGREEING_NCC).sum()) * self.step**2

    @property
    def detailed_px(self) -> int:
        """Pixels of the sample around which the two agree in more than a straight edge."""
        return int(((self.ncc >= AGREEING_NCC) & self.detailed).sum()) * self.step**2

    @property
    def inside_px(self) -> int:
        """Pixels of the sample that the other picture has, too."""
        return int(self.inside.sum()) * self.step**2


@few_at_a_time
def compare(
    sample: NDArray[Any],
    other: NDArray[Any],
    warp: Warp,
    *,
    inverted: bool = False,
    left_out: NDArray[np.bool_] | None = None,
) -> tuple[Agreement, float]:
    """Return the agreement in windows, and the correlation of all that lies inside, of a sample and another picture.

    Args:
        sample: (Y, X).
        other: (Y, X) of any size.
        warp: where in it each pixel of the sample lies.
        inverted: whether the sample's gray levels are.
        left_out: (y, x), every step-th pixel of the sample, of `shrinkage`: what is not to count as inside.
    """
    step = shrinkage(sample)
    where = warp.pixel_map(sample.shape, step)
    scale = max(warp.match.scale, 0.25)
    inside = _inside(where, other.shape)
    if left_out is not None:
        inside &= ~left_out
    there = cv2.remap(_smooth(to_gray8(other), max(_BLUR_PX, 0.5 * scale * step)), where, None, cv2.INTER_LINEAR)
    here = to_compare(sample)
    if inverted:
        here = np.float32(255.0) - here
    ncc = windowed_ncc(here, np.asarray(there, np.float32), inside)
    return Agreement(ncc, inside, _detailed(here), step), _correlation(here[inside], there[inside])


def to_compare(image: NDArray[Any]) -> NDArray[np.float32]:
    """Return every step-th pixel, of `shrinkage`, of a picture (Y, X) of any gray dtype, in 8 bits and smoothed."""
    step = shrinkage(image)
    return _smooth(to_gray8(image), _BLUR_PX * step / 2 + 0.5)[::step, ::step]


def windowed_ncc(
    here: NDArray[np.float32], there: NDArray[np.float32], inside: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Return the normalised cross-correlation of two pictures (y, x) in windows; 0 where there is nothing to tell."""
    here, there = (np.where(inside, each, np.float32(0.0)) for each in (here, there))
    weight = _box(inside.astype(np.float32))
    enough = weight > 0.5
    weight = np.maximum(weight, np.float32(1e-6))
    mean_a, mean_b = _box(here) / weight, _box(there) / weight
    var_a = np.maximum(_box(here * here) / weight - mean_a * mean_a, 0.0)
    var_b = np.maximum(_box(there * there) / weight - mean_b * mean_b, 0.0)
    cov = _box(here * there) / weight - mean_a * mean_b
    both_textured = enough & inside & (var_a > _MIN_CONTRAST**2) & (var_b > _MIN_CONTRAST**2)
    return np.where(both_textured, cov / np.sqrt(np.maximum(var_a * var_b, 1e-6)), 0.0).astype(np.float32)


def textured(image: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return (y, x), around which pixels a picture has gray levels that can be compared."""
    weight = _box(np.ones_like(image))
    variance: NDArray[np.float32] = _box(image * image) / weight - np.square(_box(image) / weight)
    return np.asarray(variance > _MIN_CONTRAST**2)


def _detailed(image: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return around which pixels a picture is not just a straight edge, by the structure tensor (Bigun 1987)."""
    x, y = (np.asarray(cv2.Sobel(image, cv2.CV_32F, *order), np.float32) for order in ((1, 0), (0, 1)))
    xx, yy, xy = _box(x * x), _box(y * y), _box(x * y)
    return np.asarray(np.hypot(xx - yy, 2 * xy) <= _MAX_COHERENCE * (xx + yy))


def _correlation(here: NDArray[np.float32], there: NDArray[np.float32]) -> float:
    if not len(here):
        return 0.0
    one, other = here.astype(np.float64) - float(here.mean()), there.astype(np.float64) - float(there.mean())
    norm = float(np.sqrt((one * one).sum() * (other * other).sum()))
    return float((one * other).sum()) / norm if norm > 0 else 0.0


def _box(image: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(cv2.blur(image, (WINDOW_PX, WINDOW_PX), borderType=cv2.BORDER_CONSTANT), np.float32)


def label_agreement(
    label: NDArray[Any], other: NDArray[Any], where: NDArray[np.float32], step: int, ignore: int | None = None
) -> float | None:
    """Return the F1 score of the rarer class between a label and another picture's, at the mapped places.

    Args:
        label: (Y, X) class indices or ids; everything above 0 counts as one class.
        other: (Y, X).
        where: of `Warp.pixel_map`.
        step: of the same.
        ignore: the value of pixels that mean nothing, in either label; they are not compared.

    Returns:
        0 to 1; None where there is too little of either class to compare.
    """
    label, classes = label[::step, ::step], (other > 0).astype(np.uint8)
    if ignore is not None:
        classes[other == ignore] = _IGNORED
    warped = cv2.remap(classes, where, None, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REFLECT)
    inside = _inside(where, other.shape) & (warped != _IGNORED) & (label != (-1 if ignore is None else ignore))
    here, there = (label > 0)[inside], (warped > 0)[inside]
    if there.sum() * 2 > there.size:
        here, there = ~here, ~there
    either = int(here.sum() + there.sum())
    if either < _MIN_CLASS * inside.size:
        return None
    return 2.0 * int((here & there).sum()) / either


def _inside(where: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    x, y = where[..., 0], where[..., 1]
    inside: NDArray[np.bool_] = (x >= 0) & (y >= 0) & (x <= shape[1] - 1) & (y <= shape[0] - 1)
    return inside


def _smooth(image: NDArray[Any], sigma: float) -> NDArray[np.float32]:
    smooth: NDArray[np.float32] = cv2.GaussianBlur(image.astype(np.float32), (0, 0), sigma)
    return smooth
