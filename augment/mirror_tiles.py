"""Objects and their mirror images: which is which, and an id for each.

Beyond its edges a slice goes on as its own reflection, over and over: tiles of the slice's size, tile (0, 0) being the
slice itself. A pixel of a window lies in the tile of the pixel that is nearest to where it looks, before that is folded
back onto the slice. So an object that the edge cuts and its mirror image, which touches it there, are two.
"""

from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from augment.deform import spline_basis
from augment.errors import ConfigError
from augment.native import Kernel
from augment.operations.faults import is_beyond
from augment.recipe import Recipe

# What becomes of the label where a window shows the slice's mirror images: as it is; each object of an image of its own
# gets an id of its own; or nothing is said of it, by the ignore value; or it is as it is, and a mask tells where.
Margin: TypeAlias = Literal["shared", "own", "ignore", "mask"]
CHANGES_LABELS: tuple[Margin, ...] = ("own", "ignore")

_ID_BITS = 32
_find_tiles = Kernel("augment.tile_kernels", "find_tiles", returns_int=True)


def ignore_value(dtype: np.dtype[Any]) -> int:
    """Return what a label of this dtype holds where it says nothing: the highest value."""
    return int(np.iinfo(dtype).max)


def highest_id(label: NDArray[Any]) -> int:
    """Return the highest id in a label, the ignore value left aside; 0 where there is none."""
    ignored = ignore_value(label.dtype)
    highest = int(label.max())
    return highest if highest < ignored else int(label.max(where=label < ignored, initial=0))


def find_tiles(recipe: Recipe, slice_size: tuple[int, int]) -> NDArray[np.int32] | None:
    """Return for every pixel of the window, (h, w), which mirror image of the slice it lies on; None if none does.

    It is tile row x TILE_STRIDE + tile column, so 0 for the slice itself, and in the order of the tiles, row by row.
    """
    beyond = recipe.beyond_fault()
    if beyond is None or recipe.defects is None:
        return _tiles_of(recipe, slice_size)
    parts = (_tiles_of(part, slice_size) for part in (recipe, beyond))
    near, far = (np.zeros(recipe.window, np.int32) if tiles is None else tiles for tiles in parts)
    tiles = np.where(is_beyond(recipe.defects, recipe.window), far, near)
    return tiles if tiles.any() else None


def find_mask(recipe: Recipe, slice_size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return for every pixel of the window, (h, w), whether it counts: 1, or 0.

    Of a plain sample those count that its recipe says, of others those that show the slice and no mirror image of it.
    """
    if recipe.scored is not None:
        top, left, bottom, right = recipe.scored
        mask = np.zeros(recipe.window, np.uint8)
        mask[top:bottom, left:right] = 1
        return mask
    tiles = find_tiles(recipe, slice_size)
    return np.ones(recipe.window, np.uint8) if tiles is None else (tiles == 0).astype(np.uint8)


def mark_mirrored(
    label: NDArray[Any], tiles: NDArray[np.int32], margin: Margin, ids: NDArray[Any], highest: int
) -> None:
    """Give what a label shows of mirror images the ids that `margin` wants, in place.

    With `own`, the copies of objects are numbered by their tile, row by row, then by the id of the object: from the
    slice's highest id upwards, and when those are used up, by the lowest ids that the slice does not have. The
    background stays 0, and what is ignored stays ignored.

    Args:
        label: (h, w) of whole numbers, as the window shows them.
        tiles: (h, w), from `find_tiles`.
        margin: what to do.
        ids: the slice's label, of any shape; looked at only where ids are used up.
        highest: of the slice, from `highest_id`.

    Raises:
        ConfigError: there are not as many ids as objects and copies of them.
    """
    ignored = ignore_value(label.dtype)
    if margin == "ignore":
        label[tiles != 0] = ignored
    elif margin == "own":
        keys = tiles.ravel().astype(np.int64) << _ID_BITS
        keys += label.ravel()
        starts = np.flatnonzero(np.concatenate(([True], keys[1:] != keys[:-1])))  # of runs: they are few
        objects, places = np.unique(keys[starts], return_inverse=True)
        tile, new = objects >> _ID_BITS, objects & ((1 << _ID_BITS) - 1)
        is_copy = (tile != 0) & (new != 0) & (new != ignored)
        new[is_copy] = _free_ids(int(np.count_nonzero(is_copy)), ids, highest, ignored)
        lengths = np.diff(starts, append=keys.size)
        label[...] = np.repeat(new.astype(label.dtype)[places], lengths).reshape(label.shape)


def _tiles_of(recipe: Recipe, slice_size: tuple[int, int]) -> NDArray[np.int32] | None:
    """Return the same, whatever the section's fault moves."""
    (height, width), (extent_y, extent_x) = recipe.window, recipe.extent_px
    tiles = np.empty((height, width), np.int32)
    n_mirrored = _find_tiles(
        np.asarray(slice_size, np.float64),
        np.asarray(recipe.grid_px, np.float64),
        spline_basis(height, extent_y, recipe.n_points),
        spline_basis(width, extent_x, recipe.n_points),
        np.asarray(recipe.matrix, np.float64),
        np.asarray(recipe.slice_centre(slice_size), np.float64),
        tiles,
        np.empty((3, width)),
        np.empty((3, recipe.n_points)),
    )
    return tiles if n_mirrored else None


def _free_ids(n: int, ids: NDArray[Any], highest: int, ignored: int) -> NDArray[np.int64]:
    """Return so many ids that the slice does not have, in the order in which they are given out."""
    above = np.arange(highest + 1, min(highest + 1 + n, ignored))
    if (missing := n - above.size) == 0:
        return above
    used = np.unique(ids)
    low = np.arange(1, min(used.size + missing, highest) + 1)
    low = low[~np.isin(low, used)][:missing]
    if low.size < missing:
        raise ConfigError(
            f"margin: a window shows {n} mirrored copies of objects, and with those of the slice there are only "
            f"{ignored - 1} ids; use margin shared or ignore, or a smaller window"
        )
    return np.concatenate((above, low))
