"""The displacement field is the spline that elasticdeform draws through the same control grid."""

from collections.abc import Callable

import numpy as np
import pytest
import scipy.ndimage

from augment.deform import displacement, spline_basis
from augment.draw import draw_recipe
from augment.ranges import AugmentRanges, Extent
from augment.recipe import Recipe
from augment.renderer import _SPLINE_OVERSHOOT
from augment.seeding import Stream


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


@pytest.mark.parametrize("n_points", [2, 3, 4, 7, 64])
@pytest.mark.parametrize(("n_pixels", "n_extent"), [(2, 2), (2, 300), (31, 31), (31, 64), (700, 1288)])
def test_weights_sum_to_1_at_every_pixel(n_points: int, n_pixels: int, n_extent: int) -> None:
    """Equal control points then move the whole window by the same vector."""
    basis = spline_basis(n_pixels, n_extent, n_points)
    assert basis.shape == (n_points, n_pixels)
    np.testing.assert_allclose(basis.sum(axis=0), 1.0, rtol=0, atol=1e-12)


@pytest.mark.parametrize("n_points", [2, 3, 5, 7, 64])
def test_the_spline_passes_through_its_control_points(n_points: int) -> None:
    """Ten pixels apart; an approximating spline would damp the displacements that were asked for."""
    basis = spline_basis(10 * (n_points - 1) + 1, 10 * (n_points - 1) + 1, n_points)
    np.testing.assert_allclose(basis[:, ::10], np.eye(n_points), rtol=0, atol=1e-12)


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


def test_a_window_is_the_middle_of_its_extent() -> None:
    """The kernel weighs window pixels; the grid's points are counted from the extent's corner."""
    assert np.array_equal(spline_basis(20, 50, 4), spline_basis(50, 50, 4)[:, 15:35])


def test_weights_are_shared_and_cannot_be_written() -> None:
    """They are cached between threads."""
    basis = spline_basis(12, 12, 3)
    assert spline_basis(12, 12, 3) is basis
    with pytest.raises(ValueError, match="read-only"):
        basis[0, 0] = 1.0


@pytest.mark.parametrize("n_points", [2, 3, 4, 5, 9, 33, 64])
def test_no_displacement_overshoots_what_the_renderer_reckons_with(n_points: int) -> None:
    """The renderer refuses recipes by this bound; beyond it the kernel would read outside the slice."""
    per_axis = np.abs(spline_basis(2000, 2000, n_points)).sum(axis=0).max()
    assert per_axis**2 < _SPLINE_OVERSHOOT
