"""Gray levels keep to their dtype's range, and gain and bias come before rounding."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from augment.errors import ConfigError
from augment.gray import as_gray8, as_renderable, gray_limits, gray_percentiles, renderable_dtype, set_gray
from augment.recipe import Recipe


@pytest.mark.parametrize(
    ("dtype", "limits"),
    [("uint8", (0.0, 255.0)), ("uint16", (0.0, 65535.0)), ("float32", (-3.4028234663852886e38, 3.4028234663852886e38))],
)
def test_limits_are_those_of_the_dtype(dtype: str, limits: tuple[float, float]) -> None:
    assert gray_limits(np.dtype(dtype)) == limits


@pytest.mark.parametrize("dtype", ["int8", "uint32", "float16", "float64", "bool", "complex64"])
def test_other_dtypes_are_refused_by_name(dtype: str) -> None:
    with pytest.raises(ConfigError, match=f"image: expected a dtype among uint8, uint16, int16, float32, got {dtype}"):
        gray_limits(np.dtype(dtype))


def test_gain_and_bias_come_before_rounding_and_clipping_last(plain_recipe: Callable[..., Recipe]) -> None:
    recipe = plain_recipe((2, 2), gain=10.0, bias=-3.0)
    values = np.array([0.2, 0.33, 1.5, 1.57, 30.0])  # x 10 - 3: -1, 0.3, 12, 12.7, 297
    assert set_gray(values, recipe, np.dtype("uint8")).tolist() == [0, 0, 12, 13, 255]
    assert set_gray(values, recipe, np.dtype("uint16")).tolist() == [0, 0, 12, 13, 297]
    assert set_gray(values, recipe, np.dtype("float32")) == pytest.approx([-1, 0.3, 12, 12.7, 297])


def test_the_result_has_the_dtype_asked_for(plain_recipe: Callable[..., Recipe]) -> None:
    for dtype in ("uint8", "uint16", "float32"):
        assert set_gray(np.zeros(2), plain_recipe((2, 2)), np.dtype(dtype)).dtype == dtype


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (np.array([[True, False]]), np.array([[255, 0]], np.uint8)),
        (np.array([[0.5, -2.0]], np.float16), np.array([[0.5, -2.0]], np.float32)),
        (np.array([[-128, 127]], np.int8), np.array([[-128, 127]], np.int16)),
        (np.array([[1, 2]], ">u2"), np.array([[1, 2]], np.uint16)),
        (np.asfortranarray([[1, 2], [3, 4]], np.uint8), np.array([[1, 2], [3, 4]], np.uint8)),
        (np.array([[0.5]], ">f4"), np.array([[0.5]], np.float32)),
        (np.array([[1.5]]), np.array([[1.5]])),  # float64 is for the caller to refuse
    ],
)
def test_bits_half_floats_and_foreign_byte_orders_become_renderable(
    image: NDArray[Any], expected: NDArray[Any]
) -> None:
    found = as_renderable(image)
    assert found.dtype == renderable_dtype(image.dtype) == expected.dtype
    assert found.dtype.isnative
    assert found.flags.c_contiguous
    assert found.tobytes() == expected.tobytes()


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
def test_what_is_renderable_already_is_not_copied(dtype: str) -> None:
    image = np.zeros((2, 3), dtype)
    assert as_renderable(image) is image


def test_a_dead_pixel_in_two_hundred_is_no_percentile() -> None:
    image = np.arange(10_000, dtype=np.float32).reshape(100, 100)
    image[0, 0] = -1e9
    low, high = gray_percentiles(image)
    assert 40 < low < 60
    assert 9940 < high < 9960


def test_percentiles_of_a_large_image_are_those_of_a_regular_grid() -> None:
    image = np.zeros((64, 64), np.uint16)
    image[::2, ::2] = 7
    assert gray_percentiles(image, max_pixels=1024) == (7, 7)
    assert gray_percentiles(image, max_pixels=64 * 64) == gray_percentiles(image) == (0, 7)


def test_limits_become_black_and_white() -> None:
    image = np.array([[-5, 10, 11, 12, 900]], np.int16)
    assert as_gray8(image, (10, 12)).tolist() == [[0, 0, 128, 255, 255]]  # 127.5 is rounded to even
    assert as_gray8(image, (10, 10)).tolist() == [[0] * 5]
    bright = np.array([[3, 200]], np.uint8)
    assert as_gray8(bright, (100, 101)) is bright
