"""One page of a TIFF file: whether it is a gray picture that is wholly there, checked before it is decoded."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from pipeline.errors import SourceError
from pipeline.source.tiff.failures import brief

# none, LZW, deflate (two codes), PackBits, LZMA, ZSTD (two codes)
_LOSSLESS = {1, 5, 8, 32946, 32773, 34925, 50000, 34926}
_PHOTOMETRIC_TAG = 262
_THUMBNAIL, _MASK = 1, 4  # bits of NewSubfileType
_LARGEST_TILE_BYTES = 1 << 26

_ADVICE = {
    "PALETTE": "its pixels are places in a table of colours; save it as gray (in ImageJ: Image > Type > 8-bit)",
    "RGB": "save it as gray, one channel (in ImageJ: Image > Type > 8-bit)",
}


@dataclass(frozen=True, slots=True)
class PageKind:
    """What all pages of a stack must have in common: shape in pixels, dtype as decoded, whether white is zero."""

    shape: tuple[int, int]
    dtype: np.dtype[Any]
    bits: int
    white_is_zero: bool

    @property
    def n_bytes(self) -> int:
        """Bytes of a decoded page."""
        return math.prod(self.shape) * self.dtype.itemsize

    def __str__(self) -> str:
        depth = "" if self.bits in (1, 8 * self.dtype.itemsize) else f" of {self.bits} bits"
        return f"{self.shape[0]} x {self.shape[1]} px, {self.dtype.name}{depth}{', white is zero' * self.white_is_zero}"


def is_thumbnail(page: tifffile.TiffPage, first: PageKind) -> bool:
    """Return whether a page says that it is a smaller version of another one, and is smaller than the first."""
    return bool(page.subfiletype & _THUMBNAIL) and math.prod(page.shape[:2]) < math.prod(first.shape)


def page_kind(page: tifffile.TiffPage, where: str) -> PageKind:
    """Return what kind of gray picture a page is.

    Raises:
        SourceError: it is not a gray picture of one channel, or of a kind that cannot be read.
    """
    gray = (tifffile.PHOTOMETRIC.MINISBLACK, tifffile.PHOTOMETRIC.MINISWHITE)
    if _PHOTOMETRIC_TAG in page.tags and page.photometric not in gray:
        name = brief(page.photometric)
        advice = _ADVICE.get(name, "save it as gray, one channel")
        raise SourceError(f"{where}: expected gray pixels, found {name}; {advice}")
    if page.subfiletype & _MASK:
        raise SourceError(f"{where}: is a transparency mask, not a slice; export the slices alone")
    if page.samplesperpixel != 1:
        raise SourceError(
            f"{where}: expected one channel, found {brief(page.samplesperpixel)} values a pixel; export one channel"
        )
    if len(page.shape) != 2 or not all(isinstance(side, int) and side > 0 for side in page.shape):
        raise SourceError(
            f"{where}: expected a picture of rows and columns, found {brief(page.shape)}; export it again"
        )
    if page.dtype is None:
        bits, form = brief(page.bitspersample), brief(page.sampleformat)
        raise SourceError(f"{where}: pixels of {bits} bits ({form}) cannot be read; save it as 8 or 16 bits")
    white_is_zero = _PHOTOMETRIC_TAG in page.tags and page.photometric == tifffile.PHOTOMETRIC.MINISWHITE
    height, width = page.shape
    return PageKind((height, width), np.dtype(page.dtype).newbyteorder("="), int(page.bitspersample), white_is_zero)


def require_lossless(page: tifffile.TiffPage, where: str) -> None:
    """Refuse a page that was stored so that its values may have changed.

    Raises:
        SourceError: its compression is lossy, or may be.
    """
    if page.compression not in _LOSSLESS:
        raise SourceError(
            f"{where}: expected labels stored without loss, found {brief(page.compression)}, which may change them; "
            "save them uncompressed, or with LZW or deflate"
        )


def require_whole(page: tifffile.TiffPage, kind: PageKind, where: str) -> None:
    """Refuse a page of which a strip or tile is missing, empty, too short, or beyond the end of the file.

    Raises:
        SourceError: it is not wholly there.
    """
    name, n_bytes = "tile" if page.is_tiled else "strip", page.parent.filehandle.size
    offsets, counts, expected = page.dataoffsets, page.databytecounts, _n_segments(page, kind, where)
    if not len(offsets) == len(counts) == expected:
        raise SourceError(
            f"{where}: expected {expected} {name}s, found {len(offsets)} (and {len(counts)} sizes of {name}s); "
            "export it again"
        )
    for index, (offset, count) in enumerate(zip(offsets, counts, strict=True)):
        if offset <= 0 or count <= 0:
            raise SourceError(f"{where}: {name} {index} is empty; it would read as black: export the stack again")
        if offset + count > n_bytes:
            raise SourceError(
                f"{where}: {name} {index} should end at byte {offset + count:,} of a file of {n_bytes:,}; the file is "
                "cut short: copy or export it again"
            )
        if page.compression == tifffile.COMPRESSION.NONE and count < (needed := _segment_bytes(page, kind, index)):
            raise SourceError(
                f"{where}: expected {needed:,} bytes in {name} {index}, found {count:,}; damaged: export it again"
            )
    # tifffile reads MetaMorph's and Zeiss's strips as one block, whatever the directory says of all but the first
    ends = [offset + count for offset, count in zip(offsets, counts, strict=True)]
    if page.is_contiguous and len(offsets) > 1 and (ends[:-1] != list(offsets[1:]) or sum(counts) != page.nbytes):
        raise SourceError(f"{where}: its {name}s do not follow each other; damaged: export it again")


def decode_page(page: tifffile.TiffPage, kind: PageKind) -> NDArray[Any]:
    """Return a page's pixels (Y, X) in native byte order."""
    pixels: NDArray[Any] = page.asarray(maxworkers=1).reshape(kind.shape)
    return pixels.astype(kind.dtype, copy=False)


def _n_segments(page: tifffile.TiffPage, kind: PageKind, where: str) -> int:
    """Return how many strips or tiles the page's size asks for."""
    height, width = kind.shape
    if not page.is_tiled:
        if page.rowsperstrip < 1:
            raise SourceError(f"{where}: strips of {page.rowsperstrip} rows; damaged: export it again")
        return math.ceil(height / page.rowsperstrip)
    tile_bytes = page.tilelength * page.tilewidth * kind.dtype.itemsize
    if not 0 < tile_bytes <= max(_LARGEST_TILE_BYTES, 2 * kind.n_bytes) or page.tiledepth != 1:
        raise SourceError(
            f"{where}: tiles of {page.tilelength} x {page.tilewidth} px for {height} x {width}; export it again"
        )
    return math.ceil(height / page.tilelength) * math.ceil(width / page.tilewidth)


def _segment_bytes(page: tifffile.TiffPage, kind: PageKind, index: int) -> int:
    """Return how many bytes a strip or tile has when it is not compressed."""
    if page.is_tiled:
        return int(page.tilelength) * math.ceil(page.tilewidth * kind.bits / 8)
    n_rows = min(page.rowsperstrip, kind.shape[0] - index * page.rowsperstrip)
    return n_rows * math.ceil(kind.shape[1] * kind.bits / 8)
