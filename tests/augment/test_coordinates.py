"""The twin's coordinate maps: on pixels counted by hand, and the displacement as scipy works it out."""

from collections.abc import Callable

import numpy as np
import pytest
import scipy.ndimage
from hypothesis import given
from hypothesis import strategies as st

from augment.coordinates import displacement, fold, slice_coordinates, window_offsets
from augment.draw import draw_recipe
from augment.ranges import AugmentRanges, Extent
from augment.recipe import Recipe
from augment.renderer import mirror_pad
from augment.seeding import Stream


def test_offsets_count_from_the_window_s_centre() -> None:
    """An even side has its centre between two pixels."""
    rows, columns = window_offsets((3, 4))
    assert rows.tolist() == [[-1.0] * 4, [0.0] * 4, [1.0] * 4]
    assert columns.tolist() == [[-1.5, -0.5, 0.5, 1.5]] * 3


def test_without_change_a_window_of_the_slice_s_size_shows_its_pixels(plain_recipe: Callable[..., Recipe]) -> None:
    at = slice_coordinates(window_offsets((3, 4)), plain_recipe((3, 4)), (3, 4))
    assert np.array_equal(at, np.indices((3, 4)))


def test_the_matrix_is_in_y_x_order_and_the_shift_comes_after_it(plain_recipe: Callable[..., Recipe]) -> None:
    recipe = plain_recipe((2, 2), matrix=((1.0, 2.0), (4.0, 8.0)), shift_px=(100.0, 200.0))
    offsets = np.array([1.0, 10.0]).reshape(2, 1, 1)  # y = 1, x = 10
    assert slice_coordinates(offsets, recipe, (3, 5)).ravel() == pytest.approx([21 + 1 + 100, 84 + 2 + 200])


@pytest.mark.parametrize("n_points", range(2, 8))
@pytest.mark.parametrize("extent", ["window", "padded"])
@pytest.mark.parametrize("window", [(30, 41), (61, 24)])
def test_displacement_is_scipy_s_mirrored_cubic_spline(n_points: int, extent: Extent, window: tuple[int, int]) -> None:
    ranges = AugmentRanges(grid_points=n_points, extent=extent)
    recipe = draw_recipe(ranges, Stream(1, (n_points,)), window=window, slice_size=(40, 40))
    positions = [
        (np.arange(side) + (across - side) / 2) * (n_points - 1) / (across - 1)
        for side, across in zip(window, recipe.extent_px, strict=True)
    ]
    at = np.stack(np.meshgrid(*positions, indexing="ij"))
    expected = [scipy.ndimage.map_coordinates(np.array(axis), at, order=3, mode="mirror") for axis in recipe.grid_px]
    np.testing.assert_allclose(displacement(recipe), expected, rtol=0, atol=1e-9)


def test_axes_are_not_exchanged(plain_recipe: Callable[..., Recipe]) -> None:
    """The first grid moves along y, and its rows lie along y."""
    down_at_the_bottom = ((0.0, 0.0), (6.0, 6.0))
    still = ((0.0, 0.0), (0.0, 0.0))
    field = displacement(plain_recipe((5, 4), grid_px=(down_at_the_bottom, still)))
    assert field.shape == (2, 5, 4)
    assert field[0, 0] == pytest.approx(np.zeros(4))
    assert field[0, 2] == pytest.approx(np.full(4, 3.0))
    assert field[0, 4] == pytest.approx(np.full(4, 6.0))
    assert not field[1].any()


def test_fold_of_three_pixels_by_hand() -> None:
    coordinates = np.arange(-4.0, 8.0)
    assert fold(coordinates, 3).tolist() == [2, 2, 1, 0, 0, 1, 2, 2, 1, 0, 0, 1]


def test_fold_between_pixels() -> None:
    """Half a pixel beyond the centre of the last one is the mirror itself."""
    assert fold(np.array([-0.75, -0.5, -0.25, 2.25, 2.5, 2.75]), 3) == pytest.approx(
        [-0.25, -0.5, -0.25, 2.25, 2.5, 2.25]
    )


@given(coordinate=st.floats(-1e5, 1e5), size=st.integers(1, 700))
def test_a_folded_coordinate_is_on_the_slice_and_folds_to_itself(coordinate: float, size: int) -> None:
    folded = fold(np.array([coordinate]), size)
    assert -0.5 - 1e-9 <= folded[0] <= size - 0.5 + 1e-9
    assert fold(folded, size) == pytest.approx(folded, abs=1e-9)


@given(coordinate=st.floats(-1e4, 1e4), size=st.integers(1, 700))
def test_fold_repeats_after_two_slices_and_is_mirrored_at_the_edge(coordinate: float, size: int) -> None:
    at, later, mirrored = fold(np.array([coordinate, coordinate + 2 * size, -1 - coordinate]), size)
    assert later == pytest.approx(at, abs=1e-8)
    assert mirrored == pytest.approx(at, abs=1e-8)


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (5, 9)])
def test_padding_is_what_folding_the_coordinates_picks(shape: tuple[int, int]) -> None:
    """The kernel folds coordinates and pads pixels; the two must continue a slice alike, over several reflections."""
    pixels = np.arange(shape[0] * shape[1]).reshape(shape)
    rows, columns = (fold(np.arange(-11.0, side + 11), side).astype(int) for side in shape)
    assert np.array_equal(mirror_pad(pixels, 11), pixels[np.ix_(rows, columns)])
