"""Control points weigh as an interpolating cubic spline does, and never more than the renderer allows for."""

import numpy as np
import pytest

from augment.deform import spline_basis
from augment.renderer import _MAX_OVERSHOOT


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
def test_no_displacement_overshoots_what_the_renderer_allows_for(n_points: int) -> None:
    """The renderer refuses recipes by this bound; beyond it the kernel would read outside the slice."""
    per_axis = np.abs(spline_basis(2000, 2000, n_points)).sum(axis=0).max()
    assert per_axis**2 < _MAX_OVERSHOOT
