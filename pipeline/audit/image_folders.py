"""Samples in folders: pictures in TIFF, PNG, JPEG or HDF5 files, of which nothing is known but their split.

Any of these files may be damaged or made to harm. An HDF5 file may do no more than a shard may: its array is stored
plainly in this very file.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, TypeAlias

import h5py
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.audit.audited_samples import AuditedSample, AuditedSamples
from pipeline.errors import AugpipeError, ConfigError, DatasetError, SourceError
from pipeline.plan.split import SPLITS
from pipeline.shards.shard_file import inflate, require_array
from pipeline.source.stacks import native
from pipeline.source.tiff import open_stack
from pipeline.source.tiff.folder import natural_key

Read: TypeAlias = Callable[[], NDArray[Any]]

_TIFF, _PICTURE, _HDF5 = (".tif", ".tiff"), (".png", ".jpg", ".jpeg"), (".h5", ".hdf5")
_READ = (*_TIFF, *_PICTURE, *_HDF5)
_OTHER_PICTURES = (".bmp", ".gif", ".webp", ".jp2", ".npy", ".npz", ".mrc", ".nii", ".mat", ".czi", ".nd2", ".hdf")
_FORMATS = "TIFF, PNG, JPEG or HDF5 files"
_LABELS = {"labels", "label", "masks", "mask"}
_INNER = "images"  # beside a folder of labels or masks
_MAX_BYTES = 1 << 30  # of a picture, and of a chunk: more is a lie or a mistake
_MAX_NAMES = 8


def read_folders(folders: Mapping[str, Path], *, images_key: str = "images") -> AuditedSamples:
    """Return the pictures in folders as samples; they are read when they are asked for.

    A folder's own files count, hidden ones and those in folders below it do not; where it has none, those in its
    folder `images` do. Every page of a TIFF file and every picture of an HDF5 array is a sample, and its name ends in
    its number, from 0: `stack.tif#3`. Pictures in colour become gray (luma of ITU-R BT.601).

    Args:
        folders: for each split, its folder, or one file.
        images_key: the name of the array (N, Y, X) or (Y, X) in HDF5 files.

    Raises:
        ConfigError: train, or all that it could be compared with, is missing; a folder has no pictures, or some in a
            format that is not read; an HDF5 file has no such array.
        DatasetError: an HDF5 file cannot be read, or not be trusted.
        SourceError: a TIFF file is damaged, or not one stack of gray pages.
    """
    if not {"train"} < set(folders) <= set(SPLITS):
        raise ConfigError(f"expected a folder for train and one for test or val, got {', '.join(folders) or 'none'}")
    named = [(split, folders[split]) for split in SPLITS if split in folders]
    samples = [
        AuditedSample(name, split, None, _Gray(file.with_name(name), read))
        for split, folder in named
        for file in _files(folder)
        for name, read in _readers(file, images_key)
    ]
    return AuditedSamples(", ".join(f"{split} {folder}" for split, folder in named), tuple(samples), {})


@dataclass(frozen=True, slots=True, eq=False)
class _Gray:
    """A picture as it is audited: finite gray levels in native byte order."""

    where: Path
    read: Read

    def __call__(self) -> NDArray[Any]:
        pixels = native(self.read())
        if pixels.dtype.kind == "b":
            return np.where(pixels, np.uint8(255), np.uint8(0))
        if pixels.dtype.kind not in "uif":
            raise SourceError(f"{self.where}: expected gray levels, found {pixels.dtype.name}; save it as 8 or 16 bits")
        if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
            raise SourceError(f"{self.where}: holds pixels that are not numbers (NaN or infinity); replace them")
        return pixels


def _files(folder: Path) -> list[Path]:
    """Return the files with pictures in a folder, in natural order, or the one file that was named instead."""
    if folder.is_file():
        if folder.suffix.lower() not in _READ:
            raise ConfigError(f"{folder}: expected a folder of {_FORMATS}, or one such file; convert it")
        return [folder]
    found = _files_in(folder)
    inner = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    with_pictures = [path for path in inner if path.name.lower() not in _LABELS and _files_in(path)]
    if not found and [path.name for path in with_pictures] == [_INNER]:
        found, with_pictures = _files_in(folder / _INNER), []
    if with_pictures:  # leaving them out would pass them as clean
        raise ConfigError(
            f"{folder}: holds pictures in {', '.join(path.name for path in with_pictures[:3])}, too; name the one "
            "folder that holds them all, or move the others away"
        )
    if not found:
        raise ConfigError(f"{folder}: expected {_FORMATS}, found none in it; name another folder, or one such file")
    return sorted(found, key=lambda file: (natural_key(file.name), file.name))


def _files_in(folder: Path) -> list[Path]:
    try:
        visible = [file for file in folder.iterdir() if not file.name.startswith(".") and not file.is_dir()]
    except OSError as error:
        raise ConfigError(f"{folder}: expected a folder of {_FORMATS} ({error.strerror}); name another one") from error
    for file in visible:  # leaving them out would pass them as clean
        if file.suffix.lower() in _OTHER_PICTURES:
            raise ConfigError(f"{file}: pictures of this kind are not read, only {_FORMATS}; convert or remove it")
    found = [file for file in visible if file.suffix.lower() in _READ]
    for file in found:
        if not file.is_file():
            raise SourceError(f"{file}: expected a file, found a broken link or a device; remove it")
    return found


def _readers(file: Path, images_key: str) -> list[tuple[str, Read]]:
    """Return the name of every picture in a file, and what reads it."""
    suffix = file.suffix.lower()
    if suffix in _PICTURE:
        return [(file.name, partial(_read_picture, file))]
    if suffix in _TIFF:
        stack = open_stack(file)
        return _numbered(file, len(stack), stack.__getitem__, single=len(stack) == 1)
    array = _ArrayFile(file, images_key)
    return _numbered(file, len(array), array.__getitem__, single=array.is_single)


def _numbered(file: Path, n: int, read: Callable[[int], NDArray[Any]], *, single: bool) -> list[tuple[str, Read]]:
    return [(file.name if single else f"{file.name}#{index}", partial(read, index)) for index in range(n)]


def _read_picture(path: Path) -> NDArray[Any]:
    """Return a PNG or JPEG picture (Y, X), uint8 or uint16."""
    what = f"{path}: not a readable PNG or JPEG picture"
    with _one_error(SourceError, what, "export it again"), Image.open(path, formats=("PNG", "JPEG")) as picture:
        if getattr(picture, "n_frames", 1) != 1:
            raise SourceError(f"{path}: expected one picture, found several; save them one by one")
        if picture.mode.startswith("I"):  # 16 bits; older versions of Pillow say 32
            return np.array(picture, np.uint16)
        return np.array(picture.convert("L"))


class _ArrayFile:
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
        self._path = path
        self._key = key
        with self._open() as array:
            self._shape: tuple[int, ...] = array.shape

    @property
    def is_single(self) -> bool:
        """Whether the array is one picture (Y, X), whose name needs no number."""
        return len(self._shape) == 2

    def __len__(self) -> int:
        return 1 if self.is_single else self._shape[0]

    def __getitem__(self, index: int) -> NDArray[Any]:
        """Return one picture (Y, X).

        Raises:
            DatasetError: it cannot be read.
        """
        with self._open() as array:
            if array.shape != self._shape:
                raise DatasetError(f"{self._path}: {self._key} changed while it was being read; run the command again")
            if not array.id.get_create_plist().get_nfilters():
                return np.asarray(array[()] if self.is_single else array[index])
            chunks, dtype = array.chunks, array.dtype
            stored = {at: array.id.read_direct_chunk(at) for at in _chunks_of(array, index)}
        picture = np.empty(self._shape[-2:], dtype)
        for (*first, y, x), (skipped, data) in stored.items():
            block = inflate(self._path, data, chunks, dtype, skipped=skipped)
            block = block[index - first[0]] if first else block
            part = picture[y : y + block.shape[0], x : x + block.shape[1]]
            part[...] = block[: part.shape[0], : part.shape[1]]
        return picture

    @contextmanager
    def _open(self) -> Iterator[h5py.Dataset]:
        what = f"{self._path}: not a readable HDF5 file"
        with _one_error(DatasetError, what, "write it again"), h5py.File(self._path, locking="best-effort") as file:
            yield _require_pictures(file, self._path, self._key)


@contextmanager
def _one_error(kind: type[AugpipeError], what: str, advice: str) -> Iterator[None]:
    """Turn what h5py and Pillow raise on broken files, half a dozen unrelated types, into one error."""
    try:
        yield
    except AugpipeError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise kind(f"{what} ({reason}); {advice}") from error


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
    shape = array.shape or ()
    if len(shape) not in (2, 3) or 0 in shape or array.dtype.kind not in "buif":
        raise ConfigError(
            f"{path}: expected {key} to be gray pictures (N, Y, X) or one (Y, X), found {shape} {array.dtype}; name "
            "another array with --key"
        )
    require_array(file, path, key, shape, array.dtype, array.chunks)
    for sides in (shape[-2:], array.chunks or ()):
        if array.dtype.itemsize * int(np.prod(sides, dtype=object)) > _MAX_BYTES:
            raise DatasetError(f"{path}: {key} has pictures or chunks above {_MAX_BYTES:,} bytes")
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
