"""Splits and mergers that are left once the labels have been warped towards a prediction.

Jain et al. 2010, "Boundary learning by optimization with topological constraints" (doi:10.1109/CVPR.2010.5539950):
the outlines of the labels may move, their topology may not. Only pixels that differ are ever flipped, so that a
membrane is followed as far as it is thick, and not further.
"""

from collections.abc import Callable

import numba
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage


def count_splits_and_mergers(
    probability: NDArray[np.float32], cells: NDArray[np.bool_], threshold: float, *, radius_px: int = 20
) -> int:
    """Return how many pixels of a slice still split a cell or merge two after the labels were warped.

    Pixels that differ from `probability > threshold` are flipped in the labels, those furthest from the threshold
    first, wherever that keeps the topology: simple points for 4-connected cells (Bertrand and Malandain 1994). Of the
    pixels that cannot be flipped, a membrane pixel counts as a merger if flipping it would join two cells, a cell pixel
    as a split if flipping it would tear its cell apart. Other mistakes, holes and lost or new objects, do not count.

    Args:
        probability: (Y, X), of cell.
        cells: (Y, X), the labels.
        threshold: float64; the pixels are compared with it as float64.
        radius_px: how far around a pixel a cell may go on and not be torn apart; below 1, or above a side of the
            slice, as far as it likes.
    """
    # Transposed, because pixels at equal distance from the threshold are visited column by column.
    source = np.pad(np.ascontiguousarray(cells.T), 1)
    probability = np.pad(np.ascontiguousarray(probability.T), 1)
    wrong = np.flatnonzero(source != (probability > np.float64(threshold)))
    certainty = np.abs(probability.ravel()[wrong] - np.float64(threshold)).astype(np.float32)
    wrong = wrong[np.argsort(-certainty, kind="stable")]
    stuck = wrong[: _warp(source.ravel(), source.shape[1], wrong)]
    objects = ndimage.label(source)[0].astype(np.int32)
    reach = radius_px if 1 <= radius_px <= min(cells.shape) else max(cells.shape)
    return _count(source.ravel(), objects.ravel(), source.shape[1], stuck, reach)


def _flip_simple_points(source: NDArray[np.bool_], stride: int, wrong: NDArray[np.int64]) -> int:
    """Flip what may be flipped until nothing may; return how many, now at the head of `wrong`, may not."""
    ring = (1, 1 - stride, -stride, -1 - stride, -1, stride - 1, stride, stride + 1, 1)
    left = wrong.size
    while True:
        stuck = 0
        for p in wrong[:left]:
            connections = 0  # Yokoi's number: 1 if the neighbours are one 4-component of cell and one of membrane
            for k in range(0, 8, 2):
                if source[p + ring[k]] and not (source[p + ring[k + 1]] and source[p + ring[k + 2]]):
                    connections += 1
            if connections == 1:
                source[p] = not source[p]
            else:
                wrong[stuck] = p
                stuck += 1
        if stuck == left:
            return stuck
        left = stuck


def _count_mistakes(
    source: NDArray[np.bool_], objects: NDArray[np.int32], stride: int, stuck: NDArray[np.int64], reach: int
) -> int:
    """Return how many of the stuck pixels are splits or mergers."""
    ring = (1, 1 - stride, -stride, -1 - stride, -1, stride - 1, stride, stride + 1)
    mistakes = 0
    seen = np.zeros(source.size, np.int32)
    queue = np.empty(source.size, np.int64)
    for turn in range(stuck.size):
        p = stuck[turn]
        first = -1  # a neighbour in a cell
        neighbours = 0  # in any cell
        merger = False
        for step in ring:
            if source[p + step]:
                if first < 0:
                    first = p + step
                neighbours += 1
                merger = merger or objects[p + step] != objects[first]
        if not source[p]:
            mistakes += merger
        elif neighbours > 1:
            # Torn apart, if not all of these neighbours can be reached from the first one without this pixel.
            seen[p] = turn + 1
            seen[first] = turn + 1
            queue[0] = first
            head, tail = 0, 1
            while head < tail and neighbours > 0:
                q = queue[head]
                head += 1
                dx, dy = abs(q // stride - p // stride), abs(q % stride - p % stride)
                if dx <= 1 and dy <= 1:
                    neighbours -= 1
                for step in (-stride, -1, stride, 1):
                    r = q + step
                    near = abs(r // stride - p // stride) <= reach and abs(r % stride - p % stride) <= reach
                    if near and source[r] and seen[r] != turn + 1:
                        seen[r] = turn + 1
                        queue[tail] = r
                        tail += 1
            mistakes += neighbours > 0
    return mistakes


_warp: Callable[[NDArray[np.bool_], int, NDArray[np.int64]], int]
_warp = numba.njit(nogil=True, cache=True)(_flip_simple_points)
_count: Callable[[NDArray[np.bool_], NDArray[np.int32], int, NDArray[np.int64], int], int]
_count = numba.njit(nogil=True, cache=True)(_count_mistakes)
