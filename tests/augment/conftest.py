"""Small slices, plain recipes, and scipy's own rendering of a recipe to hold the kernel against."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import scipy.ndimage
from numpy.typing import NDArray

from augment.coordinates import displacement, slice_coordinates, window_offsets
from augment.recipe import Recipe
from augment.renderer import Sample


class Expected(NamedTuple):
    """What scipy makes of a recipe."""

    image: NDArray[Any]
    label: NDArray[Any]
    tied: NDArray[np.bool_]  # pixels whose coordinate lies so near to the middle of two labels that either is right


@pytest.fixture(scope="session")
def plain_recipe() -> Callable[..., Recipe]:
    """Return a maker of recipes that change nothing but what is asked."""

    def make(window: tuple[int, int], **changes: Any) -> Recipe:
        still = ((0.0, 0.0), (0.0, 0.0))
        values = {
            "grid_px": (still, still),
            "extent_px": window,
            "matrix": ((1.0, 0.0), (0.0, 1.0)),
            "shift_px": (0.0, 0.0),
        }
        return Recipe(window=window, **(values | changes))

    return make


@pytest.fixture(scope="session")
def make_slice() -> Callable[..., tuple[NDArray[Any], NDArray[Any]]]:
    """Return a maker of noise over the dtype's whole range, the hardest to interpolate, and of labels 0, 2, 5."""

    def make(shape: tuple[int, int], dtype: str = "uint8", *, seed: int = 0) -> tuple[NDArray[Any], NDArray[Any]]:
        rng = np.random.default_rng(seed)
        noise = rng.random(shape)
        low, high = (0, 1) if dtype == "float32" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
        gray = low + noise * (high - low)
        image = (gray if dtype == "float32" else np.rint(gray)).astype(dtype)
        return image, rng.choice(np.array([0, 2, 5], np.uint8), shape)

    return make


def _coefficients(image: NDArray[Any]) -> NDArray[np.float64]:
    """Return scipy's spline coefficients; below some 24 px a side its own start of the filter is inexact."""
    margin = 0 if min(image.shape) >= 24 else 64
    padded = np.pad(image.astype(np.float64), margin, mode="symmetric")
    (height, width), middle = image.shape, scipy.ndimage.spline_filter(padded, order=3, mode="reflect")
    return middle[margin : margin + height, margin : margin + width]


@pytest.fixture(scope="session")
def expect() -> Callable[..., Expected]:
    """Return a maker of samples by `scipy.ndimage.map_coordinates`, one spline at the composed coordinates."""

    def make(image: NDArray[Any], label: NDArray[Any], recipe: Recipe) -> Expected:
        offsets = window_offsets(recipe.window) + displacement(recipe)
        at = slice_coordinates(offsets, recipe, image.shape)
        gray = scipy.ndimage.map_coordinates(_coefficients(image), at, order=3, mode="reflect", prefilter=False)
        gray = gray * recipe.gain + recipe.bias
        if image.dtype.kind in "ui":
            gray = np.clip(np.floor(gray + 0.5), np.iinfo(image.dtype).min, np.iinfo(image.dtype).max)
        nearest = scipy.ndimage.map_coordinates(label, at, order=0, mode="reflect")
        from_tie = np.abs(at - np.floor(at) - 0.5).min(axis=0)
        return Expected(gray.astype(image.dtype), nearest, from_tie < 1e-3)

    return make


@pytest.fixture(scope="session")
def assert_matches() -> Callable[..., None]:
    """Return the assertion that a sample is what scipy makes of its recipe."""

    def check(sample: Sample, expected: Expected, *, equal: float = 0.999) -> None:
        """Allow one gray level where a value lies within rounding of a half, in `1 - equal` of the pixels."""
        assert sample.image.dtype == expected.image.dtype
        assert sample.image.shape == expected.image.shape
        if sample.image.dtype.kind == "f":
            np.testing.assert_allclose(sample.image, expected.image, rtol=0, atol=1e-6)
        else:
            difference = np.abs(sample.image.astype(np.int64) - expected.image.astype(np.int64))
            assert difference.max() <= 1
            assert np.count_nonzero(difference) <= max(1, (1 - equal) * difference.size)
        assert np.array_equal(sample.label[~expected.tied], expected.label[~expected.tied])

    return check
