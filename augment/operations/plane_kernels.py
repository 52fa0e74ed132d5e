"""Compiled loops over whole planes of gray levels.

Sums are taken in float64, of every column for itself and then of all columns from left to right: a compiler may add
columns beside each other with vectors of any width, without changing a bit.

This module imports numba. It is imported to compile what it holds, once: `augment.native` keeps the machine code.
"""

import math

import numpy as np

from augment.compiled import compiled


@compiled
def _add_up(sums):
    total = 0.0
    for c in range(sums.shape[0]):
        total += sums[c]
    return total


@compiled
def _mean(plane, sums):
    for c in range(sums.shape[0]):
        sums[c] = 0.0
    for row in range(plane.shape[0]):
        for c in range(plane.shape[1]):
            sums[c] += plane[row, c]
    return _add_up(sums) / plane.size


@compiled
def _deviation(plane, mean, sums):
    """Return the standard deviation, the sum of squares over one less than there are pixels."""
    for c in range(sums.shape[0]):
        sums[c] = 0.0
    for row in range(plane.shape[0]):
        for c in range(plane.shape[1]):
            distance = plane[row, c] - mean
            sums[c] += distance * distance
    return math.sqrt(_add_up(sums) / max(plane.size - 1, 1))


@compiled
def _find_ends(plane, lows, highs):
    """Return the lowest and the highest level of a plane."""
    for c in range(plane.shape[1]):
        lows[c] = plane[0, c]
        highs[c] = plane[0, c]
    for row in range(1, plane.shape[0]):
        for c in range(plane.shape[1]):
            lows[c] = min(lows[c], plane[row, c])
            highs[c] = max(highs[c], plane[row, c])
    low, high = lows[0], highs[0]
    for c in range(1, plane.shape[1]):
        low, high = min(low, lows[c]), max(high, highs[c])
    return low, high


@compiled
def set_levels(plane, gain, bias):
    """Multiply a plane (pixels,) by the gain, and add the bias."""
    real = plane.dtype.type
    factor, term = real(gain), real(bias)
    for p in range(plane.shape[0]):
        plane[p] = plane[p] * factor + term


@compiled
def shade(plane, field, basis_y, basis_x, line):
    """Multiply a plane by 1 + the spline through a field of control points, or by 0 where that is below.

    Args:
        plane: float32 or float64 (h, w).
        field: float64 (K, K).
        basis_y: float64 (K, h), the control points' weight at each row.
        basis_x: float64 (K, w), their weight at each column.
        line: float64 (w,), to work in.
    """
    real = plane.dtype.type
    for row in range(plane.shape[0]):
        for c in range(line.shape[0]):
            line[c] = 1.0
        for j in range(field.shape[1]):
            weight = 0.0
            for i in range(field.shape[0]):
                weight += basis_y[i, row] * field[i, j]
            for c in range(line.shape[0]):
                line[c] += basis_x[j, c] * weight
        for c in range(line.shape[0]):
            plane[row, c] *= real(max(line[c], 0.0))


@compiled
def set_contrast(plane, factor, room):
    """Multiply the levels' distances from their mean, and clip to the lowest and the highest level that there were.

    Args:
        plane: float32 or float64 (h, w).
        factor: what by.
        room: float64 (2, w), to work in.
    """
    real = plane.dtype.type
    low, high = _find_ends(plane, room[0], room[1])
    mean = real(_mean(plane, room[0]))
    step, lowest, highest = real(factor), real(low), real(high)
    for row in range(plane.shape[0]):
        for c in range(plane.shape[1]):
            plane[row, c] = min(max((plane[row, c] - mean) * step + mean, lowest), highest)


@compiled
def _raise_to(line, low, span, powers, inverted, roots):
    """Write the power of every level of a line: whole powers times roots, from the square root on."""
    real = line.dtype.type
    one, whole = real(1), powers // 64
    for c in range(line.shape[0]):
        part = min(max((line[c] - low) / span, real(0)), one)
        roots[c] = one - part if inverted else part
        line[c] = one
    for _ in range(whole):
        for c in range(line.shape[0]):
            line[c] *= roots[c]
    for k in range(6):
        for c in range(line.shape[0]):
            roots[c] = np.sqrt(roots[c])
        if powers >> (5 - k) & 1:
            for c in range(line.shape[0]):
                line[c] *= roots[c]
    for c in range(line.shape[0]):
        line[c] = (one - line[c] if inverted else line[c]) * span + low


@compiled
def set_gamma(plane, powers, inverted, roots, room):
    """Raise the levels, as parts of the span between the lowest and the highest, to a power.

    Then their mean and their standard deviation are restored. A plane of one level stays as it is.

    Args:
        plane: float32 or float64 (h, w).
        powers: the exponent, in parts of 64.
        inverted: 1 to raise the negative, 0 the picture itself.
        roots: (w,) of the plane's dtype, to work in.
        room: float64 (2, w), to work in.
    """
    real = plane.dtype.type
    low, high = _find_ends(plane, room[0], room[1])
    lowest, span = real(low), real(real(high) - real(low))
    if not span > 0:
        return
    mean = _mean(plane, room[0])
    deviation = _deviation(plane, mean, room[0])
    for row in range(plane.shape[0]):
        _raise_to(plane[row], lowest, span, powers, inverted == 1, roots)
    raised = _mean(plane, room[0])
    factor = deviation / max(_deviation(plane, raised, room[0]), 1e-7 * deviation)
    for row in range(plane.shape[0]):
        for c in range(plane.shape[1]):
            plane[row, c] = real((plane[row, c] - raised) * factor + mean)


@compiled
def round_planes(planes, gray, image):
    """Clip and round planes into an image.

    Args:
        planes: float32 or float64 (C, pixels).
        gray: (4,) of the same dtype: what lifts signed levels above zero, the lowest and the highest lifted level, and
            what turns truncation into rounding.
        image: (pixels x C,) of whole numbers without a sign, or float32; the channels of a pixel lie beside each other.
    """
    lift, low, high, half = gray[0], gray[1], gray[2], gray[3]
    n_channels = planes.shape[0]
    if n_channels == 1:
        line = planes[0]
        for p in range(line.shape[0]):
            image[p] = min(max(line[p] + lift, low), high) + half
        return
    for p in range(planes.shape[1]):
        for channel in range(n_channels):
            image[p * n_channels + channel] = min(max(planes[channel, p] + lift, low), high) + half
