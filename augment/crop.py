"""Crop, the first coordinate map: the window's own pixels, counted from its centre."""

import numpy as np
from numpy.typing import NDArray


def window_offsets(window: tuple[int, int]) -> NDArray[np.float64]:
    """Return u = p - ((h-1)/2, (w-1)/2) for every pixel p, as (2, h, w) in (y, x) order."""
    height, width = window
    rows = np.arange(height) - (height - 1) / 2
    columns = np.arange(width) - (width - 1) / 2
    return np.stack(np.broadcast_arrays(rows[:, None], columns[None, :]))
