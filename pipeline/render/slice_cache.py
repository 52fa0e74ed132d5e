"""Prepared slices, each made once: in memory as long as there is room, else on the disk.

What is on the disk is mapped into memory: the system reads the part that a window looks at, and may forget it after.
"""

import math
import mmap
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from augment.renderer import PreparedSlice, prepare_slice
from pipeline.files import storage_errors
from pipeline.source.stacks import Source

_MAX_CACHE_BYTES = 1 << 28
_PIECE_BYTES = 1 << 20
_MAX_MAPPED_BYTES = 1 << 29  # of what is on the disk, if it is not more, all may stay in memory
_SAMPLES_HELD = 4  # whose pixels may stay in memory, up to 128 MB each
_LARGE_PX = 1 << 24  # so large slices are read and prepared one after the other


class SliceCache:
    """The prepared slices of a source, shared by all threads.

    Samples go through a split's slices in a cycle, so the slices that came first stay in memory: dropping the oldest
    would drop every slice just before it is needed again. The others are on the disk.

    Args:
        source: the slices.
        folder: where to put what has no room in memory; the system's folder for temporary files unless named.
        max_bytes: of memory.
    """

    def __init__(self, source: Source, folder: Path | None = None, max_bytes: int = _MAX_CACHE_BYTES) -> None:
        self._source = source
        self._folder = folder or Path(tempfile.gettempdir())
        self._free_bytes, self._disk_bytes = max_bytes, 0
        self._slices: dict[tuple[int, int], tuple[PreparedSlice, _DiskArrays]] = {}
        self._locks: dict[tuple[int, int], threading.Lock] = {}
        self._looked_at: list[_DiskArrays] = []
        self._guard, self._one_large = threading.Lock(), threading.Lock()

    @contextmanager
    def lend(self, stack: int, z: int) -> Iterator[PreparedSlice]:
        """Lend one prepared slice.

        Raises:
            StorageError: it has no room in memory, and the disk is full.
        """
        with self._guard:
            lock = self._locks.setdefault((stack, z), threading.Lock())
        with lock:
            if (stack, z) not in self._slices:
                self._slices[stack, z] = self._prepare(stack, z)
        prepared, on_disk = self._slices[stack, z]
        try:
            yield prepared
        finally:
            self._count_sample(on_disk)

    def _count_sample(self, on_disk: "_DiskArrays") -> None:
        """Release what the last samples looked at: to do so after each would take as long as rendering does."""
        with self._guard:
            self._looked_at.append(on_disk)
            if self._disk_bytes <= _MAX_MAPPED_BYTES:
                self._looked_at.clear()
            if len(self._looked_at) < _SAMPLES_HELD:
                return
            released, self._looked_at = self._looked_at, []
        for each in released:
            each.release()

    def _prepare(self, stack: int, z: int) -> "tuple[PreparedSlice, _DiskArrays]":
        on_disk = _DiskArrays(self._folder)

        def allocate(shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
            n_bytes = math.prod(shape) * dtype.itemsize
            with self._guard:
                if fits := n_bytes <= self._free_bytes:
                    self._free_bytes -= n_bytes
                else:
                    self._disk_bytes += n_bytes
            return np.empty(shape, dtype) if fits else on_disk.allocate(shape, dtype)

        pixels = self._source.stacks[stack]
        is_large = math.prod(pixels.slice_size) > _LARGE_PX
        turn: AbstractContextManager[Any] = self._one_large if is_large else nullcontext()
        with turn:
            prepared = prepare_slice(pixels.images[z], pixels.labels[z], allocate=allocate, on_rows=on_disk.release)
        return prepared, on_disk


class _DiskArrays:
    """Arrays in files without a name, which are gone with them, however the process ends."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._maps: list[mmap.mmap] = []

    def allocate(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        """Return an array on the disk, for which all its space is taken: a full disk met later would end the process.

        Raises:
            StorageError: the disk is full, or the folder cannot be written.
        """
        n_bytes = math.prod(shape) * dtype.itemsize
        with storage_errors(self._folder, n_bytes=n_bytes), tempfile.TemporaryFile(dir=self._folder) as file:
            _take_space(file, n_bytes)
            self._maps.append(mmap.mmap(file.fileno(), n_bytes))
        return np.frombuffer(self._maps[-1], dtype).reshape(shape)

    def release(self) -> None:
        """Let the system forget what of them is in this process's memory: it is read again where it is needed."""
        for mapped in self._maps:
            mapped.madvise(mmap.MADV_DONTNEED)


def _take_space(file: IO[bytes], n_bytes: int) -> None:
    if (fallocate := getattr(os, "posix_fallocate", None)) is not None:
        fallocate(file.fileno(), 0, n_bytes)
        return
    for start in range(0, n_bytes, _PIECE_BYTES):  # macOS
        file.write(bytes(min(_PIECE_BYTES, n_bytes - start)))
    file.flush()
