"""Gray levels keep to their dtype's range, and gain and bias come before rounding."""

from collections.abc import Callable

import numpy as np
import pytest

from augment.errors import ConfigError
from augment.gray import gray_limits, set_gray
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
