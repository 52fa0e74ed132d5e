"""The pages of a TIFF file: where they are, what their pixels are, and whether each is wholly there."""

import math
import struct
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tifffile
from numpy.typing import NDArray

from pipeline.errors import SourceError
from pipeline.source.colours import ONE_VALUE, RGB, TINT_NOTE, Values, require_tint
from pipeline.source.tiff.failures import TiffError, brief

_MAX_PAGES = 10**5
_MAX_TAGS = 4096
_MAX_TILE_BYTES = 1 << 26

# none, LZW, deflate (two codes), PackBits, LZMA, ZSTD (two codes)
_LOSSLESS = {1, 5, 8, 32946, 32773, 34925, 50000, 34926}
_PHOTOMETRIC_TAG, _ORIENTATION_TAG = 262, 274
_PHOTOMETRIC = tifffile.PHOTOMETRIC
# Of what a pixel may be, how many values that takes; more are an alpha channel, or channels.
_COLOURS: dict[int, int] = {
    _PHOTOMETRIC.MINISBLACK: 1,
    _PHOTOMETRIC.MINISWHITE: 1,
    _PHOTOMETRIC.PALETTE: 1,
    _PHOTOMETRIC.RGB: 3,
}
_ALPHA = (tifffile.EXTRASAMPLE.ASSOCALPHA, tifffile.EXTRASAMPLE.UNASSALPHA)
_MAX_VALUES = 4096
_JPEGS = (6, 7, 33007, 34892)  # whose tables are kept elsewhere
_THUMBNAIL, _MASK = 1, 4  # bits of NewSubfileType

# What to do where one value may have two meanings.
TWO_TABLES = (
    "if each number means the same in all, save them as plain gray (in Python: numpy.array(PIL.Image.open(FILE)), then "
    "tifffile.imwrite); if each colour does, save them as RGB, for --label-colors"
)


class PageAddress(NamedTuple):
    """Where a page is: its number in the file's chain of directories, and the byte at which its directory begins."""

    number: int
    offset: int


@dataclass(frozen=True, slots=True)
class PageKind:
    """What all pages of a stack must have in common.

    Attributes:
        shape: (height, width) in pixels.
        dtype: as decoded.
        bits: of a value in the file.
        white_is_zero: whether a higher value is darker.
        colours: the page's table of colours, uint16 (3, N), in bytes; None where its pixels are no places in one.
        values: what the values of a pixel are.
        planar: whether several values lie in planes of their own.
        is_upright: whether the file does not say that it is to be turned or mirrored.
    """

    shape: tuple[int, int]
    dtype: np.dtype[Any]
    bits: int
    white_is_zero: bool
    colours: bytes | None = None
    values: Values = ONE_VALUE
    planar: bool = False
    is_upright: bool = field(default=True, compare=False)

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """(Y, X); of several values (Y, X, N), or (N, Y, X) in planes."""
        if self.values.n == 1:
            return self.shape
        return (self.values.n, *self.shape) if self.planar else (*self.shape, self.values.n)

    @property
    def n_bytes(self) -> int:
        """Bytes of a decoded page."""
        return math.prod(self.stored_shape) * self.dtype.itemsize

    @property
    def notes(self) -> tuple[str, ...]:
        """What to say of pixels that are read otherwise than they are shown."""
        found = []
        if self.white_is_zero and self.dtype.kind == "f":
            found.append(
                f"the file shows zero as white, as an inverting look-up table does; its {self.dtype.name} pixels are "
                "read as they are"
            )
        if self.colours is not None:
            found.append(TINT_NOTE)
        if not self.is_upright:
            found.append(
                "its tag Orientation says that it is to be shown turned or mirrored; its pixels are read as they lie "
                "in the file, so that labels must lie alike"
            )
        return tuple(found)

    def __str__(self) -> str:
        depth = "" if self.bits in (1, 8 * self.dtype.itemsize) else f" of {self.bits} bits"
        white = ", places in a table of colours" if self.colours is not None else ""
        white += ", white is zero" if self.white_is_zero else ""
        values = f", {self.values}{' in planes' if self.planar else ''}" if self.values.n > 1 else ""
        return f"{self.shape[0]} x {self.shape[1]} px, {self.dtype.name}{depth}{values}{white}"


