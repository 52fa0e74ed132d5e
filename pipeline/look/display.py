"""How pixels of any dtype and any channels become the 8 bits a colour that a screen shows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augment.gray import as_gray8, gray_percentiles

_PRIMARIES = ("red", "green", "blue")
# Of channels that are no colours themselves, in their order; the first two together become white where both are bright.
_TINTS = ((0, 255, 0), (255, 0, 255), (0, 160, 255), (255, 190, 0), (255, 60, 60), (140, 140, 140))
_MAX_COUNTED = 1 << 20


@dataclass(frozen=True, slots=True, eq=False)
class Display:
    """How to show pixels: for each channel the gray levels that are black and full, and its colour.

    Attributes:
        limits: (low, high) of each channel; of gray, of the one plane.
        tints: (C, 3) red, green and blue at full, 0 to 255; None for gray.
    """

    limits: tuple[tuple[float, float], ...]
    tints: NDArray[np.float32] | None = None

    def as8(self, pixels: NDArray[Any]) -> NDArray[np.uint8]:
        """Return pixels (Y, X) in 8 bits, or pixels (Y, X, C) as (Y, X, 3), the sum of the channels' colours."""
        if self.tints is None:
            return as_gray8(pixels, self.limits[0])
        total = np.zeros((*pixels.shape[:2], 3), np.float32)
        for channel, (limits, tint) in enumerate(zip(self.limits, self.tints, strict=True)):
            total += as_gray8(pixels[..., channel], limits)[..., None] * (tint / np.float32(255))
        shown: NDArray[np.uint8] = np.clip(np.rint(total), 0, 255).astype(np.uint8)
        return shown


def display_of(pixels: NDArray[Any], channels: Sequence[str] | None = None) -> Display:
    """Return how to show a picture, and others like it.

    8-bit levels are shown as they are, others between their dark and bright ends, each channel for itself. Channels
    called red, green and blue have these colours, as three without names have; all others are tinted by their order.

    Args:
        pixels: (Y, X) or (Y, X, C).
        channels: what the channels are called, where that is known.
    """
    if pixels.ndim == 2:
        return Display((_limits(pixels),))
    n_channels = pixels.shape[2]
    names = tuple(channels or (_PRIMARIES if n_channels == len(_PRIMARIES) else ()))
    if names and set(names) <= set(_PRIMARIES):
        tints = [[255 * (name == primary) for primary in _PRIMARIES] for name in names]
    else:
        tints = [list(_TINTS[channel % len(_TINTS)]) for channel in range(n_channels)]
    limits = tuple(_limits(pixels[..., channel]) for channel in range(n_channels))
    return Display(limits, np.array(tints, np.float32))


def _limits(plane: NDArray[Any]) -> tuple[float, float]:
    if plane.dtype == np.uint8:
        return 0.0, 255.0
    low, high = gray_percentiles(plane, max_pixels=_MAX_COUNTED)
    return float(low), float(high)
