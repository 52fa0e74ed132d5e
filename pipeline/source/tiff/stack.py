"""A stack in one TIFF file, read slice by slice, and written plainly."""

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from pipeline.errors import ConfigError, SourceError
from pipeline.files import whole_file
from pipeline.source.colours import ONE_VALUE, kept_values
from pipeline.source.tiff.failures import brief, tiff_errors
from pipeline.source.tiff.layout import find_layout
from pipeline.source.tiff.pages import find_pages, read_page, read_rows

_MAX_CLASSIC_BYTES = (1 << 32) - (1 << 25)  # of pixels in a classic TIFF, with room for the tables of many pages


class TiffStack:
    """The slices of a TIFF file: `stack[z]` reads slice z as (Y, X) or (Y, X, C), native byte order.

    The file is open only while it is read. Images that are stored as white is zero are inverted, but for floats.
    Labels are taken as they are, be they places in a table of colours, and must be losslessly stored.

    Args:
        path: the file.
        labels: whether it holds labels.
        colour: whether labels may be colours; else they have one value a pixel, or three that are equal.
        channels_are_slices: what planes are that the file calls channels, where it has no other axis: slices, or, if
            False, the channels of one slice. They are slices where that is not known, and `axis` says "channels".
        one_slice: whether the file is a slice among others in a folder: where it has a single page, that is the slice,
            and what OME-XML says of other files does not matter.

    Attributes:
        files: the file.
        shape: (Z, Y, X), or (Z, Y, X, C) of several channels.
        dtype: of every slice; `bool` where a pixel is one bit.
        channels: what the channels are called; empty where there is one.
        palette: the colours that pixels stand for, uint16 (3, N); None where they are no places in a table.
        white_is_zero: whether the file says that zero is white.
        axis: what the file calls its slices: slices, times or channels; empty where it says nothing.
        notes: what to say of how its pixels are read, once all have been.

    Raises:
        ConfigError: there is no such file.
        SourceError: the file is damaged, or not one stack of slices.
    """

    def __init__(
        self,
        path: Path,
        *,
        labels: bool = False,
        colour: bool = False,
        channels_are_slices: bool | None = None,
        one_slice: bool = False,
    ) -> None:
        self.path, self.files, self._labels = path, (path,), labels
        with tiff_errors(path):
            _require_file(path)
            self._version = _version(path)
            pages = find_pages(path)
            with _open(path) as tiff:
                layout = find_layout(
                    path, tiff, pages, labels=labels, channels_are_slices=channels_are_slices, one_slice=one_slice
                )
            values = ONE_VALUE if layout.values_are_slices else layout.kind.values
            self._kept = kept_values(values, labels=labels, colour=colour)
        self._layout = layout
        self.channels = layout.channels or self._kept.channels
        self.shape = (layout.n_slices, *layout.slice_size, *([len(self.channels)] if self.channels else []))
        self.dtype, self.white_is_zero, self.axis = layout.kind.dtype, layout.kind.white_is_zero, layout.axis
        self.notes = self._kept.notes if labels else (*layout.kind.notes, *self._kept.notes)
        colours = layout.kind.colours
        self.palette = None if colours is None else np.frombuffer(colours, "<u2").reshape(3, -1)

    def __len__(self) -> int:
        return self._layout.n_slices

    def __getitem__(self, z: int) -> NDArray[Any]:
        """Return slice z.

        Raises:
            SourceError: its pixels are damaged, or the file is not the one that was opened.
        """
        if not 0 <= z < len(self):
            raise IndexError(f"slice {z} of {len(self)}")
        with tiff_errors(self.path, f"slice {z}"), _open(self.path) as tiff:
            return self._read(tiff, z)

    def rows(self, z: int, top: int, bottom: int) -> NDArray[Any]:
        """Return the rows from `top` to before `bottom` of slice z; nearly always, no others are read.

        Raises:
            SourceError: as for a single slice.
        """
        with tiff_errors(self.path, f"slice {z}"), _open(self.path) as tiff:
            if self._layout.n_rows > 1:  # each is a page
                return self._read(tiff, z)[top:bottom]
            return self._read(tiff, z, (top, bottom))

    def __iter__(self) -> Iterator[NDArray[Any]]:
        """Yield the slices; the file stays open until the last.

        Raises:
            SourceError: as for a single slice.
        """
        with tiff_errors(self.path, "slice 0"):
            tiff = _open(self.path)
        with tiff:
            for z in range(len(self)):
                with tiff_errors(self.path, f"slice {z}"):
                    pixels = self._read(tiff, z)
                yield pixels

    def _read(self, tiff: tifffile.TiffFile, z: int, rows: tuple[int, int] | None = None) -> NDArray[Any]:
        if _version(self.path) != self._version:  # its pages may be elsewhere now
            raise SourceError(f"{self.path}: slice {z} changed while it was being used; run the same again")
        if self._layout.values_are_slices:
            return np.ascontiguousarray(self._read_plane(tiff, 0, rows)[..., z])
        kind = self._layout.kind
        planes = [self._kept.of(self._read_plane(tiff, plane, rows), kind.bits) for plane in self._layout.planes_of(z)]
        if self._layout.n_rows > 1:
            return np.stack(planes)
        return np.stack(planes, axis=-1) if self._layout.channels else planes[0]

    def _read_plane(self, tiff: tifffile.TiffFile, plane: int, rows: tuple[int, int] | None = None) -> NDArray[Any]:
        """Return the pixels of a plane, (Y, X) or, of several values, (Y, X, N); or some rows of them."""
        kind, dtype = self._layout.kind, self._layout.kind.dtype
        top, bottom = rows or (0, kind.shape[0])
        first_byte, some = self._layout.first_byte(plane), (bottom - top, *kind.stored_shape[1:])
        pixels: NDArray[Any] | None = None
        if rows and first_byte is not None and not kind.planar:
            skipped = top * math.prod(some[1:]) * dtype.itemsize
            pixels = self._read_bytes(tiff, some, first_byte + skipped)
        elif rows and first_byte is None:
            pixels = read_rows(tiff, self._layout.pages[plane], kind, top, bottom)
        if pixels is not None:
            pixels = pixels.reshape(some)
        else:
            if first_byte is not None:
                pixels = self._read_bytes(tiff, kind.stored_shape, first_byte)
            else:
                pixels = read_page(tiff, self._layout.pages[plane]).asarray(maxworkers=1)
            pixels = pixels.reshape(kind.stored_shape)
            pixels = (np.moveaxis(pixels, 0, -1) if kind.planar else pixels)[top:bottom]
        pixels = pixels.astype(dtype, copy=False)
        if kind.white_is_zero and not self._labels and dtype.kind != "f":
            pixels = np.bitwise_xor(pixels, dtype.type((1 << kind.bits) - 1))
        return pixels

    def _read_bytes(self, tiff: tifffile.TiffFile, shape: tuple[int, ...], first_byte: int) -> NDArray[Any]:
        """Return pixels that lie in the file as they are."""
        stored = self._layout.kind.dtype.newbyteorder(tiff.byteorder)
        pixels: NDArray[Any] = tiff.filehandle.read_array(stored, math.prod(shape), first_byte)
        return pixels


