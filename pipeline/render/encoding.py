"""Encoding a shard: arrays in, the bytes of an HDF5 file out, the same bytes every time.

h5py writes into memory of ours and never into a file: on a full disk it would kill the interpreter. The memory is
used again for the next shard, because touching fresh memory costs more than filling it.
"""

from typing import Any

import h5py
import imagecodecs
import numpy as np
from numpy.typing import NDArray

from pipeline.shards.record import SHARD_SCHEMA, WEIGHT_DTYPE

# libdeflate's output depends on its version alone, not on the CPU. Higher levels take longer to save a few per cent.
_DEFLATE_LEVEL = 1


def deflate_array(array: NDArray[Any]) -> bytes:
    """Return a label or weights (h, w) as one chunk of HDF5's gzip filter."""
    data: Any = np.ascontiguousarray(array).view(np.uint8)  # it takes any buffer, and says that it takes bytes
    return bytes(imagecodecs.deflate_encode(data, level=_DEFLATE_LEVEL))


class ShardMemory:
    """A block of memory that h5py takes for a file.

    Args:
        n_bytes: how much to have ready; it grows where that is too little.
    """

    def __init__(self, n_bytes: int = 0) -> None:
        self._memory = np.empty(n_bytes, np.uint8)
        self._position = 0
        self._end = 0

    def contents(self) -> memoryview:
        """Return what was written, without copying; valid until the memory is cleared and filled again."""
        return self._memory[: self._end].data

    def clear(self) -> None:
        """Forget what was written; keep the memory."""
        self._position = self._end = 0

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move to an offset from the start, the position, or the end."""
        self._position = offset + (0, self._position, self._end)[whence]
        return self._position

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def write(self, data: memoryview) -> int:
        """Write at the position."""
        start, self._position = self._position, self._position + len(data)
        if start > self._end:
            self._grow(start)
        if self._position > len(self._memory):
            self._grow(self._position)
        self._memory[start : self._position] = np.frombuffer(data, np.uint8)
        self._end = max(self._end, self._position)
        return len(data)

    def read(self, n_bytes: int) -> bytes:
        """Return bytes from the position on; h5py tells a file from a file's name by this method."""
        buffer = bytearray(n_bytes)
        return bytes(buffer[: self.readinto(memoryview(buffer))])

    def readinto(self, buffer: memoryview) -> int:
        """Read at the position."""
        data = self.contents()[self._position : self._position + len(buffer)]
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def truncate(self, size: int | None = None) -> int:
        """Cut off, or fill with zeros, up to `size`."""
        size = self._position if size is None else size
        self._grow(size)
        self._end = size
        return size

    def flush(self) -> None:
        """Do nothing: memory needs no flushing."""

    def _grow(self, size: int) -> None:
        """Make the file at least `size` bytes long; what was never written reads as zeros."""
        if size > len(self._memory):
            larger = np.empty(size + size // 4, np.uint8)
            larger[: self._end] = self._memory[: self._end]
            self._memory = larger
        if size > self._end:
            self._memory[self._end : size] = 0
            self._end = size


def encode_shard(
    memory: ShardMemory,
    images: NDArray[Any],
    deflated_labels: list[bytes],
    label_dtype: np.dtype[Any],
    ids: list[str],
    attributes: dict[str, str],
    deflated_weights: list[bytes] | None = None,
) -> memoryview:
    """Return the bytes of a shard file, which lie in `memory`.

    Args:
        memory: cleared, then filled.
        images: (n, h, w), stored as they are; deflate would save 7% of EM images and cost five times the rendering.
        deflated_labels: for every row, what `deflate_array` returned.
        label_dtype: of the labels before they were deflated.
        ids: for every row, its ASCII id.
        attributes: ASCII attributes of the file, beside its schema.
        deflated_weights: for every row, likewise; None where none are stored.
    """
    memory.clear()
    shape, chunks = images.shape, (1, *images.shape[1:])
    with h5py.File(memory, "w", libver=("earliest", "v108")) as file:
        stored_images = file.create_dataset("images", shape, images.dtype, chunks=chunks)
        deflated = {"labels": (label_dtype, deflated_labels)}
        if deflated_weights is not None:
            deflated["weights"] = (WEIGHT_DTYPE, deflated_weights)
        for name, (dtype, _) in deflated.items():
            file.create_dataset(name, shape, dtype, chunks=chunks, compression="gzip", compression_opts=_DEFLATE_LEVEL)
        for row, (image, *others) in enumerate(zip(images, *(rows for _, rows in deflated.values()), strict=True)):
            stored_images.id.write_direct_chunk((row, 0, 0), image)
            for name, data in zip(deflated, others, strict=True):
                file[name].id.write_direct_chunk((row, 0, 0), data)
        file.create_dataset("ids", data=np.array([name.encode("ascii") for name in ids]))
        for name, value in {"schema": SHARD_SCHEMA, **attributes}.items():
            file.attrs[name] = np.bytes_(value.encode("ascii"))
    return memory.contents()
