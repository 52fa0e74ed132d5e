"""Which files are read, by their suffix, and what opens them: a further format is a module and a line of the table."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple, NoReturn, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ConfigError, SourceError
from pipeline.source.pages.bmp import find_bmp
from pipeline.source.pages.picture import Picture
from pipeline.source.pages.png import find_png
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
    """A format of files: its name, its suffixes, and what opens a file of it."""

    name: str
    suffixes: tuple[str, ...]
    open: _Open


def _open_tiff(path: Path, how: Reading) -> TiffStack:
    return TiffStack(path, **how._asdict())


def _open_png(path: Path, how: Reading) -> Picture:
    return Picture(path, find_png, labels=how.labels, colour=how.colour)


def _open_bmp(path: Path, how: Reading) -> Picture:
    return Picture(path, find_bmp, labels=how.labels, colour=how.colour)


def _refuse_jpeg(path: Path, how: Reading) -> NoReturn:
    if how.labels:
        raise SourceError(
            f"{path}: expected labels stored without loss, found JPEG, which may change them; export them again as PNG "
            "or TIFF"
        )
    raise SourceError(f"{path}: JPEG is not read yet; save the image as PNG or TIFF")


_TIFF = Format("TIFF", (".tif", ".tiff"), _open_tiff)
_FORMATS = (
    _TIFF,
    Format("MetaMorph", (".stk",), _open_tiff),
    Format("PNG", (".png",), _open_png),
    Format("BMP", (".bmp",), _open_bmp),
    Format("JPEG", (".jpg", ".jpeg"), _refuse_jpeg),
)
NAMES = "TIFF, PNG or BMP files"
_BY_SUFFIX = {suffix: format_ for format_ in _FORMATS for suffix in format_.suffixes}


def open_file(
    path: Path,
    *,
    labels: bool,
    colour: bool = False,
    channels_are_slices: bool | None = None,
    one_slice: bool = False,
) -> FileSlices:
    """Return the slices in a file; one of no known suffix is taken for a TIFF file. For the options, see `Reading`.

    Raises:
        ConfigError: there is no such file.
        SourceError: the file is damaged, of a format that is not read, or not one stack of slices.
    """
    how = Reading(labels, colour, channels_are_slices, one_slice)
    return _BY_SUFFIX.get(path.suffix.lower(), _TIFF).open(path, how)


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
