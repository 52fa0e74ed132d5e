"""Gray levels: gain and bias, and the limits that a dtype sets."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from augment.errors import ConfigError
from augment.recipe import Recipe

IMAGE_DTYPES = ("uint8", "uint16", "float32")


def gray_limits(dtype: np.dtype[Any]) -> tuple[float, float]:
    """Return the lowest and the highest gray level that `dtype` can hold.

    Raises:
        ConfigError: not one of the dtypes that can be rendered.
    """
    if dtype.name not in IMAGE_DTYPES:
        raise ConfigError(f"image: expected a dtype among {', '.join(IMAGE_DTYPES)}, got {dtype.name}")
    limits: Any = np.finfo(dtype) if dtype.kind == "f" else np.iinfo(dtype)
    return float(limits.min), float(limits.max)


def working_dtype(dtype: np.dtype[Any]) -> type[np.float32 | np.float64]:
    """Return what to compute gray levels of `dtype` in: float32 rounds 8 bits rightly, but not 16."""
    return np.float32 if dtype.name == "uint8" else np.float64


def gray_constants(recipe: Recipe, dtype: np.dtype[Any]) -> tuple[np.floating[Any], ...]:
    """Return gain, bias, lowest, highest and the half that turns truncation into rounding, for the kernel."""
    half = 0.5 if dtype.kind == "u" else 0.0
    real = working_dtype(dtype)
    return tuple(real(value) for value in (recipe.gain, recipe.bias, *gray_limits(dtype), half))


def set_gray(values: NDArray[np.floating[Any]], recipe: Recipe, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return interpolated values with the recipe's gain and bias, rounded (half up) and clipped to `dtype`."""
    low, high = gray_limits(dtype)
    changed = values * recipe.gain + recipe.bias
    gray: NDArray[Any] = np.clip(np.floor(changed + 0.5) if dtype.kind == "u" else changed, low, high).astype(dtype)
    return gray
