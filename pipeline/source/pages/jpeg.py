"""JPEG pictures, gray or RGB: their segments are checked here, and the decoder sees no more of a file than the picture.

ITU-T T.81 (JPEG), annex B: segments; JFIF; Exif 2.32 (CIPA DC-008). Decoders differ by a gray
level, so which one it was is remembered beside the pixels' digest: `jpeg_decoder`.
"""

import re
import struct
from collections.abc import Iterator
from functools import partial
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.source.colours import RGB
from pipeline.source.pages.exif import require_upright
from pipeline.source.pages.picture import FoundPicture, PictureError, read_exactly

SUFFIXES = (".jpg", ".jpeg")

_SOI, _EOI, _SOS, _APP1 = 0xD8, 0xD9, 0xDA, 0xE1
_EXIF = b"Exif\0\0"
_FRAMES = {0xC0, 0xC1, 0xC2}  # baseline, extended sequential, progressive; all with Huffman codes
_OTHER_FRAMES = {
    **dict.fromkeys((0xC3, 0xCB), "lossless JPEG"),
    **dict.fromkeys((0xC5, 0xC6, 0xC7, 0xCD, 0xCE, 0xCF), "hierarchical JPEG"),
    **dict.fromkeys((0xC9, 0xCA), "JPEG with arithmetic codes"),
}
_NEXT_MARKER = re.compile(rb"\xff[\x01-\xfe]")  # in coded pixels, ff 00 is the byte ff, and ff ff fills
_RESTARTS = range(0xD0, 0xD8)
_MAX_BYTES = 1 << 30
_MAX_SEGMENTS, _MAX_PARTS = 1 << 12, 1 << 18
_MAX_SCANS, _MAX_SCANNED_PX = 64, 1 << 29  # every scan of a progressive picture goes over all its pixels
_DTYPES: dict[int, np.dtype[Any]] = {8: np.dtype(np.uint8), 12: np.dtype(np.uint16)}
_AGAIN = "export it again as PNG or TIFF"
# What follows a part of coded pixels must not matter: a decoder that runs out of bits goes on with zeros instead.
_FILLER = bytes.fromhex("a5") * 64


class _Frame(NamedTuple):
    """What the frame's header says: bits a value, size in pixels, values a pixel."""

    bits: int
    height: int
    width: int
    n_values: int


def jpeg_decoder() -> str:
    """Return the name and version of what decodes JPEG."""
    import imagecodecs

    return str(imagecodecs.jpeg8_version())


def find_jpeg(file: BinaryIO, n_bytes: int, labels: bool) -> FoundPicture:
    """Return the picture in a JPEG file, gray or RGB, of 8 bits or of 12 as 16, all of whose parts are there.

    Raises:
        PictureError: it is not one whole such picture, is meant to be shown turned, or is for labels.
    """
    if labels:
        raise PictureError(
            "expected labels stored without loss, found JPEG, which may change them; export them again as PNG or TIFF"
        )
    if n_bytes > _MAX_BYTES:
        raise PictureError(f"a file of {n_bytes:,} bytes, over {_MAX_BYTES:,}; {_AGAIN}")
    data = read_exactly(file, n_bytes)
    if data[:3] != b"\xff\xd8\xff":
        raise PictureError("not a JPEG file (it does not begin like one); export it again as JPEG, PNG or TIFF")
    frame, end, parts = _find_parts(data)
    n_scanned = frame.height * frame.width * len({scan for scan, _ in parts})
    if n_scanned > max(_MAX_SCANNED_PX, 1000 * n_bytes):
        raise PictureError(f"{n_bytes:,} bytes that would be decoded into {n_scanned:,} pixels; {_AGAIN}")
    ends = [place for _, place in parts]
    channels = RGB if frame.n_values == 3 else ()
    decode = partial(_decode, data[:end], ends, frame)
    return FoundPicture((frame.height, frame.width), _DTYPES[frame.bits], decode, channels=channels)