def find_pages(path: Path) -> tuple[PageAddress, ...]:
    """Return where the pages of a file are, in the order of its chain of directories; there is at least one.

    tifffile looks for a circle once, after a hundred pages, and would follow a later one until memory runs out. Layouts
    of header and directory: TIFF 6.0, section 2, and the BigTIFF proposal.

    Raises:
        SourceError: the file is not a TIFF file, or its chain is broken or runs in a circle.
        OSError: the file cannot be read.
    """
    n_bytes = path.stat().st_size
    with path.open("rb") as file:
        order = {b"II": "<", b"MM": ">"}.get(file.read(2))
        version = struct.unpack(f"{order}H", file.read(2).ljust(2, b"\0"))[0] if order else 0
        if version not in (42, 43):
            raise SourceError(f"{path}: not a TIFF file (it does not begin like one); export the stack as TIFF")
        # classic TIFF: 2-byte count of tags, 12 bytes a tag, 4-byte offsets; BigTIFF: 8, 20 and 8
        first, count, tag_bytes, offset = (4, "H", 12, "I") if version == 42 else (8, "Q", 20, "Q")
        pages: dict[int, int] = {}  # number of each page by its offset, in the order of the chain

        def read_number(form: str) -> int:
            size = struct.calcsize(f"{order}{form}")
            data = file.read(size)
            if len(data) < size:
                raise SourceError(f"{where}: the file is cut short in its directory; copy it again")
            return int(struct.unpack(f"{order}{form}", data)[0])

        where = f"{path}, page 0"
        file.seek(first)
        place = read_number(offset)
        while place:  # `pages` are all the directories before the one at `place`, which must be a new one
            where = f"{path}, page {len(pages)}"
            if place in pages:
                raise SourceError(f"{where}: points back to page {pages[place]}, an endless chain; export it again")
            if place >= n_bytes:
                raise SourceError(
                    f"{where}: begins at byte {place:,} of a file of {n_bytes:,}; cut short: copy it again"
                )
            if len(pages) == _MAX_PAGES:
                raise SourceError(f"{where}: is one of more than {_MAX_PAGES}; export the stack in parts")
            pages[place] = len(pages)
            file.seek(place)
            n_tags = read_number(count)
            if not 0 < n_tags <= _MAX_TAGS:
                raise SourceError(f"{where}: claims {n_tags:,} tags; damaged: export it again")
            file.seek(n_tags * tag_bytes, 1)
            place = read_number(offset)
    if not pages:
        raise SourceError(f"{path}: a TIFF file without a page; export it again")
    return tuple(PageAddress(number, place) for place, number in pages.items())


def read_page(tiff: tifffile.TiffFile, address: PageAddress) -> tifffile.TiffPage:
    """Return one page with all its tags, whatever tifffile thinks of the chain."""
    tiff.filehandle.seek(address.offset)
    return tifffile.TiffPage(tiff, address.number)


