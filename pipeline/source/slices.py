"""The slices of a stack, one at a time: held in memory where all together are few, else read again when needed."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import SourceError
from pipeline.shards.digest import array_digest

HELD_BYTES = 1 << 27  # 128 MiB: a stack above it is read again slice by slice

Convert: TypeAlias = Callable[[NDArray[Any]], NDArray[Any]]


class Slices(Protocol):
    """What a stack of slices can do; an array (Z, Y, X) can do it too."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(Z, Y, X)."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of every slice."""

    def __len__(self) -> int: ...

    def __getitem__(self, z: int, /) -> NDArray[Any]:
        """Return slice z as (Y, X)."""


class RereadSlices:
    """Slices that are read each time they are needed, and refused when they are not what they were at first.

    Args:
        slices: where they are read from.
        digests: array digest of every slice, when it was read first.
        convert: what turns a slice as it is read into one as it is used.
        dtype: of a slice as it is used.
        where: what to call the stack in error messages.
    """

    def __init__(
        self, slices: Slices, digests: Sequence[str], convert: Convert, dtype: np.dtype[Any], where: str
    ) -> None:
        self._slices = slices
        self._digests = tuple(digests)
        self._convert = convert
        self._where = where
        self.dtype = dtype
        self.shape = slices.shape

    def __len__(self) -> int:
        return len(self._digests)

    def __getitem__(self, z: int) -> NDArray[Any]:
        """Return slice z.

        Raises:
            SourceError: it cannot be read any more, or is another one now.
        """
        pixels = self._slices[z]
        if array_digest(pixels) != self._digests[z]:
            raise SourceError(f"{self._where}: slice {z} changed while it was being used; build again")
        return self._convert(pixels)


def native(pixels: NDArray[Any]) -> NDArray[Any]:
    """Return pixels in native byte order and C order, without copying where they are so already."""
    return np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("="))
