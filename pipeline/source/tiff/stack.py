"""A stack in one TIFF file, read slice by slice, and written plainly."""

import io
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from pipeline.errors import ConfigError
from pipeline.files import whole_file, write_atomically
from pipeline.source.tiff.directories import find_pages
from pipeline.source.tiff.failures import plain_errors
from pipeline.source.tiff.layout import find_layout, read_page
from pipeline.source.tiff.page import decode_page

_LARGEST_CLASSIC_TIFF = (1 << 32) - (1 << 25)  # bytes of pixels, with room for the tables of many pages


class TiffStack:
    """The slices of a TIFF file: `stack[z]` reads slice z as (Y, X), native byte order.

    Images that are stored as white is zero are inverted. Labels are taken as they are, and must be losslessly stored.

    Args:
        path: the file.
        labels: whether it holds labels.

    Raises:
        ConfigError: there is no such file.
        SourceError: the file is damaged, or not one stack of gray slices.
    """

    def __init__(self, path: Path, *, labels: bool = False) -> None:
        self.path = path
        self._labels = labels
        self._tiff: tifffile.TiffFile | None = None
        try:
            with plain_errors(path):
                _require_file(path)
                pages = find_pages(path)
                self._layout = find_layout(path, self._open(), pages, labels=labels)
        except BaseException:
            self.close()
            raise

    @property
    def shape(self) -> tuple[int, int, int]:
        """(Z, Y, X)."""
        return (self._layout.n_slices, *self._layout.kind.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of every slice; `bool` where a pixel is one bit."""
        return self._layout.kind.dtype

    def __len__(self) -> int:
        return self._layout.n_slices

    def __getitem__(self, z: int) -> NDArray[Any]:
        """Return slice z.

        Raises:
            SourceError: its pixels are damaged.
        """
        if not 0 <= z < len(self):
            raise IndexError(f"slice {z} of {len(self)}")
        with plain_errors(self.path, f"slice {z}"):
            pixels = self._decode(z)
        if self._labels or not self._layout.kind.white_is_zero:
            return pixels
        white = True if self.dtype.kind == "b" else (1 << self._layout.kind.bits) - 1
        inverted: NDArray[Any] = np.bitwise_xor(pixels, pixels.dtype.type(white))
        return inverted

    def __iter__(self) -> Iterator[NDArray[Any]]:
        """Yield the slices."""
        return (self[z] for z in range(len(self)))

    def close(self) -> None:
        """Close the file; it opens again by itself when a slice is asked for."""
        if self._tiff:
            self._tiff.close()

    def _decode(self, z: int) -> NDArray[Any]:
        layout, tiff = self._layout, self._open()
        if layout.planes == 1:
            return decode_page(read_page(tiff, layout.pages[z]), layout.kind)
        shape, dtype = layout.kind.shape, layout.kind.dtype
        offset = layout.first_byte + z * layout.kind.n_bytes
        pixels = tiff.filehandle.read_array(dtype.newbyteorder(tiff.byteorder), math.prod(shape), offset)
        return pixels.reshape(shape).astype(dtype, copy=False)

    def _open(self) -> tifffile.TiffFile:
        if self._tiff is None or self._tiff.filehandle.closed:
            # what tifffile makes of the pages of some microscopes is of no use: they are found and checked one by one
            self._tiff = tifffile.TiffFile(self.path, _multifile=False, is_lsm=False, is_ndpi=False, is_scanimage=False)
        return self._tiff


def open_stack(path: Path, *, labels: bool = False) -> TiffStack:
    """Return the stack in a TIFF file, to be read slice by slice.

    Raises:
        ConfigError: there is no such file.
        SourceError: the file is damaged, or not one stack of gray slices.
    """
    return TiffStack(path, labels=labels)


def read_stack(path: Path, *, labels: bool = False) -> NDArray[Any]:
    """Return the stack in a TIFF file as one (Z, Y, X) array, native byte order, C order.

    Raises:
        ConfigError: there is no such file.
        SourceError: the file is damaged, or not one stack of gray slices.
    """
    stack = TiffStack(path, labels=labels)
    try:
        with plain_errors(path):
            pixels = np.empty(stack.shape, stack.dtype)
        for z, image in enumerate(stack):
            pixels[z] = image
    finally:
        stack.close()
    return pixels


def write_stack(path: Path, stack: NDArray[Any]) -> None:
    """Write a (Z, Y, X) stack as an uncompressed multi-page TIFF, the same bytes every time.

    Raises:
        StorageError: the file cannot be written.
    """
    memory = io.BytesIO()
    tifffile.imwrite(memory, stack, photometric="minisblack", metadata=None, software="", byteorder="<")
    write_atomically(path, [memory.getbuffer()], n_bytes=len(memory.getbuffer()))


def write_slices(
    path: Path, slices: Iterable[NDArray[Any]], shape: tuple[int, int, int], dtype: np.dtype[Any] | type
) -> None:
    """Write (Y, X) slices one by one, as `write_stack` writes a stack of that (Z, Y, X) shape; one is held at a time.

    Raises:
        StorageError: the file cannot be written.
    """
    n_bytes = math.prod(shape) * np.dtype(dtype).itemsize
    with whole_file(path, n_bytes=n_bytes) as file:
        tifffile.imwrite(
            file, iter(slices), shape=shape, dtype=dtype, bigtiff=n_bytes > _LARGEST_CLASSIC_TIFF,
            photometric="minisblack", metadata=None, software="", byteorder="<",
        )  # fmt: skip


def _require_file(path: Path) -> None:
    if not path.is_file():
        found = "a folder" if path.is_dir() else "something else" if path.exists() else "nothing"
        raise ConfigError(f"{path}: expected a TIFF file, found {found}")
