"""Encoding a shard: arrays in, the bytes of an HDF5 file out, the same bytes every time.

h5py writes into memory of ours and never into a file: on a full disk it would kill the interpreter.
"""

import io
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import h5py
import imagecodecs
import numpy as np
from numpy.typing import NDArray

from pipeline.shards.record import SHARD_SCHEMA

# libdeflate's output depends on its version alone, not on the CPU. Higher levels take longer to save a few per cent.
_DEFLATE_LEVEL = 1
_FRAME_BYTES = 1 << 20  # more than HDF5's own tables of a shard of usual size


def deflate_array(array: NDArray[Any]) -> bytes:
    """Return a label, weights or a mask (h, w) as one chunk of HDF5's gzip filter."""
    data: Any = np.ascontiguousarray(array).view(np.uint8)  # it takes any buffer, and says that it takes bytes
    return bytes(imagecodecs.deflate_encode(data, level=_DEFLATE_LEVEL))


class DeflatedArrays(NamedTuple):
    """One array of every sample of a shard: the dtype before they were deflated, and what `deflate_array` returned."""

    dtype: np.dtype[Any]
    rows: list[bytes]


class ShardMemory(io.RawIOBase):
    """A file in memory that h5py writes into, and that keeps its memory for the next: fresh memory costs more.

    What was never written is zero, whatever was there before.
    """

    def __init__(self) -> None:
        self._bytes = np.empty(0, np.uint8)
        self._size = self._at = 0

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place, and return it."""
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def truncate(self, size: int | None = None) -> int:
        """Make the file shorter; longer, like `io.BytesIO`, it becomes only when it is written."""
        size = self._at if size is None else size
        self._size = min(self._size, size)
        return size

    def write(self, data: Any, /) -> int:
        """Write bytes, and return how many."""
        new = np.frombuffer(data, np.uint8)
        end = self._at + new.size
        if new.size and end > self._size:
            if end > self._bytes.size:
                self.reserve(max(end, self._bytes.size * 5 // 4))
            self._bytes[self._size : self._at] = 0  # a gap, if there is one
            self._size = end
        self._bytes[self._at : end] = new
        self._at = end
        return new.size

    def readinto(self, buffer: Any, /) -> int:
        """Read bytes, and return how many."""
        found = self._bytes[: self._size][self._at : self._at + len(buffer)]
        buffer[: found.size] = found.data
        self._at += found.size
        return found.size

    def clear(self) -> None:
        """Begin anew."""
        self._size = self._at = 0

    def contents(self) -> memoryview:
        """Return all bytes, valid until something is written."""
        return self._bytes[: self._size].data

    def reserve(self, size: int) -> None:
        """Have memory for so many bytes, so that it need not grow step by step."""
        if size > self._bytes.size:
            more = np.empty(size, np.uint8)
            more[: self._size] = self._bytes[: self._size]
            self._bytes = more


def encode_shard(
    memory: ShardMemory,
    images: Sequence[NDArray[Any]],
    deflated: Mapping[str, DeflatedArrays],
    ids: list[str],
    attributes: dict[str, str],
) -> memoryview:
    """Return the bytes of a shard file, which lie in `memory`.

    Args:
        memory: emptied, then filled; used again for shard after shard.
        images: (h, w) or (h, w, C) each, stored as they are; deflate would save 7% of EM images and cost five times
            the rendering.
        deflated: the other arrays by their names, in the order in which the file has them.
        ids: for every row, its ASCII id.
        attributes: ASCII attributes of the file, beside its schema.
    """
    memory.clear()
    memory.reserve(
        _FRAME_BYTES
        + sum(image.nbytes for image in images)
        + sum(len(data) for _, rows in deflated.values() for data in rows)
    )
    size = images[0].shape
    shape, chunks = (len(images), *size[:2]), (1, *size[:2])
    first = (0,) * len(size)
    with h5py.File(memory, "w", libver=("earliest", "v108")) as file:
        stored_images = file.create_dataset("images", (len(images), *size), images[0].dtype, chunks=(1, *size))
        for name, (dtype, _) in deflated.items():
            file.create_dataset(name, shape, dtype, chunks=chunks, compression="gzip", compression_opts=_DEFLATE_LEVEL)
        for row, (image, *others) in enumerate(zip(images, *(rows for _, rows in deflated.values()), strict=True)):
            stored_images.id.write_direct_chunk((row, *first), image)
            for name, data in zip(deflated, others, strict=True):
                file[name].id.write_direct_chunk((row, 0, 0), data)
        file.create_dataset("ids", data=np.array([name.encode("ascii") for name in ids]))
        for name, value in {"schema": SHARD_SCHEMA, **attributes}.items():
            file.attrs[name] = np.bytes_(value.encode("ascii"))
    return memory.contents()
