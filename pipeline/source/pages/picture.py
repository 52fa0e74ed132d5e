"""A picture in a file of its own, as a stack of one slice; the modules of PNG, BMP and JPEG read what is in it."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import AugpipeError, ConfigError, SourceError
from pipeline.source.colours import TINT_NOTE, PixelError, Values, kept_values, require_tint
from pipeline.source.tiff.layout import MAX_INFLATION, MAX_STACK_BYTES, MIN_BOMB_BYTES


class PictureError(PixelError):
    """What is wrong with a picture; `Picture` says with which."""


class FoundPicture(NamedTuple):
    """A picture that was found in an open file: (height, width), dtype, and what decodes it from that file.

    Where pixels are places in a table of colours, `palette` is that table: (3, N) red, green and blue, 0 to 65535.
    Where a pixel has several values, `channels` names them; `alpha` is whether one more follows them, or the gray
    level. `notes` are what to say of how the pixels are read.
    """

    size: tuple[int, int]
    dtype: np.dtype[Any]
    decode: Callable[[], NDArray[Any]]
    palette: NDArray[np.uint16] | None = None
    channels: tuple[str, ...] = ()
    alpha: bool = False
    notes: tuple[str, ...] = ()

    @property
    def values(self) -> Values:
        """The values of a pixel."""
        return Values(self.channels, self.alpha)

    @property
    def shape(self) -> tuple[int, ...]:
        """(Y, X), or (Y, X, N) of several values."""
        return (*self.size, self.values.n) if self.values.n > 1 else self.size


# Finds the picture in an open file of so many bytes: find(file, n_bytes, labels). Raises PictureError.
Find: TypeAlias = Callable[[BinaryIO, int, bool], FoundPicture]


class Picture:
    """A picture as a stack of one slice: `picture[0]` reads it as (Y, X) or (Y, X, C), native byte order.

    The file is open only while it is read.

    Args:
        path: the file.
        find: finds the picture in it.
        labels: whether it holds labels.
        colour: whether labels may be colours; else they have one value a pixel, or three that are equal.

    Attributes:
        files: the file.
        axis: empty, as there is but one slice.
        shape: (1, Y, X), or (1, Y, X, C) of several channels.
        dtype: of the slice.
        channels: what the channels are called; empty where there is one.
        white_is_zero: False, as PNG has no such pictures, and BMP a table of gray levels.
        palette: the colours that pixels stand for, as in `TiffStack`.
        notes: what to say of how its pixels are read, once they have been.

    Raises:
        ConfigError: there is no such file.
        SourceError: the file is damaged, or not one picture that is read.
    """

    axis = ""

    def __init__(self, path: Path, find: Find, *, labels: bool = False, colour: bool = False) -> None:
        self.path, self.files, self._find, self._labels = path, (path,), find, labels
        with picture_errors(path):
            if not path.is_file():
                found = "a folder" if path.is_dir() else "something else" if path.exists() else "nothing"
                raise ConfigError(f"{path}: expected a file, found {found}")
            with path.open("rb") as file:
                picture = self._found(file)
            self._kept = kept_values(picture.values, labels=labels, colour=colour)
        self.channels, self._stored = self._kept.channels, (picture.shape, picture.dtype)
        self.shape = (1, *picture.size, *([len(self.channels)] if self.channels else []))
        self.dtype, self.white_is_zero, self.palette = picture.dtype, False, picture.palette
        self.notes = (*picture.notes, *self._kept.notes)

    def __len__(self) -> int:
        return 1

    def __getitem__(self, z: int) -> NDArray[Any]:
        """Return the slice.

        Raises:
            SourceError: its pixels are damaged, or the file is not the one that was opened.
        """
        if z != 0:
            raise IndexError(f"slice {z} of 1")
        with picture_errors(self.path), self.path.open("rb") as file:
            picture = self._found(file)
            if (picture.shape, picture.dtype) != self._stored:
                raise PictureError("changed while it was being used; run the same again")
            pixels = picture.decode().reshape(picture.shape).astype(self.dtype, copy=False)
            return self._kept.of(pixels, 8 * self.dtype.itemsize)

    def __iter__(self) -> Iterator[NDArray[Any]]:
        """Yield the slice."""
        yield self[0]

    def _found(self, file: BinaryIO) -> FoundPicture:
        """Return the picture, unless it asks for more memory than its file can fill."""
        n_bytes = self.path.stat().st_size
        picture = self._find(file, n_bytes, self._labels)
        (height, width), needed = picture.size, math.prod(picture.shape) * picture.dtype.itemsize
        if needed > min(MAX_STACK_BYTES, max(MIN_BOMB_BYTES, MAX_INFLATION * n_bytes)):
            raise PictureError(
                f"{n_bytes:,} bytes that would become {needed:,} ({height:,} x {width:,} px); export it as "
                "uncompressed TIFF, or in parts"
            )
        return picture


def indexed_image(size: tuple[int, int], decode: Callable[[], NDArray[Any]], table: NDArray[np.uint16]) -> FoundPicture:
    """Return an image whose pixels are places in a table of colours: its gray levels, or the places if it only tints.

    Args:
        size: (height, width).
        decode: returns the places.
        table: (3, N) from 0 to 65535.

    Raises:
        PixelError: the table is neither gray, nor one hue from dark to bright.
    """
    is_gray = bool((table == table[:1]).all())
    if not is_gray:
        require_tint(table)
    levels = (table[0] >> 8 if is_gray else np.arange(table.shape[1])).astype(np.uint8)
    palette, notes = (None, ()) if is_gray else (table, (TINT_NOTE,))
    return FoundPicture(size, np.dtype(np.uint8), lambda: look_up(levels, decode()), palette, notes=notes)


def look_up(levels: NDArray[np.uint8], places: NDArray[Any]) -> NDArray[np.uint8]:
    """Return what is at places (Y, X) of a table.

    Raises:
        PictureError: a place is beyond its end.
    """
    if places.max() >= len(levels):
        raise PictureError(f"a pixel of {places.max()} in a table of {len(levels)} colours; damaged: export it again")
    found: NDArray[np.uint8] = levels[places]
    return found


def read_exactly(file: BinaryIO, n_bytes: int) -> bytes:
    """Return the next bytes of a file.

    Raises:
        PictureError: there are fewer.
    """
    data = file.read(n_bytes)
    if len(data) < n_bytes:
        raise PictureError("the file is cut short; copy it again")
    return data


@contextmanager
def picture_errors(path: Path) -> Iterator[None]:
    """Turn all that a broken picture raises into one typed error."""
    try:
        yield
    except AugpipeError:
        raise
    except PixelError as error:
        raise SourceError(f"{path}: {error}") from error
    except MemoryError as error:
        raise SourceError(f"{path}: needs more memory than there is; use a part of the picture") from error
    except OSError as error:
        raise SourceError(f"{path}: cannot be read ({error.strerror or error})") from error
    except Exception as error:  # a decoder that is given damaged bytes may raise anything
        problem = " ".join(str(error).split())[:200] or type(error).__name__
        raise SourceError(f"{path}: its pixels cannot be decoded ({problem}); export it again") from error