def open_stack(path: Path, *, labels: bool = False) -> TiffStack:
    """Return the gray stack in a TIFF file, to be read slice by slice.

    Raises:
        ConfigError: there is no such file.
        SourceError: the file is damaged, or not one stack of gray slices.
    """
    stack = TiffStack(path, labels=labels)
    if stack.channels:
        found = brief(", ".join(stack.channels))
        raise SourceError(f"{path}: expected gray pixels, found {len(stack.channels)} channels ({found}); save one")
    return stack


def read_stack(path: Path, *, labels: bool = False) -> NDArray[Any]:
    """Return the stack in a TIFF file as one (Z, Y, X) array, native byte order, C order.

    Raises:
        ConfigError: there is no such file.
        SourceError: the file is damaged, or not one stack of gray slices.
    """
    stack = open_stack(path, labels=labels)
    with tiff_errors(path):
        pixels = np.empty(stack.shape, stack.dtype)
    for z, image in enumerate(stack):
        pixels[z] = image
    return pixels


def write_stack(path: Path, stack: NDArray[Any]) -> None:
    """Write a (Z, Y, X) stack as an uncompressed multi-page TIFF, the same bytes every time.

    Raises:
        StorageError: the file cannot be written.
    """
    write_slices(path, stack, stack.shape, stack.dtype)


def write_slices(
    path: Path, slices: Iterable[NDArray[Any]], shape: tuple[int, ...], dtype: np.dtype[Any] | type
) -> None:
    """Write (Y, X) slices one by one, as `write_stack` writes a stack of that (Z, Y, X) shape; one is held at a time.

    Raises:
        StorageError: the file cannot be written.
    """
    n_bytes = math.prod(shape) * np.dtype(dtype).itemsize
    with whole_file(path, n_bytes=n_bytes) as file:
        tifffile.imwrite(
            file, iter(slices), shape=shape, dtype=dtype, bigtiff=n_bytes > _MAX_CLASSIC_BYTES,
            photometric="minisblack", metadata=None, software="", byteorder="<",
        )  # fmt: skip


def write_channels(
    path: Path, slices: Iterable[NDArray[np.float32]], shape: tuple[int, int, int], names: Sequence[str]
) -> None:
    """Write slices (C, Y, X) one by one as a float32 hyperstack of ImageJ with named channels; always the same bytes.

    Raises:
        ConfigError: it would be larger than such a file can be, 4 GB.
        StorageError: the file cannot be written.
    """
    depth, height, width = shape
    whole = (depth, len(names), height, width)
    n_bytes = math.prod(whole) * np.dtype(np.float32).itemsize
    if n_bytes > _MAX_CLASSIC_BYTES:
        raise ConfigError(f"{path}: {len(names)} channels of {shape} are more than 4 GB; write fewer slices at a time")
    metadata = {"axes": "ZCYX", "Labels": list(names) * depth, "mode": "grayscale"}
    with whole_file(path, n_bytes=n_bytes) as file:
        planes = (np.ascontiguousarray(plane, np.float32) for image in slices for plane in image)
        tifffile.imwrite(file, planes, shape=whole, dtype=np.float32, imagej=True, metadata=metadata, software="")


def _open(path: Path) -> tifffile.TiffFile:
    # what tifffile makes of the pages of some microscopes is of no use: they are found and checked one by one
    return tifffile.TiffFile(path, _multifile=False, is_lsm=False, is_ndpi=False, is_scanimage=False)


def _require_file(path: Path) -> None:
    if not path.is_file():
        found = "a folder" if path.is_dir() else "something else" if path.exists() else "nothing"
        raise ConfigError(f"{path}: expected a TIFF file, found {found}")


def _version(path: Path) -> tuple[int, int]:
    """Return what differs between two versions of a file."""
    status = path.stat()
    return status.st_size, status.st_mtime_ns
