"""Objects and their mirror images are told apart by where a pixel looks before it is folded back onto the slice."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from augment.coordinates import displacement, slice_coordinates, window_offsets
from augment.draw import draw_recipe, rotation_matrix
from augment.errors import ConfigError
from augment.mirror_tiles import Margin, highest_id
from augment.ranges import AugmentRanges
from augment.recipe import Recipe
from augment.renderer import render
from augment.seeding import Stream


def numbered(shape: tuple[int, int], dtype: str = "uint16") -> NDArray[Any]:
    """Return a label of square objects of 5 px with ids 1, 2, ..., background between them, and some at the edges."""
    y, x = np.indices(shape)
    ids = 1 + (y // 7) * (shape[1] // 7 + 1) + x // 7
    return np.where((y % 7 < 5) & (x % 7 < 5), ids, 0).astype(dtype)


def unfolded_tiles(recipe: Recipe, size: tuple[int, int]) -> NDArray[np.int64]:
    """Return (2, h, w), the tile of every pixel in floating point and from the readable coordinates."""
    at = slice_coordinates(window_offsets(recipe.window) + displacement(recipe), recipe, size)
    return np.stack([np.floor(np.floor(q + 0.5) / side) for q, side in zip(at, size, strict=True)]).astype(np.int64)


def pairs(*arrays: NDArray[Any]) -> set[tuple[int, ...]]:
    return set(zip(*(array.ravel().tolist() for array in arrays), strict=True))


EVERYTHING: dict[str, Any] = {"flip": True, "zoom": (0.5, 2.0), "shift_px": 30.0}


@pytest.mark.parametrize("dtype", ["uint16", "uint32"])
@pytest.mark.parametrize(
    ("size", "window", "ranges"),
    [
        ((40, 60), (120, 150), AugmentRanges(**EVERYTHING)),  # larger than the slice
        ((90, 80), (60, 50), AugmentRanges(**EVERYTHING)),  # reaching over its edge
        ((90, 80), (40, 100), AugmentRanges(grid_points=5, sigma_px=12.0)),  # one side each
        ((9, 5), (64, 80), AugmentRanges(zoom=(0.5, 0.5))),  # many tiles
        ((90, 80), (20, 20), AugmentRanges(shift_px=0.0)),  # within the slice
    ],
)
def test_every_copy_has_an_id_of_its_own(
    dtype: str, size: tuple[int, int], window: tuple[int, int], ranges: AugmentRanges
) -> None:
    """One id is one object in one tile, and one object in one tile has one id: the reference is NumPy's."""
    label = numbered(size, dtype)
    for key in range(6):
        recipe = draw_recipe(ranges, Stream(1, (key,)), window=window, slice_size=size)
        shared = render(label.astype(np.uint8), label, recipe)
        own = render(label.astype(np.uint8), label, recipe, margin="own")
        assert np.array_equal(own.image, shared.image)
        tile_y, tile_x = unfolded_tiles(recipe, size)
        home = (tile_y == 0) & (tile_x == 0)
        assert np.array_equal(own.label[home], shared.label[home])
        assert np.array_equal(own.label == 0, shared.label == 0)
        shown = shared.label > 0
        found = pairs(own.label[shown], tile_y[shown], tile_x[shown], shared.label[shown])
        assert len({pair[0] for pair in found}) == len(found) == len({pair[1:] for pair in found})
        copies = sorted(pair for pair in found if pair[1:3] != (0, 0))
        assert [pair[0] for pair in copies] == list(range(label.max() + 1, label.max() + 1 + len(copies)))
        assert copies == sorted(copies, key=lambda pair: pair[1:])  # numbered by tile, then by id
        ignored = render(label.astype(np.uint8), label, recipe, margin="ignore").label
        assert np.array_equal(ignored, np.where(home, shared.label, np.iinfo(dtype).max))


def test_an_object_at_the_edge_and_its_image_are_two(plain_recipe: Callable[..., Recipe]) -> None:
    """They touch: only the tile tells them apart. Half a pixel beyond the outermost one is still that pixel."""
    label = np.array([[3, 3, 0, 7]], np.uint8)
    window = plain_recipe((2, 8), matrix=((1.0, 0.0), (0.0, 1.0)), shift_px=(0.5, 0.0))
    assert render(label, label, window).label[0].tolist() == [3, 3, 3, 3, 0, 7, 7, 0]
    assert render(label, label, window, margin="own").label.tolist() == [
        [8, 8, 3, 3, 0, 7, 9, 0],
        [10, 10, 11, 11, 0, 12, 13, 0],  # of the slice's images below it: to the left, straight below, to the right
    ]


@pytest.mark.parametrize("margin", ["own", "ignore"])
def test_background_and_what_is_ignored_stay(plain_recipe: Callable[..., Recipe], margin: Margin) -> None:
    label = np.array([[0, 255, 4], [0, 255, 4]], np.uint8)
    shown = render(label, label, plain_recipe((2, 9)), margin=margin).label[0].tolist()
    assert shown == ([5, 255, 0, 0, 255, 4, 6, 255, 0] if margin == "own" else [255] * 3 + [0, 255, 4] + [255] * 3)


def test_copies_take_the_ids_that_are_left(plain_recipe: Callable[..., Recipe]) -> None:
    """Upwards from the slice's highest id, never the ignore value; then the lowest that the slice does not have."""
    label = np.array([[1, 3, 252], [1, 3, 252]], np.uint8)
    shown = render(label, label, plain_recipe((2, 9)), margin="own").label[0].tolist()
    assert shown == [2, 254, 253, 1, 3, 252, 6, 5, 4]


def test_too_few_ids_are_refused(plain_recipe: Callable[..., Recipe]) -> None:
    label = np.arange(1, 255, dtype=np.uint8).reshape(2, 127)
    render(label, label, plain_recipe((2, 127)), margin="own")
    with pytest.raises(ConfigError, match=r"margin: a window shows \d+ mirrored copies .* only 254 ids"):
        render(label, label, plain_recipe((2, 140)), margin="own")


def test_a_window_within_the_slice_is_untouched_by_any_margin() -> None:
    label = numbered((60, 60))
    recipe = draw_recipe(AugmentRanges(shift_px=5.0, sigma_px=1.0), Stream(0, ()), window=(20, 20), slice_size=(60, 60))
    kinds: tuple[Margin, ...] = ("shared", "own", "ignore")
    assert len({render(label, label, recipe, margin=margin).label.tobytes() for margin in kinds}) == 1


def test_the_highest_id_is_not_the_ignore_value() -> None:
    assert highest_id(np.array([[0, 9, 65535]], np.uint16)) == 9
    assert highest_id(np.array([[255, 255]], np.uint8)) == 0
    assert highest_id(np.array([[2**32 - 2]], np.uint32)) == 2**32 - 2


def test_turned_by_a_quarter_the_tiles_turn_too(plain_recipe: Callable[..., Recipe]) -> None:
    label = np.array([[1, 2], [3, 4]], np.uint8)
    turned = render(label, label, plain_recipe((6, 6), matrix=rotation_matrix(90.0)), margin="own").label
    assert len(np.unique(turned)) == 36
    assert np.array_equal(turned[2:4, 2:4], np.rot90(label))
