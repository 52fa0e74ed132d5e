"""Regions of a thresholded slice, grown until one pixel of membrane is left between them.

Vincent and Soille 1991, "Watersheds in digital spaces: an efficient algorithm based on immersion simulations", IEEE
Transactions on Pattern Analysis and Machine Intelligence 13(6); on two levels, first the cells, then the membrane.
"""

from collections.abc import Callable

import numba
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

_DRY, _QUEUED, _OUTSIDE = -1, -2, -3  # below 0, which is the dam between two regions


def grow_regions(cells: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Return the (Y, X) regions of 4-connected cells after border thinning: 0 = border, 1, 2, ... = region.

    Membrane pixels are flooded in rings from the cells; one that two regions reach at once stays border, and so does
    one that only borders reach. Without any cell the whole slice is region 1.
    """
    if not cells.any():
        return np.ones(cells.shape, np.int32)
    # Transposed, because pixels at equal distance are visited column by column.
    regions = np.pad(ndimage.label(cells.T)[0].astype(np.int32), 1, constant_values=_OUTSIDE)
    inside = regions[1:-1, 1:-1]
    inside[~cells.T] = _DRY
    _flood(regions.ravel(), regions.shape[1])
    return inside.T


def _flood_rings(regions: NDArray[np.int32], stride: int) -> None:
    """Flood the dry pixels of a raveled, framed slice in place, first come, first served."""
    steps = (-stride, -1, stride, 1)
    queue = np.empty(regions.size, np.int64)
    tail = 0
    for p in range(regions.size):
        if regions[p] == _DRY:
            for step in steps:
                if regions[p + step] > 0:
                    regions[p] = _QUEUED
                    queue[tail] = p
                    tail += 1
                    break
    head = 0
    while head < tail:
        p = queue[head]
        head += 1
        region = 0
        meet = False
        for step in steps:
            q = p + step
            if regions[q] > 0:
                meet = meet or (region > 0 and regions[q] != region)
                region = regions[q]
            elif regions[q] == _DRY:
                regions[q] = _QUEUED
                queue[tail] = q
                tail += 1
        regions[p] = 0 if meet else region


_flood: Callable[[NDArray[np.int32], int], None] = numba.njit(nogil=True, cache=True)(_flood_rings)
