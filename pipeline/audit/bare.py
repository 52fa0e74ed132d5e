"""Bare folders as a subject: pictures in TIFF, PNG, JPEG or HDF5 files, of which nothing is known but their split."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.audit.array_file import ArrayFile
from pipeline.audit.subject import AuditedSample, Subject
from pipeline.errors import AugpipeError, ConfigError, SourceError
from pipeline.plan.split import SPLITS
from pipeline.source.stacks import native
from pipeline.source.tiff import open_stack
from pipeline.source.tiff.folder import natural_key

Read: TypeAlias = Callable[[], NDArray[Any]]

_TIFF, _PICTURE, _HDF5 = (".tif", ".tiff"), (".png", ".jpg", ".jpeg"), (".h5", ".hdf5")
_READ = (*_TIFF, *_PICTURE, *_HDF5)
_OTHER_PICTURES = (".bmp", ".gif", ".webp", ".jp2", ".npy", ".npz", ".mrc", ".nii", ".mat", ".czi", ".nd2", ".hdf")
_KINDS = "TIFF, PNG, JPEG or HDF5 files"
_LABELS = {"labels", "label", "masks", "mask"}
_INNER = "images"  # beside a folder of labels or masks


def folders_subject(folders: Mapping[str, Path], *, images_key: str = "images") -> Subject:
    """Return the pictures in bare folders as samples; they are read when they are asked for.

    A folder's own files count, hidden ones and those in folders below it do not; where it has none, those in its
    folder `images` do. Every page of a TIFF file and every picture of an HDF5 array is a sample, and its name ends in
    its number, from 0: `stack.tif#3`. Pictures in colour become gray (luma of ITU-R BT.601).

    Args:
        folders: for each split, its folder, or one file.
        images_key: the name of the array (N, Y, X) or (Y, X) in HDF5 files.

    Raises:
        ConfigError: train or all that it could be compared with is missing, a folder has no pictures or some of a kind
            that is not read, or an HDF5 file has no such array.
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
    return Subject(", ".join(f"{split} {folder}" for split, folder in named), tuple(samples), {})


@dataclass(frozen=True, slots=True, eq=False)
class _Gray:
    """A picture as it is audited: gray levels that are numbers, in native byte order."""

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
            raise ConfigError(f"{folder}: expected a folder of {_KINDS}, or one such file; convert it")
        return [folder]
    found = _files_in(folder)
    with_pictures = [inner for inner in _inner_folders(folder) if _files_in(inner)]
    if not found and [inner.name for inner in with_pictures] == [_INNER]:
        found, with_pictures = _files_in(folder / _INNER), []
    if with_pictures:  # to pass over them would be to call them clean
        raise ConfigError(
            f"{folder}: holds pictures in {', '.join(inner.name for inner in with_pictures[:3])}, too; name the one "
            "folder that holds them all, or move the others away"
        )
    if not found:
        raise ConfigError(f"{folder}: expected {_KINDS}, found none in it; name another folder, or one such file")
    return sorted(found, key=lambda file: (natural_key(file.name), file.name))


def _inner_folders(folder: Path) -> list[Path]:
    """Return the folders in a folder; those of labels are no samples."""
    inner = [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]
    return sorted(path for path in inner if path.name.lower() not in _LABELS)


def _files_in(folder: Path) -> list[Path]:
    try:
        visible = [file for file in folder.iterdir() if not file.name.startswith(".") and not file.is_dir()]
    except OSError as error:
        raise ConfigError(f"{folder}: expected a folder of {_KINDS} ({error.strerror}); name another one") from error
    for file in visible:  # to pass over them would be to call them clean
        if file.suffix.lower() in _OTHER_PICTURES:
            raise ConfigError(f"{file}: pictures of this kind are not read, only {_KINDS}; convert or remove it")
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
        pages = open_stack(file)
        return _numbered(file, len(pages), pages.__getitem__, single=len(pages) == 1)
    array = ArrayFile(file, images_key)
    return _numbered(file, len(array), array.__getitem__, single=array.is_single)


def _numbered(file: Path, n: int, read: Callable[[int], NDArray[Any]], *, single: bool) -> list[tuple[str, Read]]:
    return [(file.name if single else f"{file.name}#{index}", partial(read, index)) for index in range(n)]


def _read_picture(path: Path) -> NDArray[Any]:
    """Return a PNG or JPEG picture (Y, X), uint8 or uint16."""
    try:
        with Image.open(path, formats=("PNG", "JPEG")) as picture:
            _require_single(picture, path)
            if picture.mode.startswith("I"):  # 16 bits; older versions of Pillow say 32
                return np.array(picture, np.uint16)
            return np.array(picture.convert("L"))
    except AugpipeError:
        raise
    except Exception as error:  # Pillow raises half a dozen unrelated types on broken files
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise SourceError(f"{path}: not a readable PNG or JPEG picture ({reason}); export it again") from error


def _require_single(picture: Image.Image, path: Path) -> None:
    if getattr(picture, "n_frames", 1) != 1:
        raise SourceError(f"{path}: expected one picture, found several; save them one by one")
