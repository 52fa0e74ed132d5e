"""Gray levels: the dtypes that can be rendered, gain and bias, and the 8 bits that a screen shows."""

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augment.errors import ConfigError
from augment.recipe import Pair, Recipe

IMAGE_DTYPES = ("uint8", "uint16", "int16", "float32")

NO_CHANGE = (1.0, 0.0)  # gain and bias

_INT16_LIFT = 32768
_LUMA = (0.299, 0.587, 0.114)
_DARK_AND_BRIGHT = (0.5, 99.5)  # percentiles that become black and white


def renderable_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype in which `as_renderable` returns images of `dtype`, which need not be one of IMAGE_DTYPES."""
    if dtype.kind == "b":
        return np.dtype(np.uint8)
    return np.dtype({"float16": np.float32, "int8": np.int16}.get(dtype.name, dtype.newbyteorder("=")))


def as_renderable(image: NDArray[Any]) -> NDArray[Any]:
    """Return an image in native byte order and C order; single bits become 0 and 255, int8 int16, float16 float32.

    An image that is so already is returned itself.
    """
    if image.dtype.kind == "b":
        return np.where(image, np.uint8(255), np.uint8(0))
    return image.astype(renderable_dtype(image.dtype), order="C", copy=False)


def gray_percentiles(image: NDArray[Any], *, max_pixels: int | None = None) -> tuple[Any, Any]:
    """Return the gray levels that half a percent of the pixels are below and above: dead pixels do not count.

    Args:
        image: (Y, X) of any dtype of gray levels.
        max_pixels: look at about so many pixels of a regular grid at most; at all of them where None.
    """
    step = 1 if max_pixels is None else max(1, int((image.size / max_pixels) ** 0.5))
    low, high = np.percentile(image[::step, ::step], _DARK_AND_BRIGHT)
    return low, high


def as_gray8(image: NDArray[Any], limits: tuple[float, float]) -> NDArray[np.uint8]:
    """Return an image (Y, X) in 8 bits: 8-bit images as they are, others spread so that `limits` are black and white.

    Where the two limits are equal, all is black.
    """
    if image.dtype == np.uint8:
        return image
    low, high = limits
    levels = (image.astype(np.float32) - low) * (255 / (high - low) if high > low else 0.0)
    gray: NDArray[np.uint8] = np.clip(np.rint(levels), 0, 255).astype(np.uint8)
    return gray


def as_plane(image: NDArray[Any]) -> NDArray[Any]:
    """Return an image (Y, X) as it is, and one of channels (Y, X, C) as one plane of its dtype, to be compared.

    Three channels are weighted as red, green and blue (luma of ITU-R BT.601), others by 1, 1/2, 1/3, ...: no two weigh
    the same, so that no picture and its negative cancel each other.
    """
    if image.ndim == 2:
        return image
    n_channels = image.shape[2]
    weights = np.array(_LUMA if n_channels == len(_LUMA) else 1 / np.arange(1, n_channels + 1), np.float32)
    plane = image.astype(np.float32) @ (weights / weights.sum())
    return np.asarray(plane if image.dtype.kind == "f" else np.rint(plane).astype(image.dtype))


@cache
def gray_limits(dtype: np.dtype[Any]) -> tuple[float, float]:
    """Return the lowest and the highest gray level that `dtype` can hold.

    Raises:
        ConfigError: not one of the dtypes that can be rendered.
    """
    if dtype.name not in IMAGE_DTYPES:
        raise ConfigError(f"image: expected a dtype among {', '.join(IMAGE_DTYPES)}, got {dtype.name}")
    limits: Any = np.finfo(dtype) if dtype.kind == "f" else np.iinfo(dtype)
    return float(limits.min), float(limits.max)


@cache
def working_dtype(dtype: np.dtype[Any]) -> type[np.float32 | np.float64]:
    """Return what to compute gray levels of `dtype` in: float32 rounds 8 bits rightly, but not 16."""
    return np.float32 if dtype.name == "uint8" else np.float64


def gray_constants(levels: tuple[Pair, ...], dtype: np.dtype[Any]) -> NDArray[np.floating[Any]]:
    """Return (C, 5): gain, bias, lowest, highest and the half that turns truncation into rounding, for the kernel.

    `levels` are the gain and the bias of each channel.

    The kernel truncates, which rounds towards zero: signed gray levels are lifted above zero for it, by `_lift`, and
    lowered again by `lower_gray`.
    """
    half = 0.0 if dtype.kind == "f" else 0.5
    real = working_dtype(dtype)
    low, high = (limit + _lift(dtype) for limit in gray_limits(dtype))
    rows = [(gain, bias + _lift(dtype), low, high, half) for gain, bias in levels]
    return np.array(rows, real)


def lifted_gray(image: NDArray[Any]) -> NDArray[Any]:
    """Return the same memory in the dtype that the kernel writes: unsigned where `image` is signed."""
    return image.view(np.uint16) if image.dtype.name == "int16" else image


def lower_gray(image: NDArray[Any]) -> None:
    """Take the lift back, in place, from an image that the kernel wrote."""
    if _lift(image.dtype):
        lifted = lifted_gray(image)
        np.bitwise_xor(lifted, np.uint16(_INT16_LIFT), out=lifted)


def set_gray(values: NDArray[np.floating[Any]], recipe: Recipe, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return interpolated values with the recipe's gain and bias, rounded (half up) and clipped to `dtype`."""
    low, high = gray_limits(dtype)
    changed = values * recipe.gain + recipe.bias
    gray: NDArray[Any] = np.clip(changed if dtype.kind == "f" else np.floor(changed + 0.5), low, high).astype(dtype)
    return gray


@cache
def _lift(dtype: np.dtype[Any]) -> float:
    return float(_INT16_LIFT) if dtype.name == "int16" else 0.0
