"""Gray BMP pictures: uncompressed, with a table of gray levels.

BITMAPFILEHEADER and BITMAPINFOHEADER as Microsoft documents them for Windows GDI.
"""

import struct
from functools import partial
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.source.pages.picture import COLOUR_IMAGE, COLOUR_LABEL, FoundPicture, PictureError, read_exactly

_FILE_HEADER_BYTES, _MIN_HEADER_BYTES = 14, 40
_INDEXED, _COLOURS = (1, 4, 8), (16, 24, 32)  # bits a pixel


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

    Where its table is gray, a pixel is its gray level; else it is its place in the table, which is labels' alone.

    Raises:
        PictureError: it is not one whole picture in gray.
    """
    if file.read(2) != b"BM":
        raise PictureError("not a BMP file (it does not begin like one); export it again as BMP")
    _, _, place, size = struct.unpack("<IIII", read_exactly(file, 16))
    if not _MIN_HEADER_BYTES <= size <= 1 << 10:
        raise PictureError(f"a header of {size:,} bytes, which is not read; export it again as PNG or TIFF")
    width, height, _, bits, compression, _, _, _, n_colours = struct.unpack("<iiHHIIiiI", read_exactly(file, 32))
    if bits in _COLOURS:
        advice = COLOUR_LABEL if labels else COLOUR_IMAGE
        raise PictureError(f"expected gray pixels, found colours of {bits} bits; {advice}")
    if bits not in _INDEXED or width < 1 or height == 0 or n_colours > 1 << bits:
        raise PictureError(f"its header says {width} x {height} px of {bits} bits; damaged: export it again")
    if compression:
        raise PictureError("its pixels are compressed, which is not read in BMP; export it again as PNG or TIFF")
    header = _Header(place, width, abs(height), bits, height < 0)
    if place + header.height * header.row_bytes > n_bytes:
        raise PictureError(f"its rows end beyond the file of {n_bytes:,} bytes; cut short: copy it again")
    file.seek(_FILE_HEADER_BYTES + size)
    n_colours = n_colours or 1 << bits
    table = np.frombuffer(read_exactly(file, 4 * n_colours), np.uint8).reshape(n_colours, 4)[:, :3]
    is_gray = bool((table == table[:, :1]).all())
    if not is_gray and not labels:
        raise PictureError(f"expected gray pixels, found places in a table of colours; {COLOUR_IMAGE}")
    values = table[:, 0] if is_gray else np.arange(n_colours, dtype=np.uint8)
    palette = None if is_gray else table[:, ::-1].T.astype(np.uint16) * np.uint16(257)  # blue comes first
    return FoundPicture((header.height, width), np.dtype(np.uint8), partial(_decode, file, header, values), palette)


def _decode(file: BinaryIO, header: _Header, values: NDArray[np.uint8]) -> NDArray[Any]:
    """Return the pixels (Y, X)."""
    file.seek(header.place)
    data = read_exactly(file, header.height * header.row_bytes)
    rows = np.frombuffer(data, np.uint8).reshape(header.height, header.row_bytes)
    if header.bits == 1:
        rows = np.unpackbits(rows, axis=1)
    elif header.bits == 4:
        rows = np.stack([rows >> 4, rows & 15], axis=2).reshape(header.height, -1)
    places = rows[:, : header.width] if header.top_down else rows[::-1, : header.width]
    if places.max() >= len(values):
        raise PictureError(f"a pixel of {places.max()} in a table of {len(values)} colours; damaged: export it again")
    return values[places]
