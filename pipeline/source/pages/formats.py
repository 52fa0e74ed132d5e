"""Which files are read, by their suffix, and what opens them: a further format is a module and a line of the table."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, NoReturn, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ConfigError, SourceError
from pipeline.source.pages.bmp import find_bmp
from pipeline.source.pages.picture import Picture
from pipeline.source.pages.png import find_png
from pipeline.source.stacks import Slices
from pipeline.source.tiff import TiffStack


class FileSlices(Slices, Protocol):
    """The slices (Z, Y, X) in a file or folder; whatever is wrong with them is a SourceError."""

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
    def white_is_zero(self) -> bool:
        """Whether zero is said to be white: images are turned round, and labels taken as they are."""

    @property
    def palette(self) -> NDArray[np.uint16] | None:
        """The colours that labels stand for, (3, N) from 0 to 65535; None where they are no places in a table."""


class _Open(Protocol):
    def __call__(self, path: Path, *, labels: bool) -> FileSlices:
        """Return the slices in a file; labels must be stored without loss."""


class Format(NamedTuple):
    """A format of files: its name, its suffixes, and what opens a file of it."""

    name: str
    suffixes: tuple[str, ...]
    open: _Open


def _open_png(path: Path, *, labels: bool) -> Picture:
    return Picture(path, find_png, labels=labels)


def _open_bmp(path: Path, *, labels: bool) -> Picture:
    return Picture(path, find_bmp, labels=labels)


def _refuse_jpeg(path: Path, *, labels: bool) -> NoReturn:
    if labels:
        raise SourceError(
            f"{path}: expected labels stored without loss, found JPEG, which may change them; export them again as PNG "
            "or TIFF"
        )
    raise SourceError(f"{path}: JPEG is not read yet; save the image as PNG or TIFF")


_TIFF = Format("TIFF", (".tif", ".tiff"), TiffStack)
_FORMATS = (
    _TIFF,
    Format("MetaMorph", (".stk",), TiffStack),
    Format("PNG", (".png",), _open_png),
    Format("BMP", (".bmp",), _open_bmp),
    Format("JPEG", (".jpg", ".jpeg"), _refuse_jpeg),
)
NAMES = "TIFF, PNG or BMP files"
_BY_SUFFIX = {suffix: format_ for format_ in _FORMATS for suffix in format_.suffixes}


def open_file(path: Path, *, labels: bool) -> FileSlices:
    """Return the slices in a file; one of no known suffix is taken for a TIFF file.

    Raises:
        ConfigError: there is no such file.
        SourceError: the file is damaged, of a format that is not read, or not one stack of gray slices.
    """
    return _BY_SUFFIX.get(path.suffix.lower(), _TIFF).open(path, labels=labels)


def pages_among(files: Iterable[Path], folder: Path) -> list[Path]:
    """Return the files of the one format that is in a folder; beside TIFF files, others are taken for pictures of them.

    Raises:
        ConfigError: there are none, or of several formats.
    """
    of_format: dict[Format, list[Path]] = {}
    for file in files:
        if format_ := _BY_SUFFIX.get(file.suffix.lower()):
            of_format.setdefault(format_, []).append(file)
    if not of_format:
        raise ConfigError(f"{folder}: expected a folder of {NAMES}, found none in it; name a file, or another folder")
    if _TIFF in of_format:
        return of_format[_TIFF]
    if len(of_format) > 1:
        found = " and ".join(format_.name for format_ in _FORMATS if format_ in of_format)
        raise ConfigError(f"{folder}: holds {found} files; put those of one kind into a folder of their own")
    return next(iter(of_format.values()))
