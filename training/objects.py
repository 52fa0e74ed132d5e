"""Objects as a network learns them, touching ones kept apart, and as they are found again in what it predicts."""

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from augment.native import Kernel

# What a network of cells is sure of begins an object, and what is more likely cell than not belongs to one.
_SURE, _LIKELY = 0.75, 0.5
_LEVELS = 256
_SMALLEST_PX = 8  # that an object has


def find_contact(ids: NDArray[Any]) -> NDArray[np.bool_]:
    """Return the pixels (Y, X) of objects that have a pixel of another object beside them, above or below.

    Both sides of a contact are in it, so that it is two pixels wide; objects that meet at a corner alone have none.
    Without it, no two objects are connected by their pixels' sides.
    """
    contact = np.zeros(ids.shape, np.bool_)
    for one, other in ((np.s_[1:], np.s_[:-1]), (np.s_[:, 1:], np.s_[:, :-1])):
        meet = (ids[one] != ids[other]) & (ids[one] != 0) & (ids[other] != 0)
        contact[one] |= meet
        contact[other] |= meet
    return contact


def separated(ids: NDArray[Any]) -> NDArray[Any]:
    """Return ids (Y, X) with background where objects touch."""
    return np.where(find_contact(ids), ids.dtype.type(0), ids)


def find_objects(cell: NDArray[np.floating[Any]], foreground: NDArray[np.floating[Any]]) -> NDArray[np.int32]:
    """Return the ids (Y, X) of the objects in predicted probabilities: 0 = background, 1, 2, ... row by row.

    A seeded watershed: seeds are the 4-connected regions that are surely cell (0.75 or more), and those that are likely
    (above 0.5) and have no such pixel. They are flooded over all that is likely foreground, and over gaps of up to two
    pixels between them, the likeliest pixels first. Objects of fewer than 8 pixels are left out.

    Args:
        cell: probability of cell, (Y, X), low where objects touch.
        foreground: probability of cell or of a border between cells, (Y, X); the same as `cell` where no class is the
            border.
    """
    from scipy import ndimage

    likely = cell > _LIKELY
    regions, n_regions = ndimage.label(likely)
    with_seed = np.zeros(n_regions + 1, np.bool_)
    sure = cell >= _SURE
    with_seed[regions[sure]] = True
    seeds, _ = ndimage.label(likely & (sure | ~with_seed[regions]))
    gaps = ndimage.binary_closing(np.pad(likely, 2), np.ones((3, 3), np.bool_))[2:-2, 2:-2]
    flooded = seeded_watershed(1 - cell, seeds, likely | gaps | (foreground > _LIKELY))
    kept = np.bincount(flooded.ravel()) >= _SMALLEST_PX
    kept[0] = False
    return (np.cumsum(kept) * kept).astype(np.int32)[flooded]


def seeded_watershed(
    height: NDArray[np.floating[Any]], seeds: NDArray[np.integer[Any]], mask: NDArray[np.bool_]
) -> NDArray[np.int32]:
    """Return which seed (Y, X) floods every pixel of the mask: 0 outside of it, and where no seed comes.

    Meyer 1994, "Topographic distance and watershed lines": what was reached is flooded lowest first, of equal heights
    the first that was reached, over the sides of pixels; as scikit-image's `watershed` does it, without its lines.

    Args:
        height: (Y, X) in 0..1; told apart in 256 levels.
        seeds: (Y, X), 1, 2, ...; 0 where there is none.
        mask: (Y, X), where to flood.
    """
    levels = np.pad((np.clip(height, 0, 1) * (_LEVELS - 1) + 0.5).astype(np.int32), 1)
    flooded = np.pad(np.where(mask, seeds, 0).astype(np.int32), 1)
    wanted = np.pad(mask & (seeds == 0), 1)
    first, last = (np.full(_LEVELS, -1, np.int64) for _ in range(2))
    following = np.empty(flooded.size, np.int64)
    _flood()(flooded.ravel(), levels.ravel(), wanted.ravel(), flooded.shape[1], first, last, following)
    return np.ascontiguousarray(flooded[1:-1, 1:-1])


@cache
def _flood() -> "Kernel":
    from augment.native import Kernel

    return Kernel(__name__, "_flood_levels")


def _flood_levels(
    flooded: NDArray[np.int32],
    levels: NDArray[np.int32],
    wanted: NDArray[np.bool_],
    stride: int,
    first: NDArray[np.int64],
    last: NDArray[np.int64],
    following: NDArray[np.int64],
) -> None:
    """Flood the wanted pixels of a raveled, framed slice in place.

    Every level has a queue, a chain from `first` to `last` by way of `following`, all to work in; -1 is its end.
    """
    steps = (-stride, -1, 1, stride)
    for p in range(flooded.size):
        if flooded[p] > 0:
            level = levels[p]
            following[p] = -1
            if first[level] < 0:
                first[level] = p
            else:
                following[last[level]] = p
            last[level] = p
    level = 0
    while level < first.size:
        p = first[level]
        if p < 0:
            level += 1
            continue
        first[level] = following[p]
        lowest = level
        for step in steps:
            q = p + step
            if wanted[q]:
                wanted[q] = False
                flooded[q] = flooded[p]
                own = levels[q]
                following[q] = -1
                if first[own] < 0:
                    first[own] = q
                else:
                    following[last[own]] = q
                last[own] = q
                lowest = min(lowest, own)
        level = lowest
