"""The compiled half of `augment.spline`: the recursive filter that makes coefficients of pixels.

As Thévenaz, Blu and Unser 2000 write it, "Interpolation revisited", IEEE Transactions on Medical Imaging 19(7).

This module imports numba. It is imported to compile what it holds, once: `augment.native` keeps the machine code.
"""

import math

from augment.compiled import compiled
from augment.spline import BAND_PX

_POLE = math.sqrt(3.0) - 2.0  # of the cubic B-spline's inverse filter
_HORIZON_PX = 32  # |pole| ** 32 is below float64's resolution: no pixel further away counts

# Along each axis two first-order filters with the same pole z, one up and one down (Thévenaz 2000, section on the
# recursive filter):
#
#     c+[k] = s[k] + z c+[k-1]                c-[k] = z (c-[k+1] - 6 c+[k])
#
# where 6 is (1 - z)(1 - 1/z), the gain. Half-sample mirroring, s[-1-k] = s[k], decides how each begins:
#
#     c+[0] = s[0] + sum over k >= 0 of z^(k+1) s[k]          c-[N-1] = 6 z / (z - 1) c+[N-1]


@compiled
def _begin(c, start):
    """Write what the mirrored pixels before the first row add to it; c are the first rows, or all there are."""
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


@compiled
def _down(c, start):
    """Filter downwards in place, whole rows at a time; `start` is what the rows before add to the first."""
    height, width = c.shape
    for x in range(width):
        c[0, x] += start[x]
    for y in range(1, height):
        for x in range(width):
            c[y, x] += _POLE * c[y - 1, x]


@compiled
def _end(c):
    """Filter the last row of all upwards."""
    last = c[c.shape[0] - 1]
    for x in range(c.shape[1]):
        last[x] *= 6.0 * _POLE / (_POLE - 1.0)


@compiled
def _up(c):
    """Filter upwards in place, from the last but one row, whole rows at a time."""
    height, width = c.shape
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
        _begin(part, start)
        _down(part, start)
        _end(part)
        _up(part)
        for x in range(width):
            for y in range(n):
                c[top + y, x] = part[x, y]


@compiled
def filter_down(c, carried, is_first):
    """Filter a block of rows along y, downwards, in place: the first half of the filter along y.

    Args:
        c: float64 (rows, X) pixels. The first block has _HORIZON_PX rows or more, unless it has all.
        carried: float64 (X,), the last row of the block above, filtered; becomes that of this block.
        is_first: whether no block is above.
    """
    if is_first:
        _begin(c, carried)
    else:
        for x in range(carried.shape[0]):
            carried[x] = _POLE * carried[x]
    _down(c, carried)
    for x in range(carried.shape[0]):
        carried[x] = c[c.shape[0] - 1, x]


@compiled
def filter_up(c, carried, is_last, band, start):
    """Make coefficients of a block of rows that `filter_down` has filtered, in place: up along y, then along x.

    Args:
        c: float64 (rows, X).
        carried: float64 (X,), the first row of the block below, as it was before it was filtered along x; becomes
            that of this block.
        is_last: whether no block is below.
        band: float64 (X, BAND_PX), to work in.
        start: float64 (BAND_PX,), to work in.
    """
    if is_last:
        _end(c)
    else:
        last = c[c.shape[0] - 1]
        for x in range(carried.shape[0]):
            last[x] = _POLE * (carried[x] - 6.0 * last[x])
    _up(c)
    for x in range(carried.shape[0]):
        carried[x] = c[0, x]
    _filter_rows(c, band, start)
