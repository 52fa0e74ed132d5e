"""Plain samples: the slice's own pixels, tile by tile, copied and never resampled.

Tiles begin at multiples of the window's side. The last one moves inward, and what it repeats does not count; so every
pixel of the slice counts once. Where a slice is smaller than the window, it lies in the middle, between its mirror
images, which do not count.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from augment.errors import ConfigError
from augment.mirror_tiles import CHANGES_LABELS, Margin, find_tiles, highest_id, mark_mirrored
from augment.recipe import Recipe
from augment.renderer import Sample, require_reach, sample_arrays

_NO_PUSH = ((0.0, 0.0), (0.0, 0.0))


def count_tiles(slice_size: tuple[int, int], window: tuple[int, int]) -> int:
    """Return how many windows hold every pixel of a slice."""
    rows, columns = (-(-side // shown) for side, shown in zip(slice_size, window, strict=True))
    return rows * columns


def tile_recipe(slice_size: tuple[int, int], window: tuple[int, int], number: int) -> Recipe:
    """Return the recipe of a tile: the identity, shifted, and which pixels of the window count.

    Args:
        slice_size: (height, width) of the slice, in pixels.
        window: (height, width) of the tile.
        number: which tile, counted from 0 row by row.
    """
    places = divmod(number, -(-slice_size[1] // window[1]))
    (top, *rows), (left, *columns) = map(_place, slice_size, window, places)
    (height, width), (shown_y, shown_x) = slice_size, window
    return Recipe(
        window=window,
        grid_px=(_NO_PUSH, _NO_PUSH),
        extent_px=window,
        matrix=((1.0, 0.0), (0.0, 1.0)),
        shift_px=(top - (height - shown_y) / 2, left - (width - shown_x) / 2),
        scored=(rows[0], columns[0], rows[1], columns[1]),
    )


def copy_tile(
    image: NDArray[Any], label: NDArray[Any], recipe: Recipe, out: Sample | None = None, *, margin: Margin = "shared"
) -> Sample:
    """Return the plain sample that a recipe of `tile_recipe` makes of a slice.

    Args:
        image: (Y, X), or (Y, X, C).
        label: (Y, X).
        recipe: of the tile.
        out: arrays to copy into, instead of new ones, as for `augment.renderer.render_prepared`.
        margin: what becomes of the label where the tile shows mirror images, likewise.

    Raises:
        ConfigError: the image has pixels that are not numbers, or `out` another shape or dtype.
        RecipeError: the window reaches further over the slice's mirror images than others can.
    """
    size = (label.shape[0], label.shape[1])
    require_reach(size, recipe)
    dtypes = image.dtype.newbyteorder("="), label.dtype.newbyteorder("=")
    out = sample_arrays(out, (*recipe.window, *image.shape[2:]), *dtypes)
    parts, margins = [], []
    for start, side, shown in zip(recipe.slice_corner(size), size, recipe.window, strict=True):
        parts.append(slice(max(start, 0), min(start + shown, side)))
        margins.append((max(-start, 0), max(start + shown - side, 0)))
    for pixels, room in zip((image, label), out, strict=True):
        room[...] = np.pad(pixels[tuple(parts)], ([*margins, (0, 0)])[: pixels.ndim], "symmetric")
    if out.image.dtype.kind == "f" and not np.isfinite(out.image).all():
        raise ConfigError("plain: the image holds pixels that are not numbers (NaN or infinity); replace them")
    if margin in CHANGES_LABELS and (tiles := find_tiles(recipe, size)) is not None:
        mark_mirrored(out.label, tiles, margin, label, highest_id(label))
    return out


def _place(side: int, shown: int, number: int) -> tuple[int, int, int]:
    """Return along one axis where a tile begins in the slice, and which of its pixels count: first, and after last."""
    if side <= shown:
        before = (shown - side) // 2
        return -before, before, before + side
    start = min(number * shown, side - shown)
    return start, number * shown - start, shown
