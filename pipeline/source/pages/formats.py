"""Which files are read, by their suffix, and what opens them: a further format is a module and a line of the table."""

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ConfigError
from pipeline.source.pages import jpeg
from pipeline.source.pages.address import HDF5_SUFFIXES, ZIP_SUFFIXES, file_of
from pipeline.source.pages.bmp import find_bmp
from pipeline.source.pages.picture import Picture
from pipeline.source.pages.png import find_png
from pipeline.source.pages.zarr import is_zarr, open_zarr
from pipeline.source.stacks import Slices
from pipeline.source.tiff import TiffStack


class FileSlices(Slices, Protocol):
    """The slices in a file or folder, (Z, Y, X) or (Z, Y, X, C); whatever is wrong with them is a SourceError."""

    @property
    def path(self) -> Path:
        """The file or folder."""

    @property
    def files(self) -> tuple[Path, ...]:
        """The file, or one for each slice."""

    @property
    def axis(self) -> str:
        """What the file calls its slices: slices, times or channels; empty where it says nothing."""

    @property
    def channels(self) -> tuple[str, ...]:
        """What the channels are called; empty where there is one."""

    @property
    def white_is_zero(self) -> bool:
        """Whether zero is said to be white: images are turned round, and labels taken as they are."""

    @property
    def palette(self) -> NDArray[np.uint16] | None:
        """The colours that pixels stand for, (3, N) from 0 to 65535; None where they are no places in a table."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What to say of how pixels are read, once all have been."""


class Reading(NamedTuple):
    """How a file is to be read.

    Attributes:
        labels: whether it holds labels, which must be stored without loss.
        colour: whether labels may be colours; else they have one value a pixel, or three that are equal.
        channels_are_slices: what planes are that a file calls channels, where it has no other axis: slices, or, if
            False, the channels of one slice. They are slices where that is not known, and `axis` says "channels".
        one_slice: whether the file is a slice among others in a folder.
    """

    labels: bool = False
    colour: bool = False
    channels_are_slices: bool | None = None
    one_slice: bool = False


_Open: TypeAlias = Callable[[Path, Reading], FileSlices]


class Format(NamedTuple):
    """A format of files: its name, its suffixes, what opens a file of it, and whether folders of pages hold such."""

    name: str
    suffixes: tuple[str, ...]
    open: _Open
    are_pages: bool = True


def _open_tiff(path: Path, how: Reading) -> TiffStack:
    return TiffStack(path, **how._asdict())


def _open_png(path: Path, how: Reading) -> Picture:
    return Picture(path, find_png, labels=how.labels, colour=how.colour)


def _open_bmp(path: Path, how: Reading) -> Picture:
    return Picture(path, find_bmp, labels=how.labels, colour=how.colour)


def _open_jpeg(path: Path, how: Reading) -> Picture:
    return Picture(path, jpeg.find_jpeg, labels=how.labels, colour=how.colour)


def _open_hdf5(path: Path, how: Reading) -> FileSlices:
    from pipeline.source.pages.hdf5 import open_hdf5

    return open_hdf5(path, labels=how.labels)


def _open_zarr(path: Path, how: Reading) -> FileSlices:
    return open_zarr(path, labels=how.labels)


_ZARR = Format("Zarr", ZIP_SUFFIXES, _open_zarr, are_pages=False)  # and folders that have its metadata
_TIFF = Format("TIFF", (".tif", ".tiff"), _open_tiff)
_FORMATS = (
    _TIFF,
    Format("MetaMorph", (".stk",), _open_tiff),
    Format("Zeiss LSM", (".lsm",), _open_tiff),
    Format("PNG", (".png",), _open_png),
    Format("BMP", (".bmp",), _open_bmp),
    Format("JPEG", jpeg.SUFFIXES, _open_jpeg),
    Format("HDF5", HDF5_SUFFIXES, _open_hdf5, are_pages=False),
    _ZARR,
)
NAMES = "TIFF, PNG, BMP or JPEG files"
_ZARR_END = re.compile(r"(\.ome)?\.zarr$", re.IGNORECASE)
_BY_SUFFIX = {suffix: format_ for format_ in _FORMATS for suffix in format_.suffixes}


def open_file(
    path: Path,
    *,
    labels: bool,
    colour: bool = False,
    channels_are_slices: bool | None = None,
    one_slice: bool = False,
) -> FileSlices:
    """Return the slices in a file or in an array in it; one of no known suffix is taken for a TIFF file.

    For the options, see `Reading`.

    Raises:
        ConfigError: there is no such file.
        SourceError: the file is damaged, of a format that is not read, or not one stack of slices.
    """
    how = Reading(labels, colour, channels_are_slices, one_slice)
    file = file_of(path)
    format_ = _ZARR if file.is_dir() and is_zarr(file) else _BY_SUFFIX.get(file.suffix.lower(), _TIFF)
    return format_.open(path, how)


def is_page_folder(path: Path) -> bool:
    """Return whether a path is a folder of pages, and not one that is a Zarr array or group itself."""
    return path.is_dir() and not is_zarr(path)


def stem_of(path: Path) -> str:
    """Return the name of a file or folder of slices without its suffix; of an array, that of what it lies in."""
    file = file_of(path).resolve()
    if not file.is_dir():
        return _ZARR_END.sub("", file.stem)
    if not is_zarr(file):
        return file.name
    whole = next((each for each in (file, *file.parents) if each.suffix.lower() == ".zarr"), file)
    return _ZARR_END.sub("", whole.name)


def pages_among(files: Iterable[Path], folder: Path) -> list[Path]:
    """Return the files of all formats that are in a folder.

    Raises:
        ConfigError: there are none, or two of one name that differ in their format alone.
    """
    by_stem: dict[str, Path] = {}
    pages = [file for file in files if (found := _BY_SUFFIX.get(file.suffix.lower())) and found.are_pages]
    if not pages:
        raise ConfigError(f"{folder}: expected a folder of {NAMES}, found none in it; name a file, or another folder")
    for file in sorted(pages):
        if (other := by_stem.setdefault(file.stem, file)) != file and other.suffix.lower() != file.suffix.lower():
            raise ConfigError(
                f"{folder}: {other.name} and {file.name} have one name, so they may be the same slice twice, or an "
                "image and its label; put one of them into another folder"
            )
    return pages


def decoder_of(files: Iterable[Path]) -> str | None:
    """Return the name and version of what decodes files of pixels that other versions decode otherwise, if any are."""
    return jpeg.jpeg_decoder() if any(file.suffix.lower() in jpeg.SUFFIXES for file in files) else None