def read_rows(
    tiff: tifffile.TiffFile, address: PageAddress, kind: PageKind, top: int, bottom: int
) -> NDArray[Any] | None:
    """Return some rows of a page that is compressed in strips or tiles, decoded alone; None where that cannot be.

    Args:
        tiff: the open file.
        address: of the page, whose strips or tiles have been found to be all there.
        kind: of the page.
        top: the first of the rows.
        bottom: the one after the last.
    """
    page = read_page(tiff, address)
    if page.is_contiguous or page.compression in _JPEGS or kind.planar:
        return None
    tiled = page.is_tiled
    height = page.tilelength if tiled else page.rowsperstrip
    across = math.ceil(kind.shape[1] / page.tilewidth) if tiled else 1
    segments = range(top // height * across, math.ceil(bottom / height) * across)
    offsets, counts = ([each[index] for index in segments] for each in (page.dataoffsets, page.databytecounts))
    page.init_decode()
    pixels = np.empty((bottom - top, kind.shape[1], kind.values.n), kind.dtype)
    for data, index in tiff.filehandle.read_segments(offsets, counts, indices=segments, flat=True):
        decoded, (_, _, y, x, _), _ = page.decode(data, index, _fullsize=tiled)
        if decoded is None:
            raise TiffError(f"{'tile' if tiled else 'strip'} {index} is empty; export the stack again")
        part = decoded[0, max(0, top - y) : bottom - y, : kind.shape[1] - x]
        place = max(0, y - top)
        pixels[place : place + len(part), x : x + part.shape[1]] = part
    return pixels


def first_byte(page: tifffile.TiffPage) -> int | None:
    """Return where a page's pixels begin in the file, if they lie there as they are, in one block; else None."""
    return int(page.dataoffsets[0]) if page.is_contiguous and page.fillorder == 1 else None


def is_thumbnail(page: tifffile.TiffPage, first: PageKind) -> bool:
    """Return whether a page says that it is a smaller version of another one, and is smaller than the first."""
    return bool(page.subfiletype & _THUMBNAIL) and math.prod(page.shape[:2]) < math.prod(first.shape)


def page_kind(page: tifffile.TiffPage, *, labels: bool) -> PageKind:
    """Return what kind of picture a page is.

    Raises:
        TiffError: its pixels are of a kind that cannot be read.
        PixelError: they are places in a table of colours, and are no labels nor gray levels that are only tinted.
    """
    # tifffile takes a page without the photometric tag for white is zero: only a tag that is there counts
    declared = page.photometric if _PHOTOMETRIC_TAG in page.tags else _PHOTOMETRIC.MINISBLACK
    if declared not in _COLOURS:
        raise TiffError(f"expected gray or RGB pixels, found {brief(declared)}; save it as gray or RGB")
    if page.subfiletype & _MASK:
        raise TiffError("is a transparency mask, not a slice; export the slices alone")
    values, planar = _values(page, _COLOURS[declared]), page.planarconfig == tifffile.PLANARCONFIG.SEPARATE
    if values.n > 1 and declared == _PHOTOMETRIC.MINISWHITE:
        raise TiffError(f"expected one value a pixel where white is zero, found {values.n}; save it as gray or RGB")
    # a damaged tag may make a side a fraction or zero, and tifffile gives volumes further axes
    height, width = page.imagelength, page.imagewidth
    if not all(isinstance(side, int) and side > 0 for side in (height, width)):
        raise TiffError(f"expected rows and columns of pixels, found {brief(page.shape)}; export it again")
    if page.dtype is None or not isinstance(page.bitspersample, int):
        depth, form = brief(page.bitspersample), brief(page.sampleformat)
        raise TiffError(f"pixels of {depth} bits ({form}) cannot be read; save it as 8 or 16 bits")
    white_is_zero = declared == _PHOTOMETRIC.MINISWHITE
    dtype, bits = np.dtype(page.dtype).newbyteorder("="), page.bitspersample
    colours = _colours(page) if declared == _PHOTOMETRIC.PALETTE else None
    orientation = page.tags.valueof(_ORIENTATION_TAG, default=1)
    kind = PageKind(
        (height, width),
        dtype,
        bits,
        white_is_zero,
        colours,
        values,
        planar and values.n > 1,
        is_upright=orientation not in range(2, 9),
    )
    if page.shape != kind.stored_shape:
        raise TiffError(f"expected rows and columns of pixels, found {brief(page.shape)}; export it again")
    if colours is not None and not labels:
        require_tint(np.frombuffer(colours, "<u2").reshape(3, -1))
    return kind


def _values(page: tifffile.TiffPage, n_colours: int) -> Values:
    """Return what the values of a page's pixels are, of which so many are its colours."""
    n, extra = page.samplesperpixel, page.extrasamples
    if not isinstance(n, int) or n < n_colours or n > _MAX_VALUES:
        raise TiffError(f"expected {n_colours} to {_MAX_VALUES:,} values a pixel, found {brief(n)}; export it again")
    if n == n_colours + 1 and len(extra) == 1 and extra[0] in _ALPHA:
        return Values(RGB if n_colours > 1 else (), alpha=True)
    if any(each in _ALPHA for each in extra):
        raise TiffError(f"an alpha channel among {n} values a pixel; save all as channels without transparency")
    if n == 1:
        return ONE_VALUE
    return Values((*RGB, *map(str, range(n_colours, n))) if n_colours > 1 else tuple(map(str, range(n))))


def _colours(page: tifffile.TiffPage) -> bytes:
    """Return a page's table of colours in bytes, uint16 (3, N); nothing where it has none that can be read."""
    table = page.colormap
    if not isinstance(table, np.ndarray) or table.ndim != 2 or len(table) != 3:
        return b""
    return table.astype("<u2").tobytes()


def require_slice(page: tifffile.TiffPage, kind: PageKind, *, labels: bool) -> None:
    """Refuse a page that is not a whole slice of the same stack as the first one.

    Args:
        page: any page of the stack.
        kind: of the first page.
        labels: whether the values must be stored without loss.

    Raises:
        TiffError: it is of another kind, begins another series, may have changed its values, or is not wholly there.
        PixelError: see `page_kind`.
    """
    if (found := page_kind(page, labels=labels)) != kind:
        if replace(found, colours=kind.colours) == kind:
            raise TiffError(f"its pixels stand for other colours than those of page 0; {TWO_TABLES}")
        raise TiffError(f"{found}, but page 0 is {kind}; expected one series of equal slices: export the stack alone")
    if page.index and page.is_shaped:  # tifffile describes the first page of every series that it writes
        raise TiffError("another image series begins here; expected one: export the stack alone")
    if labels and page.compression not in _LOSSLESS:
        raise TiffError(
            f"expected labels stored without loss, found {brief(page.compression)}, which may change them; "
            "save them uncompressed, or with LZW or deflate"
        )
    _require_whole(page, kind)


def _require_whole(page: tifffile.TiffPage, kind: PageKind) -> None:
    """Refuse a page of which a strip or tile is missing, empty, too short, or beyond the end of the file."""
    name, n_bytes = "tile" if page.is_tiled else "strip", page.parent.filehandle.size
    offsets, counts, expected = page.dataoffsets, page.databytecounts, _count_segments(page, kind)
    if not len(offsets) == len(counts) == expected:
        raise TiffError(f"expected {expected} {name}s, found {len(offsets)} (and {len(counts)} sizes); export it again")
    ends = [offset + count for offset, count in zip(offsets, counts, strict=True)]
    for index, (offset, count, end) in enumerate(zip(offsets, counts, ends, strict=True)):
        if offset <= 0 or count <= 0:  # tifffile decodes such a segment as zeros
            raise TiffError(f"{name} {index} is empty; it would read as black: export the stack again")
        if end > n_bytes:
            raise TiffError(f"{name} {index} ends at byte {end:,} of a file of {n_bytes:,}; cut short: copy it again")
        if page.compression == tifffile.COMPRESSION.NONE and count < (needed := _segment_bytes(page, kind, index)):
            raise TiffError(f"expected {needed:,} bytes in {name} {index}, found {count:,}; damaged: export it again")
    # tifffile reads MetaMorph's and Zeiss's strips as one block, whatever the directory says of all but the first
    if page.is_contiguous and len(offsets) > 1 and (ends[:-1] != list(offsets[1:]) or sum(counts) != page.nbytes):
        raise TiffError(f"its {name}s do not follow each other; damaged: export it again")


def _count_segments(page: tifffile.TiffPage, kind: PageKind) -> int:
    """Return how many strips or tiles the page's size asks for."""
    (height, width), n_planes = kind.shape, kind.values.n if kind.planar else 1
    if not page.is_tiled:
        return n_planes * _strips_in_plane(page, kind)
    tile_bytes = page.tilelength * page.tilewidth * kind.dtype.itemsize * (kind.values.n // n_planes)
    if not 0 < tile_bytes <= max(_MAX_TILE_BYTES, 2 * kind.n_bytes) or page.tiledepth != 1:
        raise TiffError(f"tiles of {page.tilelength} x {page.tilewidth} px for {height} x {width}; export it again")
    return n_planes * math.ceil(height / page.tilelength) * math.ceil(width / page.tilewidth)


def _strips_in_plane(page: tifffile.TiffPage, kind: PageKind) -> int:
    if page.rowsperstrip < 1:
        raise TiffError(f"strips of {page.rowsperstrip} rows; damaged: export it again")
    return math.ceil(kind.shape[0] / page.rowsperstrip)


def _segment_bytes(page: tifffile.TiffPage, kind: PageKind, index: int) -> int:
    """Return how many bytes a strip or tile has when it is not compressed; every row begins with a whole byte."""
    if page.is_tiled:
        n_rows, width = int(page.tilelength), page.tilewidth
    else:
        strip = index % _strips_in_plane(page, kind)
        n_rows, width = min(page.rowsperstrip, kind.shape[0] - strip * page.rowsperstrip), kind.shape[1]
    return n_rows * math.ceil(width * kind.bits * (1 if kind.planar else kind.values.n) / 8)
