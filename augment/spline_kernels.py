"""The compiled half of `augment.spline`: the recursive filter that makes coefficients of pixels.

As Thévenaz, Blu and Unser 2000 write it, "Interpolation revisited", IEEE Transactions on Medical Imaging 19(7).

This module imports numba. It is imported to compile what it holds, once: `augment.native` keeps the machine code.
"""

import math

from augment.compiled import compiled
from augment.spline import BAND_PX

_POLE = math.sqrt(3.0) - 2.0  # of the cubic B-spline's inverse filter
_HORIZON_PX = 32  # |pole| ** 32 is below float64's resolution: no pixel further away counts


@compiled
def _filter_columns(c, start):
    """Filter along y in place, a whole row of pixels at a time.

    Two first-order filters with the same pole z, down and then up (Thévenaz 2000, section on the recursive filter):

        c+[k] = s[k] + z c+[k-1]                c-[k] = z (c-[k+1] - 6 c+[k])

    where 6 is (1 - z)(1 - 1/z), the gain. Half-sample mirroring, s[-1-k] = s[k], decides how each begins:

        c+[0] = s[0] + sum over k >= 0 of z^(k+1) s[k]          c-[N-1] = 6 z / (z - 1) c+[N-1]
    """
    height, width = c.shape
    for x in range(width):
        start[x] = 0.0
    factor = 1.0
    for k in range(_HORIZON_PX):
        mirrored = k % (2 * height)  # a slice lower than the horizon is mirrored again and again
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


@compiled
def _filter_rows(c, band, start):
    """Filter along x in place, by way of the transpose of a few rows: that order vectorises."""
    height, width = c.shape
    for top in range(0, height, BAND_PX):
        n = min(BAND_PX, height - top)
        part = band[:, :n]
        for x in range(width):
            for y in range(n):
                part[x, y] = c[top + y, x]
        _filter_columns(part, start)
        for x in range(width):
            for y in range(n):
                c[top + y, x] = part[x, y]


@compiled
def filter_pixels(c, band, start):
    """Replace pixels by the spline's coefficients, in place.

    Args:
        c: float64 (Y, X).
        band: float64 (X, BAND_PX), to work in.
        start: float64, as long as the longer of X and BAND_PX, to work in.
    """
    _filter_columns(c, start)
    _filter_rows(c, band, start)
