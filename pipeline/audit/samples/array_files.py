"""Pictures in the arrays of HDF5 and NumPy files, looked at smaller where they are large.

Any of these files may be damaged or made to harm. What it says of its array is checked before any of it is read: its
kind, and its size, with that of the file. An HDF5 file may do no more than a shard may: its array is stored plainly in
this very file. Nothing is ever unpickled.
"""

import math
import threading
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from itertools import product
from pathlib import Path
from typing import IO, Any, ClassVar, NamedTuple, Protocol, TypeAlias

import cv2
import h5py
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import AugpipeError, ConfigError, DatasetError
from pipeline.shards.shard_file import inflate, require_array
from pipeline.shards.stored_files import open_for_reading, system_reason

Rows: TypeAlias = Callable[[int, int], NDArray[Any]]  # (first, end) of the rows of a picture

MAX_SIDE = 2048  # of a picture as it is looked at, in pixels
_MAX_BYTES = 1 << 29  # of a picture
_MAX_CHUNK = 1 << 27  # of an HDF5 chunk, and of a compressed NumPy array: it is unpacked as a whole
_LARGE_BYTES = 1 << 24  # of these, one is read at a time
_BLOCK_PIXELS = 1 << 22  # reduced at once
_AREA_DTYPES = {"uint8", "uint16", "int16", "float32", "float64"}  # that OpenCV can average
_MAX_NAMES = 8

_one_large = threading.Lock()


class PictureArray(Protocol):
    """The pictures in one array of a file."""

    shape: tuple[int, ...]
    """(N, Y, X), or (Y, X) for one picture."""

    def read(self, index: int, factor: int) -> NDArray[Any]:
        """Return picture `index` (Y, X), reduced by a factor; from any thread.

        Raises:
            DatasetError: it cannot be read.
        """


def open_array(path: Path, key: str) -> PictureArray:
    """Return the pictures in an HDF5 file, or in a NumPy file (.npy, .npz).

    Args:
        path: the file.
        key: the array's name in it, such as `images` or `group/images`. A .npz file with one array needs none.

    Raises:
        ConfigError: the file has no such array, or it is not (N, Y, X) or (Y, X).
        DatasetError: the file is damaged, its array is too large, or not stored plainly in this very file.
    """
    match path.suffix.lower():
        case ".npy":
            return _NpyFile(path)
        case ".npz":
            return _NpzFile(path, key)
        case _:
            return _HDF5File(path, key)


