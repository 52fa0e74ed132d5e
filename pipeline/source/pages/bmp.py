"""BMP pictures: uncompressed, with a table of colours, or in RGB.

BITMAPFILEHEADER and BITMAPINFOHEADER as Microsoft documents them for Windows GDI.
"""

import struct
from functools import partial
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.source.colours import RGB
from pipeline.source.pages.picture import FoundPicture, PictureError, indexed_image, look_up, read_exactly

_FILE_HEADER_BYTES, _MIN_HEADER_BYTES = 14, 40
_INDEXED, _COLOURS = (1, 4, 8), (24, 32)  # bits a pixel
_MASKED = 3  # a kind of "compression": the header says which bits are which colour
_MASKS = (0xFF0000, 0xFF00, 0xFF)  # red, green, blue; as they are where the header says nothing


class _Header(NamedTuple):
    """Where the rows of a picture begin, its size, and bits a pixel; rows come from the bottom unless `top_down`."""

    place: int
    width: int
    height: int
    bits: int
    top_down: bool

    @property
    def row_bytes(self) -> int:
        """Bytes of a row, which ends with a whole word of four."""
        return 4 * -(-self.width * self.bits // 32)


def find_bmp(file: BinaryIO, n_bytes: int, labels: bool) -> FoundPicture:
    """Return the picture in a BMP file, whose rows are all there.

    Where its table is gray, a pixel is its gray level; else it is its place in the table, of labels, and of images if
    the table only tints them. The fourth byte of 32 bits is alpha.

    Raises:
        PictureError: it is not one whole picture.
        PixelError: it is an image whose pixels are places in a table of colours that is not gray, nor a tint.
    """
    if file.read(2) != b"BM":
        raise PictureError("not a BMP file (it does not begin like one); export it again as BMP")
    _, _, place, size = struct.unpack("<IIII", read_exactly(file, 16))
    if not _MIN_HEADER_BYTES <= size <= 1 << 10:
        raise PictureError(f"a header of {size:,} bytes, which is not read; export it again as PNG or TIFF")
    width, height, _, bits, compression, _, _, _, n_colours = struct.unpack("<iiHHIIiiI", read_exactly(file, 32))
    if bits == 16:
        raise PictureError("its colours have 16 bits together, which are not read; export it again as PNG or TIFF")
    if bits not in (*_INDEXED, *_COLOURS) or width < 1 or height == 0 or (bits in _INDEXED and n_colours > 1 << bits):
        raise PictureError(f"its header says {width} x {height} px of {bits} bits; damaged: export it again")
    masked = compression == _MASKED and bits == 32
    if compression and not (masked and struct.unpack("<4xIII", read_exactly(file, 16)) == _MASKS):
        raise PictureError("its pixels are compressed, which is not read in BMP; export it again as PNG or TIFF")
    header = _Header(place, width, abs(height), bits, height < 0)
    if place + header.height * header.row_bytes > n_bytes:
        raise PictureError(f"its rows end beyond the file of {n_bytes:,} bytes; cut short: copy it again")
    found = (header.height, width)
    if bits in _COLOURS:
        decode = partial(_decode_colours, file, header)
        return FoundPicture(found, np.dtype(np.uint8), decode, channels=RGB, alpha=bits == 32)
    file.seek(_FILE_HEADER_BYTES + size)
    n_colours = n_colours or 1 << bits
    entries = np.frombuffer(read_exactly(file, 4 * n_colours), np.uint8).reshape(n_colours, 4)
    table = entries[:, 2::-1].T.astype(np.uint16) * np.uint16(257)  # blue comes first
    decode = partial(_decode, file, header)
    if not labels or (table == table[:1]).all():
        return indexed_image(found, decode, table)
    levels = np.arange(n_colours, dtype=np.uint8)
    return FoundPicture(found, np.dtype(np.uint8), lambda: look_up(levels, decode()), table)


def _read_rows(file: BinaryIO, header: _Header) -> NDArray[np.uint8]:
    """Return the bytes of every row, from the top."""
    file.seek(header.place)
    data = read_exactly(file, header.height * header.row_bytes)
    rows = np.frombuffer(data, np.uint8).reshape(header.height, header.row_bytes)
    return rows if header.top_down else rows[::-1]


def _decode_colours(file: BinaryIO, header: _Header) -> NDArray[Any]:
    """Return the pixels, (Y, X, 3), or (Y, X, 4) with alpha.

    Of 32 bits, many programs leave the fourth byte 0 in all pixels: it stands for nothing then.
    """
    n_values = header.bits // 8
    rows = _read_rows(file, header)[:, : header.width * n_values]
    pixels = rows.reshape(header.height, header.width, n_values)
    alpha = pixels[..., 3:]
    return np.concatenate([pixels[..., 2::-1], alpha if alpha.any() else ~alpha], axis=-1)


def _decode(file: BinaryIO, header: _Header) -> NDArray[Any]:
    """Return the pixels (Y, X), which are places in the table."""
    rows = _read_rows(file, header)
    if header.bits == 1:
        rows = np.unpackbits(rows, axis=1)
    elif header.bits == 4:
        rows = np.stack([rows >> 4, rows & 15], axis=2).reshape(header.height, -1)
    return rows[:, : header.width]
