"""A picture in a file of its own, as a stack of one slice; the modules of PNG, BMP and JPEG read what is in it."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import AugpipeError, ConfigError, SourceError
from pipeline.source.tiff.layout import MAX_INFLATION, MAX_STACK_BYTES, MIN_BOMB_BYTES

COLOUR_IMAGE = "colour is not supported yet; save it as gray, one channel"
COLOUR_LABEL = (
    "colour is not supported yet for labels; save one whole number a pixel, as gray levels or as a palette's indices"
)


class PictureError(Exception):
    """What is wrong with a picture; `Picture` says with which."""


class FoundPicture(NamedTuple):
    """A picture that was found in an open file: (height, width), dtype, and what decodes it from that file.

    Where pixels are places in a table of colours, `palette` is that table: (3, N) red, green and blue, 0 to 65535.
    Where a pixel has several values, `channels` names them.
    """

    size: tuple[int, int]
    dtype: np.dtype[Any]
    decode: Callable[[], NDArray[Any]]
    palette: NDArray[np.uint16] | None = None
    channels: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """(Y, X), or (Y, X, C) where there are channels."""
        return (*self.size, len(self.channels)) if self.channels else self.size


# Finds the picture in an open file of so many bytes: find(file, n_bytes, labels). Raises PictureError.
Find: TypeAlias = Callable[[BinaryIO, int, bool], FoundPicture]


class Picture:
    """A picture as a stack of one slice: `picture[0]` reads it as (Y, X) or (Y, X, C), native byte order.

    The file is open only while it is read.

    Args:
        path: the file.
        find: finds the picture in it.
        labels: whether it holds labels.

    Attributes:
        files: the file.
        axis: empty, as there is but one slice.
        shape: (1, Y, X), or (1, Y, X, C) where a pixel has several values.
        dtype: of the slice.
        channels: what these values are called; empty for gray.
        white_is_zero: False, as PNG has no such pictures, and BMP a table of gray levels.
        palette: the colours that labels stand for, as in `TiffStack`.

    Raises:
        ConfigError: there is no such file.
        SourceError: the file is damaged, or not one picture that is read.
    """

    axis = ""

    def __init__(self, path: Path, find: Find, *, labels: bool = False) -> None:
        self.path, self.files, self._find, self._labels = path, (path,), find, labels
        with picture_errors(path):
            if not path.is_file():
                found = "a folder" if path.is_dir() else "something else" if path.exists() else "nothing"
                raise ConfigError(f"{path}: expected a file, found {found}")
            with path.open("rb") as file:
                picture = self._found(file)
        self.shape, self.dtype, self.white_is_zero = (1, *picture.shape), picture.dtype, False
        self.palette, self.channels = picture.palette, picture.channels

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
            if ((1, *picture.shape), picture.dtype) != (self.shape, self.dtype):
                raise PictureError("changed while it was being used; run the same again")
            return picture.decode().reshape(picture.shape).astype(self.dtype, copy=False)

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
    except PictureError as error:
        raise SourceError(f"{path}: {error}") from error
    except MemoryError as error:
        raise SourceError(f"{path}: needs more memory than there is; use a part of the picture") from error
    except OSError as error:
        raise SourceError(f"{path}: cannot be read ({error.strerror or error})") from error
    except Exception as error:  # a decoder that is given damaged bytes may raise anything
        problem = " ".join(str(error).split())[:200] or type(error).__name__
        raise SourceError(f"{path}: its pixels cannot be decoded ({problem}); export it again") from error
