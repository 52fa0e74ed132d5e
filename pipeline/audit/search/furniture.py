"""Furniture: what pictures show at the same place that otherwise share nothing, such as data bars, frames and dust.

It is no tissue, and who shares it shares nothing that could leak. Four pictures must show it, none of which agrees with
another anywhere else: a copy of a picture agrees with it everywhere, and a patch of tissue that was pasted into a
sample is in one other picture, or in its copies. And it must lie along the border, or be as small as dust.
"""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.audit.search.large_pictures import few_at_a_time
from pipeline.audit.search.likeness import AGREEING_NCC, WINDOW_PX, textured, to_compare, windowed_ncc
from pipeline.audit.search.registration import Match

_MAX_OFF_PX = 3.0
_MIN_OTHERS, _MAX_CHOSEN = 3, 5
_MIN_COMMON = 0.5  # of the shared places, that another picture must show to count
_MAX_AGREEING = 0.08  # of what two pictures both show elsewhere; other tissue: 2 % at most
_BORDER = 0.3  # of each side, with the window around what is shared
_MAX_SPECK = 0.03  # of all pixels, likewise
_MIN_ELSEWHERE = 0.01  # of all pixels, so that there is something that could have agreed


@few_at_a_time
def find_furniture(sample: NDArray[Any], others: Sequence[NDArray[Any]]) -> NDArray[np.bool_] | None:
    """Return where a sample shows what pictures share that share nothing else; None where that is nowhere.

    Args:
        sample: (Y, X).
        others: (Y, X) each, turned so that they show the same at the same place.

    Returns:
        (y, x), every step-th pixel of the sample, of `shrinkage`, and the window around what is shared.
    """
    if len(others) < _MIN_OTHERS:
        return None
    here, there = to_compare(sample), [to_compare(other) for other in others]
    everywhere = np.ones(here.shape, np.bool_)
    agrees = [windowed_ncc(here, each, everywhere) >= AGREEING_NCC for each in there]
    if not (shared := _shared(agrees)).any():
        return None
    elsewhere = ~_widened(shared)
    chosen: list[int] = []
    for k, agreeing in enumerate(agrees):
        if len(chosen) == _MAX_CHOSEN or int((agreeing & shared).sum()) < _MIN_COMMON * int(shared.sum()):
            continue
        if _differ(there[k], here, elsewhere) is not False and all(
            _differ(there[k], there[known], elsewhere) for known in chosen
        ):
            chosen.append(k)
    if len(chosen) < _MIN_OTHERS:
        return None
    furniture = _unlike_tissue(_shared([agrees[k] for k in chosen]))
    return _widened(furniture) if furniture.any() else None


def _unlike_tissue(shared: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the parts that lie along the border, as bars and frames do, or are as small as dust.

    What is large and reaches into the middle may as well be tissue, of a mosaic or of a camera that stood still.
    """
    height, width = shared.shape
    middle = np.zeros_like(shared)
    down, right = round(_BORDER * height), round(_BORDER * width)
    middle[down : height - down, right : width - right] = True
    n, part = cv2.connectedComponents(shared.astype(np.uint8))
    n_px = np.bincount(part.ravel(), minlength=n)
    reaches_in = np.bincount(part[middle], minlength=n) > 0
    kept = ~reaches_in | (n_px <= _MAX_SPECK * shared.size)
    kept[0] = False
    return np.asarray(kept[part])


def _shared(agrees: Sequence[NDArray[np.bool_]]) -> NDArray[np.bool_]:
    return np.asarray(np.sum(agrees, axis=0) >= _MIN_OTHERS)


def _widened(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return np.asarray(cv2.dilate(mask.astype(np.uint8), np.ones((WINDOW_PX, WINDOW_PX), np.uint8)) > 0)


def _differ(one: NDArray[np.float32], other: NDArray[np.float32], elsewhere: NDArray[np.bool_]) -> bool | None:
    """Return whether two pictures could agree elsewhere and do not; None where they could not."""
    either = (textured(one) | textured(other)) & elsewhere
    if either.sum() < _MIN_ELSEWHERE * either.size:
        return None
    agreeing = (windowed_ncc(one, other, elsewhere) >= AGREEING_NCC) & either
    return int(agreeing.sum()) < _MAX_AGREEING * int(either.sum())


def turned_into_place(match: Match, sample_shape: tuple[int, ...], other: NDArray[Any]) -> NDArray[Any] | None:
    """Return the other picture, turned by quarters so that it shows at the same place what matches; None if it cannot.

    Args:
        match: of the sample with the other picture.
        sample_shape: of the sample, mirrored if its match was.
        other: (Y, X).
    """
    points = match.other_points.astype(np.float64)
    width = other.shape[1]
    for quarters in range(4):
        shape = other.shape if quarters % 2 == 0 else other.shape[::-1]
        off = np.median(np.hypot(*(points - match.sample_points).T))
        if shape == sample_shape and off <= _MAX_OFF_PX:
            return np.ascontiguousarray(np.rot90(other, quarters))
        points = np.stack([points[:, 1], width - 1 - points[:, 0]], axis=1)
        width = shape[0]
    return None
