"""Samples in folders: pictures of which nothing is known but their split.

They are TIFF, PNG, JPEG, HDF5 or NumPy files, any of which may be damaged or made to harm: none takes more memory than
a picture may.
"""

import math
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from augment.gray import as_plane
from pipeline.audit.samples.array_files import (
    MAX_SIDE,
    Rows,
    one_error,
    one_large_at_a_time,
    open_array,
    reduce_rows,
)
from pipeline.audit.samples.audited_samples import AuditedSample, AuditedSamples
from pipeline.errors import ConfigError, SourceError
from pipeline.plan.split import SPLITS
from pipeline.source.pages.partners import natural_key
from pipeline.source.stacks import Slices
from pipeline.source.tiff import TiffStack, open_stack

Read: TypeAlias = Callable[[int], NDArray[Any]]  # a picture, reduced by a factor

_TIFF, _PICTURE, _ARRAYS = (".tif", ".tiff"), (".png", ".jpg", ".jpeg"), (".h5", ".hdf5", ".npy", ".npz")
_READ = (*_TIFF, *_PICTURE, *_ARRAYS)
_OTHER_PICTURES = (".bmp", ".gif", ".webp", ".jp2", ".mrc", ".nii", ".nii.gz", ".mat", ".czi", ".nd2", ".hdf")
_FORMATS = "TIFF, PNG, JPEG, HDF5 or NumPy files"
_LABELS = {"labels", "label", "labelstr", "labelsts", "masks", "mask", "gt"}
_LABEL_ENDS = ("_gt", "_st")  # true labels of the Cell Tracking Challenge, gold and silver
_INNER = "images"  # beside a folder of labels or masks
# Folders that hold one split of all that lies beside them, as nnU-Net and Hugging Face call them.
_SPLIT_FOLDERS = {
    "train": ("imagestr", "train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("imagests", "test"),
}
_NNUNET = ("imagestr", "imagests")
_CHANNEL = re.compile(r"(.+)_(\d{4})")
_MAX_DEPTH = 8
_MAX_BYTES, _MAX_TIFF_BYTES = 1 << 30, 1 << 29  # of a picture when it is read, in memory
_MAX_LENGTH = 1 << 17  # of a side, in pixels
_PILLOW_BLOCK = 1 << 26  # smaller ones would stay with the thread that freed them: malloc maps from 32 MiB on only
_open_lock = threading.Lock()


def read_folders(folders: Mapping[str, Path], *, images_key: str = "images") -> AuditedSamples:
    """Return the pictures in folders as samples; they are read when they are asked for.

    What counts are a folder's own files and those in folders below it, whose names become part of the samples' names:
    `cat/x.png`. Hidden ones do not count, nor do labels: labels, label, labelsTr, labelsTs, masks, mask, GT, and what
    ends in _GT or _ST. Where there is nothing else in a folder than these,

    - its folder `images` counts instead of it;
    - so does the folder of the split: nnU-Net's imagesTr for train and imagesTs for test, Hugging Face's train,
      validation and test. In nnU-Net's, CASE_0000 and CASE_0001 are channels of the same tissue: the first one counts.

    Every page of a TIFF file and every picture of an array is a sample, and its name ends in its number, from 0:
    `stack.tif#3`. Pictures in colour become gray (luma of ITU-R BT.601).

    Where any picture has a side above 2048 pixels, all pictures of the audit are looked at reduced by the same whole
    factor, so that they stay comparable, and P001 means that the reduced pictures are identical. Large pictures are
    read one at a time.

    Args:
        folders: for each split, its folder, or one file.
        images_key: the name of the array (N, Y, X) or (Y, X) in HDF5 and .npz files.

    Raises:
        ConfigError: train, or all that it could be compared with, is missing; a folder has no pictures, or some in a
            format that is not read; a file has no such array.
        DatasetError: an array cannot be read, or not be trusted.
        SourceError: a TIFF file is damaged, or not one stack of gray pages.
    """
    if not {"train"} < set(folders) <= set(SPLITS):
        raise ConfigError(f"expected a folder for train and one for test or val, got {', '.join(folders) or 'none'}")
    named = [(split, folders[split]) for split in SPLITS if split in folders]
    scale = _Scale()
    samples = [
        AuditedSample(found.name, split, None, _Gray(folder / found.name, found.read, scale))
        for split, folder in named
        for name, file in _files(folder, split)
        for found in scale.fit(_pictures(name, file, images_key))
    ]
    return AuditedSamples(", ".join(f"{split} {folder}" for split, folder in named), tuple(samples), {}, scale.factor)


class ReducedSlices:
    """The slices of a stack, each reduced by a whole factor.

    Args:
        slices: (Z, Y, X), or (Z, Y, X, C), of which one plane is made.
        factor: of `reduce_rows`.
    """

    def __init__(self, slices: Slices, factor: int) -> None:
        self._slices, self._factor = slices, factor
        depth, *sides = slices.shape[:3]
        self.shape = (depth, *(max(1, side // factor) for side in sides))
        self.dtype = slices.dtype

    def __len__(self) -> int:
        return len(self._slices)

    def __getitem__(self, z: int) -> NDArray[Any]:
        """Return slice z as (Y, X)."""
        pixels = as_plane(self._slices[z])
        height, width = pixels.shape
        return reduce_rows(lambda first, end: pixels[first:end], (height, width), self._factor)

    def __iter__(self) -> Iterator[NDArray[Any]]:
        """Yield the slices."""
        return (self[z] for z in range(len(self)))


class _Picture(NamedTuple):
    """A picture that can be read; its longest side in pixels is 0 where it cannot."""

    name: str
    side: int
    read: Read


@dataclass(slots=True, eq=False)
class _Scale:
    """By what all pictures of an audit are reduced."""

    factor: int = field(default=1)

    def fit(self, pictures: list[_Picture]) -> list[_Picture]:
        """Reduce so far that these are not too large, either."""
        self.factor = max([self.factor, *(math.ceil(picture.side / MAX_SIDE) for picture in pictures)])
        return pictures


@dataclass(frozen=True, slots=True, eq=False)
class _Gray:
    """A picture as it is audited: finite gray levels in native byte order, reduced as all are."""

    where: Path
    read: Read
    scale: _Scale

    def __call__(self) -> NDArray[Any]:
        found = self.read(self.scale.factor)
        pixels = np.ascontiguousarray(found, found.dtype.newbyteorder("="))
        if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
            raise SourceError(f"{self.where}: holds pixels that are not numbers (NaN or infinity); replace them")
        return pixels


def _files(folder: Path, split: str) -> list[tuple[str, Path]]:
    """Return the files with pictures in a folder and their names, in natural order, or the one file that was named."""
    if folder.is_file():
        if folder.suffix.lower() not in _READ:
            raise ConfigError(f"{folder}: expected a folder of {_FORMATS}, or one such file; convert it")
        return [(folder.name, folder)]
    used = _folder_of_split(folder, split)
    found = _files_below(used)
    if not found:
        raise ConfigError(f"{used}: expected {_FORMATS}, found none in it; name another folder, or one such file")
    if used.name.lower() in _NNUNET:
        found = _first_channels(found)
    named = [(file.relative_to(used).as_posix(), file) for file in found]
    return sorted(named, key=lambda each: (natural_key(each[0]), each[0]))


def _folder_of_split(folder: Path, split: str) -> Path:
    """Return the folder that counts: the one that was named, or the one in it that is made for the split."""
    files, inner = _listed(folder)
    of_split = {name: of for of, names in _SPLIT_FOLDERS.items() for name in names}
    candidates = [path for path in inner if path.name.lower() in of_split]
    if not candidates:
        only_images = not files and [path.name for path in inner if _files_below(path)] == [_INNER]
        return folder / _INNER if only_images else folder
    own = [path for path in candidates if of_split[path.name.lower()] == split]
    beside = [path for path in inner if path not in candidates and _files_below(path)]
    if len(own) == 1 and not files and not beside:
        return own[0]
    names = ", ".join(path.name for path in [*candidates, *beside][:4])
    raise ConfigError(  # to read all of it would mix the splits, to leave some out would pass it as clean
        f"{folder}: expected one folder for {split} and nothing beside it but other splits and labels, found {names}"
        f"{' and pictures' if files else ''}; name the folder of {split} itself"
    )


def _first_channels(files: list[Path]) -> list[Path]:
    """Return the files without further channels of a case, of which the first one is there."""
    there = {(file.parent, file.stem) for file in files}
    return [
        file
        for file in files
        if not (case := _CHANNEL.fullmatch(file.stem))
        or case[2] == "0000"
        or (file.parent, f"{case[1]}_0000") not in there
    ]


def _files_below(folder: Path, depth: int = 0) -> list[Path]:
    if depth > _MAX_DEPTH:
        raise ConfigError(f"{folder}: lies more than {_MAX_DEPTH} folders deep, or links back; name a folder in it")
    files, inner = _listed(folder)
    return [*files, *(file for path in inner for file in _files_below(path, depth + 1))]


def _listed(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return the files with pictures that lie in a folder itself, and the folders in it that may hold more."""
    try:
        visible = [path for path in folder.iterdir() if not path.name.startswith(".")]
    except OSError as error:
        raise ConfigError(f"{folder}: expected a folder of {_FORMATS} ({error.strerror}); name another one") from error
    files = [path for path in visible if not path.is_dir()]
    for file in files:  # leaving them out would pass them as clean
        if file.name.lower().endswith(_OTHER_PICTURES):
            raise ConfigError(f"{file}: pictures of this kind are not read, only {_FORMATS}; convert or remove it")
    found = [file for file in files if file.suffix.lower() in _READ]
    for file in found:
        if not file.is_file():
            raise SourceError(f"{file}: expected a file, found a broken link or a device; remove it")
    return found, sorted(path for path in visible if path.is_dir() and not _is_of_labels(path.name.lower()))


def _is_of_labels(name: str) -> bool:
    return name in _LABELS or name.endswith(_LABEL_ENDS)


def _pictures(name: str, file: Path, images_key: str) -> list[_Picture]:
    """Return the pictures in a file."""
    suffix = file.suffix.lower()
    if suffix in _PICTURE:
        return [_Picture(name, _longest_side(file), partial(_read_picture, file))]
    if suffix in _TIFF:
        stack = open_stack(file)
        _require_size(file, stack.shape[1:], math.prod(stack.shape[1:]) * stack.dtype.itemsize, _MAX_TIFF_BYTES)
        return _numbered(name, stack.shape, partial(_read_page, stack), single=len(stack) == 1)
    array = open_array(file, images_key)
    _require_size(file, array.shape[-2:], 0, _MAX_BYTES)  # its bytes were looked at
    return _numbered(name, array.shape, array.read, single=len(array.shape) == 2)


def _numbered(
    name: str, shape: tuple[int, ...], read: Callable[[int, int], NDArray[Any]], *, single: bool
) -> list[_Picture]:
    side, n = max(shape[-2:]), 1 if single else shape[0]
    return [_Picture(name if single else f"{name}#{k}", side, partial(read, k)) for k in range(n)]


def _require_size(path: Path, shape: tuple[int, ...], n_bytes: int, most: int) -> None:
    if n_bytes > most or max(shape) > _MAX_LENGTH:
        size = " x ".join(f"{side:,}" for side in shape)
        raise SourceError(
            f"{path}: expected a picture of at most {most:,} bytes and {_MAX_LENGTH:,} pixels a side, found {size} "
            f"pixels, {n_bytes:,} bytes; cut it into tiles"
        )


def _read_page(stack: TiffStack, index: int, factor: int) -> NDArray[Any]:
    if stack.dtype.kind not in "buif":
        raise SourceError(f"{stack.path}: expected gray levels, found {stack.dtype.name}; save it as 8 or 16 bits")
    height, width = stack.shape[1:]
    with one_large_at_a_time(height * width * stack.dtype.itemsize):
        page = stack[index]
        return reduce_rows(lambda first, end: page[first:end], (height, width), factor)


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """Open a PNG or JPEG picture; how large it may be is decided here, by `_n_bytes`, and not by Pillow."""
    what = f"{path}: not a readable PNG or JPEG picture"
    with one_error(SourceError, what, "export it again"):
        with _open_lock:
            limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            try:
                picture = Image.open(path, formats=("PNG", "JPEG"))
            finally:
                Image.MAX_IMAGE_PIXELS = limit
        with picture:
            if getattr(picture, "n_frames", 1) != 1:
                raise SourceError(f"{path}: expected one picture, found several; save them one by one")
            _require_size(path, picture.size[::-1], _n_bytes(picture), _MAX_BYTES)
            yield picture


def _n_bytes(picture: Image.Image) -> int:
    """Return what Pillow needs for a picture; for a progressive JPEG also its coefficients, two bytes each."""
    pixel = 1 if picture.mode in ("1", "L", "P") else 2 if picture.mode.startswith("I;16") else 4
    return picture.width * picture.height * (pixel + 2 * len(picture.getbands()) * ("progressive" in picture.info))


def _longest_side(path: Path) -> int:
    """Return a picture's longest side, or 0 where it cannot be read: that is told when it is asked for."""
    try:
        with _opened(path) as picture:
            return max(picture.size)
    except SourceError:
        return 0


def _read_picture(path: Path, factor: int) -> NDArray[Any]:
    """Return a PNG or JPEG picture (Y, X), uint8 or uint16."""
    with _opened(path) as picture:
        n_bytes = _n_bytes(picture)
    with one_large_at_a_time(n_bytes):  # until all that was decoded is let go
        return _decode(path, factor)


def _decode(path: Path, factor: int) -> NDArray[Any]:
    Image.core.set_block_size(_PILLOW_BLOCK)  # type: ignore[attr-defined]  # missing in Pillow's types
    with _opened(path) as picture:
        picture.load()

        def rows(first: int, end: int) -> NDArray[Any]:
            part = picture.crop((0, first, picture.width, end)) if end - first < picture.height else picture
            if picture.mode.startswith("I"):  # 16 bits; older versions of Pillow say 32
                return np.array(part, np.uint16)
            return np.array(part.convert("L"))

        read: Rows = rows
        return reduce_rows(read, picture.size[::-1], factor)