def reduce_rows(rows: Rows, shape: tuple[int, int], factor: int) -> NDArray[Any]:
    """Return a picture reduced by a whole factor: the mean of every cell of factor x factor pixels.

    Some rows are held at a time. What is left of a cell at the right and the lower edge does not count, unless the
    picture is narrower than a cell. Bits become 0 and 255; means of whole numbers are rounded; those of 32 bits and
    more, and float16, become float64.

    Args:
        rows: returns the rows (y, X) from one to before another.
        shape: (Y, X) of the picture.
        factor: 1 leaves it as it is.
    """
    height, width = shape
    if factor == 1:
        return _levels(rows(0, height))
    step = factor * max(1, _BLOCK_PIXELS // (factor * width))
    whole = height // factor * factor or height
    return np.concatenate([_reduce(rows(first, min(first + step, whole)), factor) for first in range(0, whole, step)])


@contextmanager
def one_large_at_a_time(n_bytes: int) -> Iterator[None]:
    """Wait until no other large picture is being read, if this one, of so many bytes, is large."""
    with _one_large if n_bytes > _LARGE_BYTES else nullcontext():
        yield


@contextmanager
def one_error(kind: type[AugpipeError], what: str, advice: str) -> Iterator[None]:
    """Turn what h5py, Pillow and NumPy raise on broken files, half a dozen unrelated types, into one error."""
    try:
        yield
    except AugpipeError:
        raise
    except Exception as error:
        if reason := system_reason(error):
            raise kind(f"{what} ({reason})") from error
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise kind(f"{what} ({reason}); {advice}") from error


def _levels(pixels: NDArray[Any]) -> NDArray[Any]:
    return np.where(pixels, np.uint8(255), np.uint8(0)) if pixels.dtype.kind == "b" else pixels


def _reduce(block: NDArray[Any], factor: int) -> NDArray[Any]:
    height, width = (side // factor * factor or side for side in block.shape)
    pixels = _levels(block[:height, :width])
    native = pixels.dtype.newbyteorder("=") if pixels.dtype.name in _AREA_DTYPES else np.dtype(np.float64)
    size = (max(1, width // factor), max(1, height // factor))
    small: NDArray[Any] = cv2.resize(np.ascontiguousarray(pixels, native), size, interpolation=cv2.INTER_AREA)
    return small.reshape(size[::-1])


def _require_gray(path: Path, what: str, shape: Sequence[int], dtype: np.dtype[Any], advice: str) -> None:
    """Refuse an array that is not one of pictures, or one of pictures that are too large."""
    if len(shape) not in (2, 3) or 0 in shape or dtype.kind not in "buif":
        raise ConfigError(
            f"{path}: expected {what} to be gray pictures (N, Y, X) or one (Y, X), found {tuple(shape)} {dtype}; "
            f"{advice}"
        )
    if (n_bytes := dtype.itemsize * math.prod(shape[-2:])) > _MAX_BYTES:
        raise DatasetError(
            f"{path}: {what} has pictures of {n_bytes:,} bytes, above {_MAX_BYTES:,}; cut them into tiles"
        )


class _HDF5File:
    """The pictures in one array of an HDF5 file.

    The file is opened and checked for every reading: a folder may hold more files than a process may open.
    """

    def __init__(self, path: Path, key: str) -> None:
        self._path = path
        self._key = key
        with self._open() as array:
            self.shape: tuple[int, ...] = array.shape

    def read(self, index: int, factor: int) -> NDArray[Any]:
        with self._open() as array:
            if array.shape != self.shape:
                raise DatasetError(f"{self._path}: {self._key} changed while it was being read; run the command again")
            height, width = array.shape[-2:]
            with one_large_at_a_time(height * width * array.dtype.itemsize):
                if array.id.get_create_plist().get_nfilters():
                    picture = self._inflated(array, index)
                    return reduce_rows(lambda first, end: picture[first:end], (height, width), factor)
                at = () if array.ndim == 2 else (index,)
                return reduce_rows(lambda first, end: array[(*at, slice(first, end))], (height, width), factor)

    def _inflated(self, array: h5py.Dataset, index: int) -> NDArray[Any]:
        picture = np.empty(array.shape[-2:], array.dtype)
        for *first, y, x in _chunks_of(array, index):
            skipped, data = array.id.read_direct_chunk((*first, y, x))
            block = inflate(self._path, data, array.chunks, array.dtype, skipped=skipped)
            block = block[index - first[0]] if first else block
            part = picture[y : y + block.shape[0], x : x + block.shape[1]]
            part[...] = block[: part.shape[0], : part.shape[1]]
        return picture

    @contextmanager
    def _open(self) -> Iterator[h5py.Dataset]:
        what = f"{self._path}: not a readable HDF5 file"
        with one_error(DatasetError, what, "write it again"), open_for_reading(self._path) as file:
            yield _require_pictures(file, self._path, self._key)


def _chunks_of(array: h5py.Dataset, index: int) -> list[tuple[int, ...]]:
    """Return where the chunks begin that a picture is in."""
    first = [index - index % array.chunks[0]] if array.ndim == 3 else []
    sides = zip(array.shape[-2:], array.chunks[-2:], strict=True)
    return [(*first, *corner) for corner in product(*(range(0, side, step) for side, step in sides))]


def _require_pictures(file: h5py.File, path: Path, key: str) -> h5py.Dataset:
    """Return the array, if it holds pictures, and they are in this file and no larger than they seem."""
    parts = [part for part in key.split("/") if part]
    for depth in range(1, len(parts) + 1):  # link by link, so that none is followed before it was looked at
        link = file.get("/".join(parts[:depth]), getlink=True)
        if link is None:
            raise ConfigError(f"{path}: has no array {key!r}; it has {_array_names(file)}: name one of them with --key")
        if not isinstance(link, h5py.HardLink):
            raise DatasetError(f"{path}: {key} is a link to something else; copy the array itself into the file")
    array = file.get(key) if parts else None
    if not isinstance(array, h5py.Dataset):
        raise ConfigError(f"{path}: {key!r} is no array; it has {_array_names(file)}: name one of them with --key")
    _require_gray(path, key, array.shape or (), array.dtype, "name another array with --key")
    require_array(file, path, key, array.shape, array.dtype, array.chunks)
    if array.dtype.itemsize * math.prod(array.chunks or ()) > _MAX_CHUNK:
        raise DatasetError(f"{path}: {key} has chunks above {_MAX_CHUNK:,} bytes; write it with smaller ones")
    return array


def _array_names(file: h5py.File) -> str:
    """Return the names of the first arrays in a file, found without following a link."""
    names: list[str] = []

    def take(name: str, item: Any) -> bool | None:
        if isinstance(item, h5py.Dataset):
            names.append(name)
        return True if len(names) >= _MAX_NAMES else None  # True ends the visit

    file.visititems(take)
    return ", ".join(names) or "none"


class _Header(NamedTuple):
    """What a .npy file says of its array, and the byte at which the array begins."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]
    begin: int

    @property
    def n_bytes(self) -> int:
        """Of the array, pictures or not; Python's numbers do not overflow."""
        return self.dtype.itemsize * math.prod(self.shape)

    def require_size(self, path: Path, what: str, n_bytes: int) -> None:
        """Refuse an array that does not fill the file that it is in, of so many bytes."""
        if self.begin + self.n_bytes != n_bytes:
            raise DatasetError(
                f"{path}: {what} declares {self.n_bytes:,} bytes, {self.shape} {self.dtype}, and has "
                f"{n_bytes - self.begin:,}; save it again, as one array"
            )


def _read_header(path: Path, what: str, file: IO[bytes]) -> _Header:
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise DatasetError(f"{path}: expected format 1.0 or 2.0 of NumPy's arrays, found {version}; save it again")
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    header = _Header(*read(file), file.tell())
    _require_gray(path, what, header.shape, header.dtype, "save it so with numpy.save")
    return header


class _NpyFile:
    """The pictures in a .npy file, which is mapped into memory while one is read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.shape = self._header().shape

    def read(self, index: int, factor: int) -> NDArray[Any]:
        header = self._header()
        if header.shape != self.shape:
            raise DatasetError(f"{self._path}: changed while it was being read; run the command again")
        height, width = header.shape[-2:]
        order: Any = "F" if header.fortran else "C"
        with self._errors(), one_large_at_a_time(height * width * header.dtype.itemsize):
            array = np.memmap(self._path, header.dtype, "r", header.begin, header.shape, order)
            picture = array if array.ndim == 2 else array[index]
            return reduce_rows(lambda first, end: np.array(picture[first:end]), (height, width), factor)

    def _header(self) -> _Header:
        with self._errors(), self._path.open("rb") as file:
            header = _read_header(self._path, "it", file)
        header.require_size(self._path, "it", self._path.stat().st_size)
        if header.fortran and len(header.shape) == 3 and header.n_bytes > _MAX_BYTES:  # each picture is all over it
            raise DatasetError(f"{self._path}: is in Fortran order; save numpy.ascontiguousarray of it")
        return header

    def _errors(self) -> Any:
        return one_error(DatasetError, f"{self._path}: not a readable NumPy file", "save it again")


class _NpzFile:
    """The pictures in one array of a .npz file.

    A stored array is read picture by picture. A compressed one can only be unpacked from its beginning: it is held
    until another one is, so that there is one at most.
    """

    _held: ClassVar[tuple["_NpzFile | None", NDArray[Any]]] = (None, np.zeros(0))
    _holding: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self, path: Path, key: str) -> None:
        self._path = path
        with self._errors(), zipfile.ZipFile(path) as file:
            names = [name.removesuffix(".npy") for name in file.namelist() if name.endswith(".npy")]
            self._key = key if key in names else names[0] if len(names) == 1 else ""
            if not self._key:
                listed = ", ".join(names[:_MAX_NAMES]) or "none"
                raise ConfigError(f"{path}: has no array {key!r}; it has {listed}: name one of them with --key")
            self._entry = file.getinfo(f"{self._key}.npy")
            with file.open(self._entry) as stream:
                self._header = _read_header(path, self._key, stream)
        self.shape = self._header.shape
        self._header.require_size(path, self._key, self._entry.file_size)
        self._is_stored = self._entry.compress_type == zipfile.ZIP_STORED
        in_parts = self._is_stored and not (self._header.fortran and len(self.shape) == 3)
        if not in_parts and self._header.n_bytes > _MAX_CHUNK:
            raise DatasetError(
                f"{path}: {self._key} would be unpacked to {self._header.n_bytes:,} bytes, above {_MAX_CHUNK:,}; save "
                "it with numpy.save"
            )
        self._n_read = math.prod(self.shape[-2:]) * self._header.dtype.itemsize if in_parts else self._header.n_bytes
        self._in_parts = in_parts

    def read(self, index: int, factor: int) -> NDArray[Any]:
        height, width = self.shape[-2:]
        if self._in_parts:
            with one_large_at_a_time(self._n_read):
                picture = self._load(index * self._n_read, self.shape[-2:])
                return reduce_rows(lambda first, end: picture[first:end], (height, width), factor)
        with self._holding:
            if self._held[0] is not self:
                _NpzFile._held = (None, np.zeros(0))  # let the other one go first
                _NpzFile._held = (self, self._load(0, self.shape))
            array = self._held[1]
            picture = array if array.ndim == 2 else array[index]
            return reduce_rows(lambda first, end: np.array(picture[first:end]), (height, width), factor)

    def _load(self, skip: int, shape: tuple[int, ...]) -> NDArray[Any]:
        """Return an array of this shape that begins so many bytes after the first."""
        with self._errors(), zipfile.ZipFile(self._path) as file, file.open(f"{self._key}.npy") as stream:
            stream.seek(self._header.begin + skip)
            data = stream.read(self._n_read)
            if len(data) != self._n_read:
                raise DatasetError(f"{self._path}: {self._key} ends before its last pixel; save it again")
            order: Any = "F" if self._header.fortran else "C"
            return np.frombuffer(data, self._header.dtype).reshape(shape, order=order)

    def _errors(self) -> Any:
        return one_error(DatasetError, f"{self._path}: not a readable NumPy file", "save it again")
