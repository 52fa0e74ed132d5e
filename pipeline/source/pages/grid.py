"""Arrays that are stored in chunks, such as those of HDF5 and Zarr, read slice by slice, whatever their axes are."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from itertools import product
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pipeline.shards.inputs import MAX_CHANNELS
from pipeline.source.colours import channel_names
from pipeline.source.pages.picture import PictureError, picture_errors
from pipeline.source.tiff.layout import MAX_INFLATION, MAX_STACK_BYTES, MIN_BOMB_BYTES

ReadChunk: TypeAlias = Callable[[tuple[int, ...]], NDArray[Any]]

MAX_CHUNK_BYTES = 1 << 28
_MAX_CHUNKS = 1 << 16  # that a slice may lie in
_HELD_BYTES = 1 << 28  # of chunks that are kept for the next slice: 64 slices of 2048 x 2048 px in 8 bits
_NAMES = {"t": "times", "c": "channels", "z": "slices", "y": "rows", "x": "columns"}
_MAX_FEW = 4  # an axis of so many may be channels


class ChunkedArray(Protocol):
    """An array in equal chunks, of which those at an end may hold more than the array."""

    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    dtype: np.dtype[Any]

    def opened(self) -> AbstractContextManager[ReadChunk]:
        """Lend what reads the chunk at a place in the grid of chunks."""


class GridSlices:
    """The slices of an array in chunks: `stack[z]` reads slice z as (Y, X) or (Y, X, C), native byte order.

    The chunks of a slice are kept for the next one where they are not too large.

    Args:
        path: the array.
        files: what it is stored in.
        array: what reads its chunks.
        axes: what its axes are, a letter each: t, c, z, y or x.
        n_stored: bytes that it takes in its files.
        channels: what its channels are called, where that is known.
        pixel_nm: the (y, x) size of a pixel in nanometres, where that is known.
        labels: whether it holds labels.
        key: which of the arrays in the files it is, where the path does not tell.

    Attributes:
        axis: what its slices are called: slices or times; empty where there is but one.
        shape: (Z, Y, X), or (Z, Y, X, C) where there are several channels.
        dtype: of every slice.
        channels: what the channels are called; empty where there is one.
        white_is_zero: False, as no such array has pictures of that kind.
        palette: None, likewise.
        notes: empty, as pixels are read as they are.

    Raises:
        SourceError: it is not one stack, or would take more memory than its files can fill.
    """

    white_is_zero = False
    palette = None
    notes: tuple[str, ...] = ()

    def __init__(
        self,
        path: Path,
        files: tuple[Path, ...],
        array: ChunkedArray,
        axes: str,
        *,
        n_stored: int,
        channels: Sequence[str] = (),
        pixel_nm: tuple[float, float] | None = None,
        labels: bool = False,
        key: str = "",
    ) -> None:
        self.pixel_nm, self.key = pixel_nm, key
        self.path, self.files, self._array, self._axes = path, files, array, axes
        self.dtype = array.dtype.newbyteorder("=")
        self._held: tuple[int, dict[tuple[int, ...], NDArray[Any]]] = (-1, {})
        with picture_errors(path):
            size = dict(zip(axes, array.shape, strict=True))
            _require_axes(axes, size, labels=labels)
            self._slice_axis = next((axis for axis in "zt" if size.get(axis, 1) > 1), "")
            self.axis = _NAMES.get(self._slice_axis, "")
            n_channels = size.get("c", 1)
            self.channels = channel_names(channels, n_channels) if n_channels > 1 else ()
            last = (n_channels,) if n_channels > 1 else ()
            self.shape: tuple[int, ...] = (size.get(self._slice_axis, 1), size["y"], size["x"], *last)
            _require_size(array, self.shape, n_stored)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, z: int) -> NDArray[Any]:
        """Return slice z.

        Raises:
            SourceError: it cannot be read.
        """
        if not 0 <= z < len(self):
            raise IndexError(f"slice {z} of {len(self)}")
        with picture_errors(self.path), self._array.opened() as read:
            return self._slice(z, read)

    def __iter__(self) -> Iterator[NDArray[Any]]:
        """Yield the slices."""
        return (self[z] for z in range(len(self)))

    def _slice(self, z: int, read: ReadChunk) -> NDArray[Any]:
        array, axes = self._array, self._axes
        kept = "yxc" if self.channels else "yx"
        at = [None if axis in kept else z if axis == self._slice_axis else 0 for axis in axes]
        along = [  # the places of the chunks along each axis
            range(math.ceil(side / step)) if place is None else (place // step,)
            for side, step, place in zip(array.shape, array.chunks, at, strict=True)
        ]
        pixels = np.empty([side for side, place in zip(array.shape, at, strict=True) if place is None], self.dtype)
        held = self._chunks_of(z)
        n_bytes = math.prod(array.chunks) * array.dtype.itemsize * math.prod(map(len, along))
        for index in product(*along):
            chunk = held.get(index)
            if chunk is None:
                chunk = read(index)
                if n_bytes <= _HELD_BYTES:
                    held[index] = chunk
            inner, outer = [], []
            for number, side, step, place in zip(index, array.shape, array.chunks, at, strict=True):
                if place is None:
                    end = min(side, (number + 1) * step)
                    outer.append(slice(number * step, end))
                    inner.append(slice(0, end - number * step))
                else:
                    inner.append(place % step)  # type: ignore[arg-type]  # NumPy takes both
            pixels[tuple(outer)] = chunk[tuple(inner)]
        order = [axis for axis in axes if axis in kept]
        return np.ascontiguousarray(pixels.transpose([order.index(axis) for axis in kept]))

    def _chunks_of(self, z: int) -> dict[tuple[int, ...], NDArray[Any]]:
        """Return where chunks are kept that slice z shares with others; other threads may be at other slices."""
        step = self._array.chunks[self._axes.index(self._slice_axis)] if self._slice_axis else 1
        held = self._held
        if held[0] != z // step:
            self._held = held = (z // step, {})
        return held[1]


def axes_of(shape: Sequence[int], advice: str) -> str:
    """Return the axes of an array that says nothing of them: (Y, X) or (Z, Y, X), also beside axes of one.

    Args:
        shape: of the array.
        advice: how to say what its axes are.

    Raises:
        PictureError: it has other axes, or one that may be channels.
    """
    longer = [place for place, side in enumerate(shape) if side != 1]
    if len(shape) in (2, 3) and not (len(shape) == 3 and shape[2] <= _MAX_FEW < min(shape[:2])):
        return "zyx"[-len(shape) :]
    if len(shape) in (4, 5) and len(longer) == 3 and shape[longer[0]] > _MAX_FEW < shape[longer[2]]:
        ones = iter("ct")
        return "".join("zyx"[longer.index(place)] if place in longer else next(ones) for place in range(len(shape)))
    raise PictureError(f"an array of {tuple(shape)}, and nothing says which axes are slices and channels; {advice}")


def _require_axes(axes: str, size: dict[str, int], *, labels: bool) -> None:
    """Refuse axes that are not one stack."""
    if len(size) != len(axes) or not {"y", "x"} <= set(axes) <= set(_NAMES):
        raise PictureError(f"axes {axes!r:.40}; expected y and x, and any of z, c and t once")
    if 0 in size.values():
        raise PictureError("an array without any pixel; name another one")
    if size.get("t", 1) > 1 and size.get("z", 1) > 1:
        raise PictureError(
            f"expected one stack of slices, found {size['t']} times x {size['z']} slices; export one time"
        )
    n_channels = size.get("c", 1)
    if labels and n_channels > 1:
        raise PictureError(f"expected one label a pixel, found {n_channels} channels; export one of them")
    if n_channels > MAX_CHANNELS:
        raise PictureError(f"{n_channels:,} channels, more than {MAX_CHANNELS}; export those to train on")


def _require_size(array: ChunkedArray, shape: tuple[int, ...], n_stored: int) -> None:
    """Refuse an array that asks for more memory than any stack needs, or than its files can fill."""
    needed = math.prod(shape) * array.dtype.itemsize
    chunk_bytes = math.prod(array.chunks) * array.dtype.itemsize
    if not 0 < chunk_bytes <= MAX_CHUNK_BYTES:
        raise PictureError(f"chunks of {chunk_bytes:,} bytes, over {MAX_CHUNK_BYTES:,}; write it with smaller ones")
    if needed > min(MAX_STACK_BYTES, max(MIN_BOMB_BYTES, MAX_INFLATION * n_stored)):
        raise PictureError(f"{n_stored:,} bytes that would become {needed:,}; export it uncompressed, or in parts")
    n_chunks = math.prod(math.ceil(side / step) for side, step in zip(array.shape, array.chunks, strict=True))
    if n_chunks > _MAX_CHUNKS * shape[0]:
        raise PictureError(f"{n_chunks:,} chunks, more than {_MAX_CHUNKS:,} a slice; write it with larger ones")
