"""Cubic B-splines through a slice's pixels: their coefficients, and how far the kernel may look beyond a slice.

The spline is the one of Unser 1999, "Splines: a perfect fit for signal and image processing", IEEE Signal Processing
Magazine 16(6).
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augment.native import Kernel

MARGIN_PX = 4  # how far a slice must be mirror-padded: a spline's reach of 2 beyond the folded half pixel
MAX_PERIODS = 1024  # how many times a window may reach over the mirrored slice
TILE_STRIDE = 1 << 12  # more than twice that: so many numbers has a row of mirror images
BAND_PX = 16  # rows transposed together
BLOCK_PX = 176  # of a row, rendered together; the default window in four
ROOM = 17 * BLOCK_PX  # numbers that the kernel works with at a time

FILTERED_ROWS = 64  # filtered together; at least the filter's horizon
_MAX_WHOLE_PX = 1 << 20  # a slice of at most so many pixels is filtered as a whole, which is faster

_filter_down = Kernel("augment.spline_kernels", "filter_down")
_filter_up = Kernel("augment.spline_kernels", "filter_up")


def coefficient_blocks(
    pixels: NDArray[np.generic], dtype: type[np.float32 | np.float64] = np.float64
) -> Iterator[tuple[int, NDArray[np.floating[Any]]]]:
    """Yield the coefficients of the cubic spline through `pixels` (Y, X), mirrored at half-sample edges.

    They come in blocks of whole rows, (top, coefficients), the lowest first, so that a large slice needs little memory:
    the filter runs down all rows, of which one a block is kept, then up, block by block, which is filtered down again.

    Computed in float64 and rounded once to `dtype`, so that they do not depend on anything but the pixels. They are
    those of `scipy.ndimage.spline_filter(order=3, mode="reflect")` to about 1e-12 gray levels, four times faster and
    without scipy's start-up time.
    """
    height, width = pixels.shape
    n_rows = FILTERED_ROWS if pixels.size > _MAX_WHOLE_PX else height
    tops = range(0, height, n_rows)
    above = np.zeros((len(tops) + 1, width))  # the row above every block, filtered down
    below, band, start = np.zeros(width), np.empty((width, BAND_PX)), np.empty(BAND_PX)
    block = np.empty(0)

    def filtered_down(index: int) -> NDArray[np.float64]:
        top, carried = tops[index], above[index + 1]
        rows = pixels[top : top + n_rows].astype(np.float64, order="C")
        carried[:] = above[index]
        _filter_down(rows, carried, int(index == 0))
        return rows

    for index in range(len(tops)):
        block = filtered_down(index)
    for index in reversed(range(len(tops))):
        is_last = index == len(tops) - 1
        if not is_last:
            block = filtered_down(index)
        _filter_up(block, below, int(is_last), band, start)
        yield tops[index], block.astype(dtype, copy=False)


def spline_coefficients(
    pixels: NDArray[np.generic], dtype: type[np.float32 | np.float64] = np.float64
) -> NDArray[np.floating[Any]]:
    """Return the coefficients (Y, X) that `coefficient_blocks` yields."""
    coefficients = np.empty(pixels.shape, dtype)
    for top, rows in coefficient_blocks(pixels, dtype):
        coefficients[top : top + len(rows)] = rows
    return coefficients
