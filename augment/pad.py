"""Mirror padding: a slice goes on beyond its edge as its own reflection (half-sample symmetric)."""

import numpy as np
from numpy.typing import NDArray


def fold(coordinates: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """Return where on the slice a coordinate on its endless mirrored extension lies, in [-0.5, size - 0.5]."""
    period = 2.0 * size
    wrapped = coordinates - period * np.floor((coordinates + 0.5) / period)
    return np.minimum(wrapped, period - 1.0 - wrapped)


def mirror_pad(pixels: NDArray[np.generic], margin_px: int) -> NDArray[np.generic]:
    """Return the (Y, X) slice with `margin_px` mirrored pixels on every side."""
    return np.pad(pixels, margin_px, mode="symmetric")
