"""Coefficients are scipy's, and those of the endless mirrored slice where scipy's would not be."""

import numpy as np
import pytest
import scipy.ndimage

from augment.spline import spline_coefficients


@pytest.mark.parametrize("shape", [(24, 24), (24, 97), (50, 33), (129, 64)])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_coefficients_are_scipy_s(shape: tuple[int, int], dtype: str) -> None:
    pixels = (np.random.default_rng(0).random(shape) * 255).astype(dtype)
    expected = scipy.ndimage.spline_filter(pixels.astype(np.float64), order=3, mode="reflect")
    np.testing.assert_allclose(spline_coefficients(pixels), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("height", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("width", [1, 2, 7, 8, 17])
def test_a_tiny_slice_is_filtered_as_its_endless_mirror_image(height: int, width: int) -> None:
    """The filter's memory of 32 pixels spans several reflections there."""
    pixels = np.random.default_rng(height * 100 + width).integers(0, 256, (height, width), np.uint8)
    padded = np.pad(pixels.astype(np.float64), 64, mode="symmetric")
    expected = scipy.ndimage.spline_filter(padded, order=3, mode="reflect")[64:-64, 64:-64]
    np.testing.assert_allclose(spline_coefficients(pixels), expected, rtol=0, atol=1e-9)


def test_the_b_spline_of_the_coefficients_gives_the_pixels_back() -> None:
    """At a pixel's centre the cubic B-spline weighs its neighbours 1, 4, 1 (sixths) along each axis."""
    pixels = np.random.default_rng(1).integers(0, 65536, (9, 13)).astype(np.uint16)
    coefficients = np.pad(spline_coefficients(pixels), 1, mode="symmetric")
    sixths = np.array([1, 4, 1]) / 6
    again = scipy.ndimage.convolve(coefficients, np.outer(sixths, sixths))[1:-1, 1:-1]
    np.testing.assert_allclose(again, pixels, rtol=0, atol=1e-9 * 65536)


def test_the_pixels_are_left_alone() -> None:
    """The filter works in place, on a copy: a float64 slice would otherwise be destroyed by being looked at."""
    pixels = np.random.default_rng(2).random((6, 6))
    before = pixels.copy()
    spline_coefficients(pixels)
    assert np.array_equal(pixels, before)


def test_coefficients_are_rounded_once_to_the_dtype_asked_for() -> None:
    pixels = np.random.default_rng(3).integers(0, 256, (20, 30), np.uint8)
    rounded = spline_coefficients(pixels, np.float32)
    assert rounded.dtype == np.float32
    assert np.array_equal(rounded, spline_coefficients(pixels).astype(np.float32))
