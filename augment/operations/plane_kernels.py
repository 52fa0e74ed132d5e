"""Compiled loops over whole planes of gray levels.

This module imports numba. It is imported to compile what it holds, once: `augment.native` keeps the machine code.
"""

from augment.compiled import compiled


@compiled
def set_levels(plane, gain, bias):
    """Multiply a plane (pixels,) by the gain, and add the bias."""
    real = plane.dtype.type
    factor, term = real(gain), real(bias)
    for p in range(plane.shape[0]):
        plane[p] = plane[p] * factor + term


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
