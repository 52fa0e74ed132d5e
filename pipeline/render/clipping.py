"""Which samples came out black or white in pixels that were neither: what changes gray levels took them beyond."""

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augment.gray import gray_limits
from augment.ranges import AugmentRanges
from pipeline.errors import counted

MAX_CLIPPED = 0.05  # of a sample's pixels, beyond which it is worth a word


def clipped_share(image: NDArray[Any]) -> float:
    """Return the share of values of an image, of any shape, that are the lowest or the highest that its dtype has."""
    low, high = gray_limits(image.dtype)
    return float(np.count_nonzero(image == low) + np.count_nonzero(image == high)) / image.size


class ClippingCount:
    """Counts the samples that are clipped much more than the slices that they show; from several threads.

    Args:
        ranges: where they change no gray level, nothing is looked at.
        read_slice: returns the slice (stack, z).
    """

    def __init__(self, ranges: AugmentRanges, read_slice: Callable[[int, int], NDArray[Any]]) -> None:
        self._changes = (ranges.gain, ranges.bias) != ((1.0, 1.0), (0.0, 0.0)) or bool(ranges.operations)
        self._read_slice = read_slice
        self._of_slice: dict[tuple[int, int], float] = {}
        self._guard = threading.Lock()
        self.n = 0

    def look(self, stack: int, z: int, image: NDArray[Any]) -> None:
        """Count a sample, if it is one."""
        if not self._changes or (share := clipped_share(image)) <= MAX_CLIPPED:
            return
        with self._guard:
            known = self._of_slice.get((stack, z))
        if known is None:
            known = clipped_share(self._read_slice(stack, z))
        with self._guard:
            self._of_slice[stack, z] = known
            self.n += share > MAX_CLIPPED + known

    def note(self, n_samples: int) -> str:
        """Return what to say of those that were counted among so many samples; nothing where there are none."""
        if not self.n:
            return ""
        return (
            f"note: {self.n} of {counted(n_samples, 'sample')} are black or white in more pixels than their slices, by "
            f"more than {MAX_CLIPPED:.0%} of them; --gain, --bias or another option goes too far for these gray levels"
        )
