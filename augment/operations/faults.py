"""What a fault of the section does to a window: which pixels lie beyond it, show nothing, or are darker.

All is worked out from u, a pixel's offset from the window's centre, in float64.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from augment.operations.defects import Defects

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


def is_beyond(defects: Defects, window: tuple[int, int]) -> Mask:
    """Return which pixels (h, w) lie beyond the fault's line."""
    across, _ = _distances(defects, window)
    return across > 0


def is_hidden(defects: Defects, window: tuple[int, int]) -> Mask | None:
    """Return which pixels (h, w) show nothing of what is labelled; None where all show something."""
    across, _ = _distances(defects, window)
    match defects.kind:
        case "missing":
            return across > 0
        case "fold":
            return np.abs(across) < defects.size_px / 2
        case _:
            return None


def darken(planes: NDArray[np.floating[Any]], defects: Defects) -> None:
    """Bring the pixels of planes (C, h, w) nearer to black, which is the darkest pixel of the plane."""
    height, width = planes.shape[1:]
    if (shade := _shade(defects, (height, width))) is None:
        return
    shade = shade.astype(planes.dtype)
    for channel in range(len(planes)):
        planes[channel] -= shade * (planes[channel] - planes[channel].min())


def _shade(defects: Defects, window: tuple[int, int]) -> Floats | None:
    """Return how much of the way to black every pixel (h, w) goes; None where none goes any."""
    if defects.kind == "spot":
        across, along = _distances(defects, window)
        across /= 2 * max(defects.size_px, 1.0)
        along /= 4 * max(defects.size_px, 1.0)
        inside = np.maximum(1 - (across * across + along * along), 0)
        shade: Floats = defects.darkness * (inside * (2 - inside))
        return shade
    hidden = is_hidden(defects, window)
    return None if hidden is None else hidden.astype(np.float64) * defects.darkness


def _distances(defects: Defects, window: tuple[int, int]) -> tuple[Floats, Floats]:
    """Return how far every pixel (h, w) lies from the fault's point, across its line and along it, in pixels."""
    (height, width), (at_y, at_x), (normal_y, normal_x) = window, defects.at, defects.normal
    y = (np.arange(height) - (height - 1) / 2 - at_y)[:, None]
    x = (np.arange(width) - (width - 1) / 2 - at_x)[None, :]
    return normal_y * y + normal_x * x, normal_y * x - normal_x * y
