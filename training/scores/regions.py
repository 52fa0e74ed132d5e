"""Regions of a slice: how cells and predicted regions overlap, and what splits or merges cells.

What is compiled, and what labels, is loaded when it is first needed: importing this module loads numpy alone.
"""

from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from augment.native import Kernel

_DRY, _QUEUED, _OUTSIDE = -1, -2, -3  # below 0, which is the dam between two regions


class Overlap(NamedTuple):
    """How many pixels the cells of the labels and the regions of a prediction share; membrane labels count nowhere."""

    cells: NDArray[np.int64]  # size of each cell
    regions: NDArray[np.int64]  # part of each region that lies in cells
    shared: NDArray[np.int64]  # of each pair of a cell and a region that share any
    lone: int  # pixels of cells that are in no region: each is a region of its own


def find_overlaps(ids: NDArray[np.integer[Any]], predictions: Iterable[NDArray[np.bool_]]) -> list[Overlap]:
    """Return the overlap of cells, by their ids (0 = membrane), with each prediction of cells after border thinning."""
    cells = ids != 0
    return [find_overlap(ids[cells], grow_regions(predicted)[cells]) for predicted in predictions]


def rand_scores(overlap: Overlap) -> tuple[float, float, float]:
    """Return the foreground-restricted Rand precision, recall and F-score of one slice at one threshold.

    Of the pairs of cell pixels (a pixel with itself included) that one region holds, the share that one cell holds,
    the reverse, and their harmonic mean. Rand 1971, doi:10.2307/2284239. All are 1 if there is no cell.
    """
    both, in_cells, in_regions = (
        int(sizes @ sizes) + lone
        for sizes, lone in ((overlap.shared, overlap.lone), (overlap.cells, 0), (overlap.regions, overlap.lone))
    )
    return ratio(both, in_regions), ratio(both, in_cells), ratio(2 * both, in_cells + in_regions)


def info_score(overlap: Overlap) -> float:
    """Return the foreground-restricted information-theoretic F-score of one slice at one threshold.

    Twice the mutual information of cells and regions over the sum of their entropies: Meilă 2005, "Comparing
    clusterings: an axiomatic view", doi:10.1145/1102351.1102424. It is 0 if either of them is one single part, and 1 if
    there is no cell, or if both are one single part, where the challenge's own program says 0.
    """
    n = int(overlap.cells.sum())
    if n == 0:
        return 1.0
    h_cells, h_regions, h_both = (
        float(lone * np.log(n) - (sizes * np.log(sizes / n)).sum()) / n
        for sizes, lone in ((overlap.cells, 0), (overlap.regions, overlap.lone), (overlap.shared, overlap.lone))
    )
    return ratio(2 * max(h_cells + h_regions - h_both, 0.0), h_cells + h_regions)


def grow_regions(cells: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Return the (Y, X) regions of 4-connected cells after border thinning: 0 = border, 1, 2, ... = region.

    Vincent and Soille 1991, "Watersheds in digital spaces: an efficient algorithm based on immersion simulations", IEEE
    Transactions on Pattern Analysis and Machine Intelligence 13(6); on two levels, first the cells, then the membrane.

    Membrane pixels are flooded in rings from the cells; one that two regions reach at once stays border, and so does
    one that only borders reach. Without any cell the whole slice is region 1.
    """
    # Transposed, because pixels at equal distance are visited column by column.
    return grow_ids(label_cells(cells.T).T)


def grow_ids(ids: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return the same for cells known by their ids (Y, X), 0 = membrane; where two touch, they stay as they are."""
    if not ids.any():
        return np.ones(ids.shape, np.int32)
    regions = np.pad(np.ascontiguousarray(ids.T), 1, constant_values=_OUTSIDE)
    inside = regions[1:-1, 1:-1]
    inside[ids.T == 0] = _DRY
    _kernel("_flood_rings")(regions.ravel(), regions.shape[1], np.empty(regions.size, np.int64))
    return inside.T


def count_splits_and_mergers(
    probability: NDArray[np.float32], cells: NDArray[np.bool_], threshold: float, *, radius_px: int = 20
) -> int:
    """Return how many pixels of a slice still split a cell or merge two after the labels were warped.

    Jain et al. 2010, "Boundary learning by optimization with topological constraints" (doi:10.1109/CVPR.2010.5539950):
    the outlines of the labels may move, their topology may not. Only pixels that differ are ever flipped, so that a
    membrane is followed as far as it is thick, and not further.

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
    stuck = wrong[: _kernel("_flip_simple_points")(source.ravel(), source.shape[1], wrong)]
    objects = label_cells(source)
    reach = radius_px if 1 <= radius_px <= min(cells.shape) else max(cells.shape)
    seen, queue = np.zeros(source.size, np.int32), np.empty(source.size, np.int64)
    n: int = _kernel("_count_mistakes")(source.ravel(), objects.ravel(), source.shape[1], stuck, reach, seen, queue)
    return n


def ratio(part: float, whole: float) -> float:
    """Return their ratio, or 1 for nothing of nothing."""
    return float(part / whole) if whole else 1.0


def find_overlap(truth: NDArray[np.integer[Any]], regions: NDArray[np.integer[Any]]) -> Overlap:
    """Return the overlap of the cells (1, 2, ...) and the regions (0 = none) of the same pixels, in a line."""
    sizes = np.bincount(regions, minlength=1)
    pairs = truth.astype(np.int64) * sizes.size + regions
    ids, shared = np.unique(pairs, return_counts=True)
    return Overlap(
        np.unique(truth, return_counts=True)[1], sizes[1:][sizes[1:] > 0], shared[ids % sizes.size > 0], int(sizes[0])
    )


def label_cells(mask: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Return the 4-connected components: 0 = none, 1, 2, ... row by row."""
    from scipy import ndimage

    return np.asarray(ndimage.label(mask)[0], np.int32)


@cache
def _kernel(name: str) -> "Kernel":
    from augment.native import Kernel

    return Kernel(__name__, name, returns_int=name != "_flood_rings")


def _flood_rings(regions: NDArray[np.int32], stride: int, queue: NDArray[np.int64]) -> None:
    """Flood the dry pixels of a raveled, framed slice in place, first come, first served.

    `queue`, of as many numbers as pixels, is to work in.
    """
    steps = (-stride, -1, stride, 1)
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
    source: NDArray[np.bool_],
    objects: NDArray[np.int32],
    stride: int,
    stuck: NDArray[np.int64],
    reach: int,
    seen: NDArray[np.int32],
    queue: NDArray[np.int64],
) -> int:
    """Return how many of the stuck pixels are splits or mergers.

    `seen`, of zeros, and `queue`, both of as many numbers as pixels, are to work in.
    """
    ring = (1, 1 - stride, -stride, -1 - stride, -1, stride - 1, stride, stride + 1)
    mistakes = 0
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