def _find_parts(data: bytes) -> tuple[_Frame, int, list[tuple[int, int]]]:
    """Return the frame, where the picture ends, and the scan and the end of every part of coded pixels."""
    frame: _Frame | None = None
    parts: list[tuple[int, int]] = []
    n_scans = 0
    for marker, body, place in _segments(data):
        if marker in _FRAMES:
            if frame is not None:
                raise PictureError("has two frames; damaged: export it again")
            frame = _read_frame(body)
        elif marker == _APP1 and body[:6] == _EXIF:
            require_upright(body[6:])
        elif marker == _SOS:
            n_scans += 1
            if frame is None or n_scans > _MAX_SCANS:
                raise PictureError(f"scans without a frame, or more than {_MAX_SCANS}; {_AGAIN}")
            parts += [(n_scans, end) for end in _part_ends(data, place)]
    if frame is None or not parts:
        raise PictureError("has no pixels; damaged: export it again")
    return frame, place, parts


def _segments(data: bytes) -> Iterator[tuple[int, bytes, int]]:
    """Yield the marker of every segment up to the end of the picture, what is in it, and where what follows begins."""
    place = 2
    for _ in range(_MAX_SEGMENTS):
        while data[place : place + 2] == b"\xff\xff":
            place += 1
        lead, marker = data[place : place + 2].ljust(2, b"\xff")
        if lead != 0xFF:
            raise PictureError(f"no segment begins at byte {place:,}; damaged: export it again")
        if marker == _EOI:
            yield marker, b"", place + 2
            return
        if place + 4 > len(data):
            raise PictureError("the file is cut short; copy it again")
        (length,) = struct.unpack_from(">H", data, place + 2)
        body = data[place + 4 : place + 2 + length]
        if length < 2 or len(body) != length - 2 or marker == _SOI or marker in _RESTARTS:
            raise PictureError(f"the segment at byte {place:,} is out of place or cut short; damaged: copy it again")
        if marker in _OTHER_FRAMES:
            raise PictureError(f"{_OTHER_FRAMES[marker]} is not read; {_AGAIN}")
        place += 2 + length
        yield marker, body, place
        if marker == _SOS:
            place = _part_ends(data, place)[-1]
    raise PictureError(f"more than {_MAX_SEGMENTS:,} segments; {_AGAIN}")


def _part_ends(data: bytes, begin: int) -> list[int]:
    """Return where the parts of a scan's coded pixels end: each but the last is followed by a restart."""
    ends: list[int] = []
    for found in _NEXT_MARKER.finditer(data, begin):
        ends.append(found.start())
        if data[found.start() + 1] not in _RESTARTS:
            return ends
        if len(ends) > _MAX_PARTS:
            raise PictureError(f"more than {_MAX_PARTS:,} parts of coded pixels; {_AGAIN}")
    raise PictureError("the file is cut short; copy it again")


def _read_frame(body: bytes) -> _Frame:
    if len(body) < 6:
        raise PictureError("a header that is too short; damaged: export it again")
    frame = _Frame(*struct.unpack_from(">BHHB", body))
    if frame.n_values == 4:
        raise PictureError("expected gray or RGB pixels, found CMYK, colours for printing; save it as gray or RGB")
    if frame.n_values not in (1, 3) or frame.bits not in _DTYPES or not frame.height or not frame.width:
        found = f"{frame.width} x {frame.height} px of {frame.n_values} values of {frame.bits} bits"
        raise PictureError(f"its header says {found}, which is not read; {_AGAIN}")
    return frame


def _decode(data: bytes, ends: list[int], frame: _Frame) -> NDArray[Any]:
    """Return the pixels (Y, X) or (Y, X, 3).

    The decoder forgives coded pixels that end too early, and makes up the rest. These are found by decoding twice, the
    second time with more bytes after each part: where none is missing, they change nothing.
    """
    import imagecodecs

    pixels: NDArray[Any] = imagecodecs.jpeg8_decode(data)
    shape = (frame.height, frame.width, 3) if frame.n_values == 3 else (frame.height, frame.width)
    if pixels.shape != shape or pixels.dtype != _DTYPES[frame.bits]:
        raise PictureError(f"decoded as {pixels.shape} {pixels.dtype}, expected {shape}; {_AGAIN}")
    pieces = [data[begin:end] for begin, end in zip([0, *ends], [*ends, len(data)], strict=True)]
    if not np.array_equal(imagecodecs.jpeg8_decode(_FILLER.join(pieces)), pixels):
        raise PictureError("some of its coded pixels are missing; damaged: copy it again")
    return pixels
