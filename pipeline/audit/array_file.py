"""An array of pictures in somebody's HDF5 file, opened as untrusted input: what a shard may not do, it may not do."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import AugpipeError, ConfigError, DatasetError
from pipeline.shards.shard_file import inflate, require_array

_LARGEST_PICTURE_BYTES = 1 << 30  # of a picture, and of a chunk: more is a lie or a mistake
_MOST_TOLD = 8


class ArrayFile:
    """The pictures in one array of an HDF5 file: `file[k]` reads picture k as (Y, X), from any thread.

    The file is opened and checked for every reading: a folder may hold more files than a process may open.

    Args:
        path: the file.
        key: the array's name in it, such as `images` or `group/images`.

    Raises:
        ConfigError: the file has no such array, or it is not (N, Y, X) or (Y, X).
        DatasetError: the file is damaged, or the array is not stored plainly in this very file.
    """

    def __init__(self, path: Path, key: str) -> None:
        self.path = path
        self._key = key
        with self._open() as array:
            self._shape: tuple[int, ...] = array.shape

    @property
    def is_single(self) -> bool:
        """Whether the array is one picture, not a stack of them."""
        return len(self._shape) == 2

    def __len__(self) -> int:
        return 1 if self.is_single else self._shape[0]

    def __getitem__(self, index: int) -> NDArray[Any]:
        """Return one picture (Y, X).

        Raises:
            DatasetError: it cannot be read.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"picture {index} of {len(self)}")
        with self._open() as array:
            if array.shape != self._shape:
                raise DatasetError(f"{self.path}: {self._key} changed while it was being read; run the command again")
            if not array.id.get_create_plist().get_nfilters():
                picture: NDArray[Any] = array[()] if self.is_single else array[index]
                return picture
            chunks, dtype = array.chunks, array.dtype
            stored = {at: array.id.read_direct_chunk(at) for at in _places(array, index)}
        picture = np.empty(self._shape[-2:], dtype)
        for (*first, y, x), (skipped, data) in stored.items():
            block = inflate(self.path, data, chunks, dtype, skipped=skipped)
            block = block[index - first[0]] if first else block
            part = picture[y : y + block.shape[0], x : x + block.shape[1]]
            part[...] = block[: part.shape[0], : part.shape[1]]
        return picture

    @contextmanager
    def _open(self) -> Iterator[h5py.Dataset]:
        """Give the array, and turn what h5py raises on a damaged file into one typed error."""
        try:
            with h5py.File(self.path, "r", locking="best-effort") as file:
                yield _require_pictures(file, self.path, self._key)
        except AugpipeError:
            raise
        except Exception as error:  # h5py raises half a dozen unrelated types on broken files
            reason = " ".join(str(error).split())[:160]
            raise DatasetError(f"{self.path}: not a readable HDF5 file ({reason}); write it again") from error


def _places(array: h5py.Dataset, index: int) -> list[tuple[int, ...]]:
    """Return where the chunks begin that a picture is in."""
    first = [index - index % array.chunks[0]] if array.ndim == 3 else []
    sides = zip(array.shape[-2:], array.chunks[-2:], strict=True)
    return [(*first, *corner) for corner in product(*(range(0, side, step) for side, step in sides))]


def _require_pictures(file: h5py.File, path: Path, key: str) -> h5py.Dataset:
    """Return the array, unless it is none of pictures or its values may be elsewhere or larger than they seem."""
    parts = [part for part in key.split("/") if part]
    for depth in range(1, len(parts) + 1):  # link by link, so that none is followed before it was looked at
        link = file.get("/".join(parts[:depth]), getlink=True)
        if link is None:
            raise ConfigError(f"{path}: has no array {key!r}; it has {_arrays(file)}: name one of them with --key")
        if not isinstance(link, h5py.HardLink):
            raise DatasetError(f"{path}: {key} is a link to something else; copy the array itself into the file")
    array = file.get(key) if parts else None
    if not isinstance(array, h5py.Dataset):
        raise ConfigError(f"{path}: {key!r} is no array; it has {_arrays(file)}: name one of them with --key")
    shape = array.shape or ()
    if len(shape) not in (2, 3) or 0 in shape or array.dtype.kind not in "buif":
        raise ConfigError(
            f"{path}: expected {key} to be gray pictures (N, Y, X) or one (Y, X), found {shape} {array.dtype}; name "
            "another array with --key"
        )
    require_array(file, path, key, shape, array.dtype, array.chunks)
    for sides in (shape[-2:], array.chunks or ()):
        if array.dtype.itemsize * int(np.prod(sides, dtype=object)) > _LARGEST_PICTURE_BYTES:
            raise DatasetError(f"{path}: {key} has pictures or chunks above {_LARGEST_PICTURE_BYTES:,} bytes")
    return array


def _arrays(file: h5py.File) -> str:
    """Return the names of the arrays in a file, found without following a link."""
    names: list[str] = []

    def take(name: str, item: Any) -> bool | None:
        names.extend([name] * isinstance(item, h5py.Dataset))
        return True if len(names) >= _MOST_TOLD else None  # ends the visit

    file.visititems(take)
    return ", ".join(names) or "none"
