"""PNG pictures: their chunks are checked here, and the decoder sees no more of a file than its pixels.

PNG (Portable Network Graphics) Specification, third edition (W3C 2025). Gray levels of 1, 2 and 4 bits are spread to
0 to 255, as section 13.12 scales samples, so that it does not matter in how few bits a program saved black and white.
The indices of a palette are what they are, but in images where the palette is gray: there they are its gray levels.
"""

import struct
import zlib
from collections.abc import Iterator
from functools import partial
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.source.colours import RGB
from pipeline.source.pages.exif import require_upright
from pipeline.source.pages.picture import FoundPicture, PictureError, indexed_image, read_exactly

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}  # bits, by type of colour
_PALETTE = 3
_RGB, _ALPHA = (2, 6), (4, 6)
_KNOWN = {b"IHDR", b"PLTE", b"IDAT", b"IEND"}
_MAX_CHUNKS = 1 << 18  # those of 8 kB that most programs write would hold 2 GiB
_MAX_EXIF_BYTES = 1 << 20
_PART_BYTES = 1 << 30  # of a chunk that is written here
# The seven passes of an interlaced picture: first column, first row, columns and rows from one pixel to the next.
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


class _Header(NamedTuple):
    """What IHDR says: size in pixels, bits a pixel, type of colour, and whether the picture comes in seven passes."""

    width: int
    height: int
    bits: int
    colour: int
    compression: int
    filtering: int
    interlaced: int

    @property
    def n_values(self) -> int:
        """Values a pixel."""
        return (3 if self.colour in _RGB else 1) + (self.colour in _ALPHA)

    @property
    def passes(self) -> tuple["_Pass", ...]:
        """The passes that have any pixel; a picture that is not interlaced has one."""
        every = _ADAM7 if self.interlaced else ((0, 0, 1, 1),)
        return tuple(
            _Pass(column, row, step_x, step_y, -(-(self.width - column) // step_x), -(-(self.height - row) // step_y))
            for column, row, step_x, step_y in every
            if column < self.width and row < self.height
        )


class _Pass(NamedTuple):
    """The pixels of a picture that come together: the first, the steps to the next ones, and how many there are."""

    column: int
    row: int
    step_x: int
    step_y: int
    width: int
    height: int

    def n_bytes(self, bits: int) -> int:
        """Return what rows of so many bits a pixel take: each begins with a byte that says how it is filtered."""
        return self.height * (1 + -(-self.width * bits // 8))


def find_png(file: BinaryIO, n_bytes: int, labels: bool) -> FoundPicture:
    """Return the picture in a PNG file, whose chunks are all there.

    Raises:
        PictureError: it is not one whole picture.
        PixelError: it is an image whose pixels are places in a table of colours that is not gray, nor a tint.
    """
    if file.read(len(_SIGNATURE)) != _SIGNATURE:
        raise PictureError("not a PNG file (it does not begin like one); export it again as PNG")
    places: list[tuple[int, int]] = []  # where the data of each IDAT begin, and how many bytes they are
    header, before, palette = None, b"", None
    for name, place, length in _chunks(file, n_bytes):
        if (name == b"IHDR") != (header is None) or (name == b"IDAT" and places and before != b"IDAT"):
            raise PictureError(f"the chunk {name.decode('latin-1')!r} is out of place; damaged: export it again")
        if name == b"IHDR":
            header = _read_header(file, length)
        elif name == b"IDAT":
            places.append((place, length))
        elif name == b"acTL":
            raise PictureError("expected one picture, found an animation; save its pictures one by one")
        elif name[:1].isupper() and name not in _KNOWN:
            raise PictureError(f"the chunk {name.decode('latin-1')!r} is of no known kind; damaged: export it again")
        elif name == b"PLTE" and header and header.colour == _PALETTE:
            file.seek(place)
            palette = _read_palette(_read_data(file, name, length))
        elif name == b"eXIf" and not labels and length <= _MAX_EXIF_BYTES:
            file.seek(place)
            require_upright(_read_data(file, name, length))
        before = name
    if header is None or not places or (header.colour == _PALETTE and palette is None):
        raise PictureError("has no pixels, or no palette; damaged: export it again")
    size, dtype = (header.height, header.width), np.dtype(np.uint16 if header.bits == 16 else np.uint8)
    decode = partial(_decode, file, header, places)
    if palette is not None and not labels:
        return indexed_image(size, decode, palette)
    channels = RGB if header.colour in _RGB else ()
    return FoundPicture(size, dtype, decode, palette, channels, alpha=header.colour in _ALPHA)


def _read_palette(data: bytes) -> NDArray[np.uint16]:
    """Return a table of colours (3, N), from 0 to 65535."""
    if len(data) % 3 or not 0 < len(data) <= 3 * 256:
        raise PictureError(f"a table of colours of {len(data):,} bytes; damaged: export it again")
    return np.frombuffer(data, np.uint8).reshape(-1, 3).T.astype(np.uint16) * np.uint16(257)


def _chunks(file: BinaryIO, n_bytes: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, place and length of the data of every chunk up to IEND."""
    place, name = len(_SIGNATURE), b""
    for _ in range(_MAX_CHUNKS):
        if name == b"IEND":
            return
        file.seek(place)
        length, name = struct.unpack(">I4s", read_exactly(file, 8))
        if place + 12 + length > n_bytes:
            raise PictureError(f"its chunk at byte {place:,} ends beyond the file of {n_bytes:,}; copy it again")
        yield name, place + 8, length
        place += 12 + length  # length, name, data, checksum
    raise PictureError(f"more than {_MAX_CHUNKS:,} chunks; export it again")


def _read_header(file: BinaryIO, length: int) -> _Header:
    if length != 13:
        raise PictureError(f"a header of {length:,} bytes; damaged: export it again")
    header = _Header(*struct.unpack(">IIBBBBB", _read_data(file, b"IHDR", length)))
    if (
        not (0 < header.width < 1 << 31 and 0 < header.height < 1 << 31)
        or header.bits not in _DEPTHS.get(header.colour, ())
        or (header.compression, header.filtering) != (0, 0)
        or header.interlaced > 1
    ):
        raise PictureError(f"its header says {', '.join(map(str, header))}, which is no picture; export it again")
    return header


def _read_data(file: BinaryIO, name: bytes, length: int) -> bytes:
    """Return the data of a chunk, which begin where the file is."""
    data = read_exactly(file, length)
    (checksum,) = struct.unpack(">I", read_exactly(file, 4))
    if zlib.crc32(data, zlib.crc32(name)) != checksum:
        raise PictureError(f"the checksum of a chunk {name.decode()} is wrong; damaged: copy it again")
    return data


def _decode(file: BinaryIO, header: _Header, places: list[tuple[int, int]]) -> NDArray[Any]:
    """Return the pixels, (Y, X) or (Y, X, N)."""
    if not header.interlaced:
        (whole,) = header.passes
        pixels = _decode_rows(_inflate(file, header, places), whole, header)
    else:
        rows = memoryview(_inflate(file, header, places))
        shape = (header.height, header.width, *([header.n_values] if header.n_values > 1 else []))
        pixels = np.empty(shape, np.uint16 if header.bits == 16 else np.uint8)
        begin = 0
        for each in header.passes:
            end = begin + each.n_bytes(header.bits * header.n_values)
            part = _decode_rows(bytes(rows[begin:end]), each, header)
            pixels[each.row :: each.step_y, each.column :: each.step_x] = part
            begin = end
    if header.colour == _PALETTE and header.bits < 8:
        pixels //= np.uint8(255 // (2**header.bits - 1))  # indices were spread like gray levels
    return pixels


def _inflate(file: BinaryIO, header: _Header, places: list[tuple[int, int]]) -> bytes:
    """Return the filtered rows of all passes, exactly as many as the header says; never more are made."""
    expected = sum(each.n_bytes(header.bits * header.n_values) for each in header.passes)
    parts = []
    for place, length in places:
        file.seek(place)
        parts.append(_read_data(file, b"IDAT", length))
    inflater = zlib.decompressobj()
    try:
        rows = inflater.decompress(b"".join(parts), expected + 1)
    except zlib.error as error:
        raise PictureError(f"its pixels cannot be inflated ({error}); damaged: export it again") from error
    if len(rows) != expected or not inflater.eof:
        found = "fewer" if len(rows) < expected else "more"
        raise PictureError(f"expected {expected:,} bytes of pixels, found {found}; damaged: export it again")
    return rows


def _decode_rows(rows: bytes, each: _Pass, header: _Header) -> NDArray[Any]:
    """Return the pixels of a pass, decoded as a picture of its own; indices are decoded as if they were gray levels."""
    import imagecodecs

    packed = memoryview(zlib.compress(rows, level=0))
    del rows  # a large picture is held twice, not four times
    colour = 0 if header.colour == _PALETTE else header.colour
    head = struct.pack(">IIBBBBB", each.width, each.height, header.bits, colour, 0, 0, 0)
    chunks = [(b"IHDR", memoryview(head))]
    chunks += [(b"IDAT", packed[begin : begin + _PART_BYTES]) for begin in range(0, len(packed), _PART_BYTES)]
    chunks += [(b"IEND", memoryview(b""))]
    pieces: list[bytes | memoryview] = [_SIGNATURE]
    for name, data in chunks:
        checksum = zlib.crc32(data, zlib.crc32(name))
        pieces += [struct.pack(">I", len(data)), name, data, struct.pack(">I", checksum)]
    picture = b"".join(pieces)
    del packed, chunks, pieces, data
    pixels: NDArray[Any] = imagecodecs.png_decode(picture)
    return pixels.reshape(each.height, each.width, *([header.n_values] if header.n_values > 1 else []))
