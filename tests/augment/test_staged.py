"""The reference engine does pad, rotate, deform and crop one after the other; the fused kernel must agree with it."""

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import scipy.ndimage
from numpy.typing import NDArray

from augment.draw import draw_recipe
from augment.errors import AugpipeError, MissingDependencyError
from augment.ranges import AugmentRanges, Extent
from augment.recipe import Recipe
from augment.renderer import render
from augment.seeding import Stream
from augment.staged import render_staged, require_elasticdeform
from pipeline.errors import exit_code


@pytest.fixture(scope="module")
def blobs() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A 64 x 64 image of smooth blobs with full contrast, and the bright ones as label."""
    noise = scipy.ndimage.gaussian_filter(np.random.default_rng(0).random((64, 64)), 2.5, mode="reflect")
    image = np.rint((noise - noise.min()) / np.ptp(noise) * 255).astype(np.uint8)
    return image, (image > 128).astype(np.uint8)


@pytest.mark.parametrize("extent", ["window", "padded"])
@pytest.mark.parametrize("window", [(80, 80), (48, 96)])
@pytest.mark.parametrize("grid_points", [2, 3, 5])
def test_both_engines_render_the_same_deformation(
    make_slice: Callable[..., Any], extent: Extent, window: tuple[int, int], grid_points: int
) -> None:
    """Without rotation each interpolates the image once, so even noise must agree.

    Their coordinates differ by some 1e-5 px, as elasticdeform works out its own spline. A label can differ only
    where that carries it over the middle between two pixels: in fewer than 1 pixel of 1,000.
    """
    image, label = make_slice((64, 64))
    ranges = AugmentRanges(rotate_deg=(0.0, 0.0), grid_points=grid_points, sigma_px=5.0, extent=extent)
    recipe = draw_recipe(ranges, Stream(0, (grid_points,)), window=window, slice_size=(64, 64))
    fused, staged = render(image, label, recipe), render_staged(image, label, recipe)
    assert staged.image.dtype == np.uint8
    assert staged.image.shape == staged.label.shape == window
    difference = np.abs(fused.image.astype(int) - staged.image)
    assert np.mean(difference <= 1) >= 0.999
    assert np.mean(difference == 0) >= 0.99
    assert np.mean(fused.label == staged.label) >= 0.999


@pytest.mark.parametrize("window", [(81, 81), (51, 40)])
def test_a_window_is_centred_on_its_extent_where_only_one_of_them_is_odd(
    blobs: tuple[NDArray[np.uint8], NDArray[np.uint8]], window: tuple[int, int]
) -> None:
    """Half a pixel aside, the steepest edges of these blobs differ by 15 gray levels; interpolated twice, by 1."""
    image, label = blobs
    ranges = AugmentRanges(rotate_deg=(0.0, 0.0), sigma_px=5.0, extent="padded")
    recipe = draw_recipe(ranges, Stream(0, (1,)), window=window, slice_size=(64, 64))
    difference = render(image, label, recipe).image.astype(int) - render_staged(image, label, recipe).image
    assert np.abs(difference).max() <= 6


@pytest.mark.parametrize("extent", ["window", "padded"])
@pytest.mark.parametrize("key", [0, 1, 2, 3])
def test_rotation_flip_zoom_and_shift_are_taken_in_the_same_order(
    blobs: tuple[NDArray[np.uint8], NDArray[np.uint8]], extent: Extent, key: int
) -> None:
    """Staged rendering interpolates twice, so only smooth tissue can agree, to a gray level on average.

    Its labels were rounded twice, by up to half a pixel each, which shows along the outlines alone.
    """
    image, label = blobs
    ranges = AugmentRanges(flip=True, zoom=(0.8, 1.3), shift_px=6.0, sigma_px=5.0, extent=extent)
    recipe = draw_recipe(ranges, Stream(1, (key,)), window=(80, 80), slice_size=(64, 64))
    fused, staged = render(image, label, recipe), render_staged(image, label, recipe)
    assert np.mean(np.abs(fused.image.astype(int) - staged.image)) < 0.5
    assert np.mean(fused.label == staged.label) > 0.95


def test_gain_and_bias_are_the_fused_engine_s(blobs: tuple[Any, Any], plain_recipe: Callable[..., Recipe]) -> None:
    image, label = blobs
    recipe = plain_recipe((64, 64), gain=1.5, bias=-60.25)
    fused, staged = render(image, label, recipe), render_staged(image, label, recipe)
    assert np.abs(fused.image.astype(int) - staged.image).max() <= 1
    assert np.array_equal(fused.label, staged.label)
    assert {0, 255} <= set(np.unique(staged.image))


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_other_dtypes_come_back_as_they_came(make_slice: Callable[..., Any], dtype: str) -> None:
    image, label = make_slice((64, 64), dtype)
    ranges = AugmentRanges(rotate_deg=(0.0, 0.0), sigma_px=4.0)
    recipe = draw_recipe(ranges, Stream(2, ()), window=(72, 72), slice_size=(64, 64))
    fused, staged = render(image, label, recipe), render_staged(image, label, recipe)
    assert staged.image.dtype == dtype
    contrast = float(image.max())
    difference = fused.image.astype(np.float64) - staged.image.astype(np.float64)
    assert np.abs(difference).max() <= 1e-4 * contrast


class Refuses:
    """A finder whose every import fails as a wheel built for NumPy 1 does."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def find_spec(self, name: str, path: object = None, target: ModuleType | None = None) -> None:
        del path, target
        if name == "elasticdeform":
            raise self.error


@pytest.mark.parametrize(
    "error",
    [
        ImportError("numpy.core.multiarray failed to import"),
        AttributeError("_ARRAY_API not found"),
        ValueError("numpy.dtype size changed, may indicate binary incompatibility"),
    ],
)
def test_a_broken_elasticdeform_is_an_error_that_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, blobs: tuple[Any, Any], plain_recipe: Callable[..., Recipe], error: Exception
) -> None:
    """Its wheels fail beside NumPy 2, with several types; the command line must end in one line, not a traceback."""
    monkeypatch.delitem(sys.modules, "elasticdeform", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Refuses(error), *sys.meta_path])
    with pytest.raises(MissingDependencyError, match="pip install --no-binary elasticdeform elasticdeform") as caught:
        render_staged(*blobs, plain_recipe((8, 8)))
    assert type(error).__name__ in str(caught.value)
    assert isinstance(caught.value, AugpipeError)
    assert exit_code(caught.value) == 3


def test_a_missing_elasticdeform_is_the_same_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "elasticdeform", None)
    with pytest.raises(MissingDependencyError, match="pip install --no-binary elasticdeform elasticdeform"):
        require_elasticdeform()
