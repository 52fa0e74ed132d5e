"""Cubic B-spline coefficients of a slice: what the kernel interpolates.

The same coefficients as `scipy.ndimage.spline_filter(order=3, mode="reflect")` to about 1e-12 gray levels, four times
faster and without scipy's start-up time. Unser 1999, "Splines: a perfect fit for signal and image processing",
IEEE Signal Processing Magazine 16(6).
"""

import math
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

_POLE = math.sqrt(3.0) - 2.0
_HORIZON = 32  # |pole| ** 32 is below float64's resolution: no sample further away counts


def spline_coefficients(
    pixels: NDArray[np.generic], dtype: type[np.float32 | np.float64] = np.float64
) -> NDArray[np.floating[Any]]:
    """Return the (Y, X) coefficients of the cubic spline through `pixels`, mirrored at half-sample edges.

    Computed in float64 and rounded once to `dtype`, so that they do not depend on anything but the pixels.
    """
    coefficients = pixels.astype(np.float64)
    _filter_columns(coefficients)
    _filter_rows(coefficients)
    return coefficients.astype(dtype, copy=False)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _filter_columns(c):
    """Filter along y in place, a whole row of pixels at a time."""
    height, width = c.shape
    start = np.zeros(width)
    factor = 1.0
    for k in range(_HORIZON):
        mirrored = k % (2 * height)
        row = c[min(mirrored, 2 * height - 1 - mirrored)]
        factor *= _POLE
        for x in range(width):
            start[x] += factor * row[x]
    for x in range(width):
        c[0, x] += start[x]
    for y in range(1, height):
        for x in range(width):
            c[y, x] += _POLE * c[y - 1, x]
    for x in range(width):
        c[height - 1, x] *= 6.0 * _POLE / (_POLE - 1.0)
    for y in range(height - 2, -1, -1):
        for x in range(width):
            c[y, x] = _POLE * (c[y + 1, x] - 6.0 * c[y, x])


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _filter_rows(c):
    """Filter along x in place, by way of the transpose of a few rows: that order vectorises."""
    height, width = c.shape
    band = np.empty((width, 16))
    for top in range(0, height, 16):
        n = min(16, height - top)
        part = band[:, :n]
        for x in range(width):
            for y in range(n):
                part[x, y] = c[top + y, x]
        _filter_columns(part)
        for x in range(width):
            for y in range(n):
                c[top + y, x] = part[x, y]
