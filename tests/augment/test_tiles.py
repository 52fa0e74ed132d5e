"""Plain samples hold the slice's own pixels, and count each of them once."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from augment.coordinates import fold, slice_coordinates, window_offsets
from augment.errors import ConfigError, RecipeError
from augment.mirror_tiles import Margin, find_mask
from augment.plain import copy_tile, count_tiles, tile_recipe
from augment.recipe import Recipe
from augment.renderer import render

SIZES = [(512, 512), (520, 696), (1000, 300)]
WINDOWS = [(256, 256), (700, 700), (256, 700), (64, 1000)]


def slice_of(size: tuple[int, int], dtype: str = "uint8", channels: tuple[int, ...] = ()) -> NDArray[Any]:
    levels = np.random.default_rng(3).integers(0, 255, (*size, *channels))
    return (levels * (257 if dtype != "uint8" else 1)).astype(dtype)


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("size", SIZES)
def test_tiles_are_the_slice_and_count_every_pixel_once(size: tuple[int, int], window: tuple[int, int]) -> None:
    image = slice_of(size)
    label = (image > 128).astype(np.uint8)
    counted, found = np.zeros(size, int), np.zeros(size, np.uint8)
    for number in range(count_tiles(size, window)):
        recipe = tile_recipe(size, window, number)
        tile, mask = copy_tile(image, label, recipe), find_mask(recipe, size)
        at = [
            fold(q, side).astype(int)  # where the documented formula looks, which is on whole pixels
            for q, side in zip(slice_coordinates(window_offsets(window), recipe, size), size, strict=True)
        ]
        assert np.array_equal(tile.image, image[at[0], at[1]])
        assert np.array_equal(tile.label, label[at[0], at[1]])
        (top, left), shown = recipe.slice_corner(size), np.argwhere(mask)
        rows, columns = (shown + np.array((top, left))).T
        assert rows.min() >= 0
        assert columns.min() >= 0
        counted[rows, columns] += 1
        found[rows, columns] = tile.image[mask == 1]
        assert Recipe.from_json(recipe.to_json()) == recipe
    assert (counted == 1).all()
    assert found.tobytes() == image.tobytes()


@pytest.mark.parametrize(("dtype", "channels"), [("uint16", ()), ("float32", ()), (">u2", ()), ("uint8", (3,))])
def test_pixels_of_every_kind_are_copied(dtype: str, channels: tuple[int, ...]) -> None:
    image, label = slice_of((9, 30), dtype, channels), slice_of((9, 30), "uint16")
    tile = copy_tile(image, label, tile_recipe((9, 30), (12, 12), 2))
    assert tile.image.dtype == np.dtype(dtype).newbyteorder("=")
    assert tile.image.flags.c_contiguous
    assert np.array_equal(tile.image[1:10], image[:, 18:])
    assert np.array_equal(tile.image[0], image[0, 18:])
    assert np.array_equal(tile.image[10:], image[:-3:-1, 18:])
    assert np.array_equal(tile.label[1:10], label[:, 18:])


@pytest.mark.parametrize("margin", ["shared", "own", "ignore", "mask"])
def test_mirror_images_have_the_labels_that_the_margin_says(margin: Margin) -> None:
    """They are those of a rendered sample with the same recipe: beyond its own pixels a tile is no exception."""
    label = np.kron(np.arange(1, 7).reshape(2, 3), np.ones((3, 4))).astype(np.uint16)
    recipe = tile_recipe(label.shape, (11, 14), 0)
    tile = copy_tile(label, label, recipe, margin=margin)
    assert np.array_equal(tile.label, render(label, label, recipe, margin=margin).label)
    inside = find_mask(recipe, label.shape) == 1
    assert inside.sum() == label.size
    assert np.array_equal(tile.label[inside], label.ravel())
    assert (margin in ("own", "ignore")) == (not set(np.unique(tile.label)) <= set(range(1, 7)))


def test_what_cannot_be_rendered_is_not_copied_either() -> None:
    image, recipe = np.ones((4, 4), np.float32), tile_recipe((4, 4), (4, 4), 0)
    image[2, 2] = np.nan
    with pytest.raises(ConfigError, match="plain: the image holds pixels that are not numbers"):
        copy_tile(image, np.zeros((4, 4), np.uint8), recipe)
    with pytest.raises(RecipeError, match="reaches"):
        copy_tile(np.ones((2, 2), np.uint8), np.ones((2, 2), np.uint8), tile_recipe((2, 2), (9000, 9000), 0))


@pytest.mark.parametrize("box", [(0, 0, 5, 4), (2, 0, 2, 4), (-1, 0, 4, 4), (0, 0, 4), (0, 0, 4, 4.0), (0, 3, 4, 2)])
def test_scored_pixels_lie_in_the_window(box: Any) -> None:
    values = {**tile_recipe((4, 4), (4, 4), 0).to_json(), "scored": list(box)}
    with pytest.raises(RecipeError, match="scored must be top, left, bottom and right within the window"):
        Recipe.from_json(values)
