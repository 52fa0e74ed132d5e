"""The first and the third coordinate map, on pixels counted by hand."""

from collections.abc import Callable

import numpy as np
import pytest

from augment.crop import window_offsets
from augment.recipe import Recipe
from augment.rotate import slice_centre, slice_coordinates


def test_offsets_count_from_the_window_s_centre() -> None:
    """An even side has its centre between two pixels."""
    rows, columns = window_offsets((3, 4))
    assert rows.tolist() == [[-1.0] * 4, [0.0] * 4, [1.0] * 4]
    assert columns.tolist() == [[-1.5, -0.5, 0.5, 1.5]] * 3


def test_the_centre_of_a_slice_lies_between_its_outermost_pixels(plain_recipe: Callable[..., Recipe]) -> None:
    assert slice_centre(plain_recipe((2, 2)), (5, 8)) == (2.0, 3.5)
    assert slice_centre(plain_recipe((2, 2), shift_px=(1.0, -2.5)), (5, 8)) == (3.0, 1.0)


def test_without_change_a_window_of_the_slice_s_size_shows_its_pixels(plain_recipe: Callable[..., Recipe]) -> None:
    at = slice_coordinates(window_offsets((3, 4)), plain_recipe((3, 4)), (3, 4))
    assert np.array_equal(at, np.indices((3, 4)))


def test_the_matrix_is_in_y_x_order_and_the_shift_comes_after_it(plain_recipe: Callable[..., Recipe]) -> None:
    recipe = plain_recipe((2, 2), matrix=((1.0, 2.0), (4.0, 8.0)), shift_px=(100.0, 200.0))
    offsets = np.array([1.0, 10.0]).reshape(2, 1, 1)  # y = 1, x = 10
    assert slice_coordinates(offsets, recipe, (3, 5)).ravel() == pytest.approx([21 + 1 + 100, 84 + 2 + 200])
