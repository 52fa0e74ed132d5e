"""Which pages of a TIFF file are the slices of its one stack, and whether the file has as many as it declares."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import tifffile

from pipeline.errors import counted
from pipeline.source.colours import channel_names
from pipeline.source.tiff.descriptions import MISLABELLED, Declared, find_declared
from pipeline.source.tiff.failures import TiffError, tiff_errors
from pipeline.source.tiff.pages import (
    PageAddress,
    PageKind,
    first_byte,
    is_thumbnail,
    page_kind,
    read_page,
    require_slice,
)

MAX_STACK_BYTES = 1 << 36  # 64 GiB: a header that asks for more is a lie or a mistake
MAX_INFLATION, MIN_BOMB_BYTES = 1000, 1 << 28  # no stack with anything in it is deflated a thousandfold
_PRIVATE_AXES = {"lsm": "Zeiss LSM", "micromanager": "Micro-Manager", "fluoview": "FluoView", "scanimage": "ScanImage"}


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the slices of a stack are in a file, which is a series of planes.

    Attributes:
        kind: what every plane is.
        pages: the page of each plane; where `planes` is more than one, the one page that the first plane has.
        planes: those that follow each other without pages of their own, as ImageJ and MetaMorph write them.
        first_bytes: where the pixels of each page begin, if they lie in the file as they are; else None for it.
        axis: what the file calls its slices: slices, times or channels; empty where it says nothing.
        channels: what the channels of a slice are called that have planes of their own; empty for one.
        channel_by_channel: whether all planes of a channel follow each other, not all planes of a slice.
        values_are_slices: whether the values of a pixel are slices, as a stack of three may be stored.
        n_rows: of a slice, where each of its rows is a plane (X, C); else 1.
    """

    kind: PageKind
    pages: tuple[PageAddress, ...]
    planes: int
    first_bytes: tuple[int | None, ...]
    axis: str = ""
    channels: tuple[str, ...] = ()
    channel_by_channel: bool = False
    values_are_slices: bool = False
    n_rows: int = 1

    @property
    def n_slices(self) -> int:
        """Slices in the stack."""
        if self.values_are_slices:
            return self.kind.values.n
        return len(self.pages) * self.planes // self._planes_in_slice

    @property
    def slice_size(self) -> tuple[int, int]:
        """(height, width) of a slice."""
        return self.kind.shape if self.n_rows == 1 else (self.n_rows, self.kind.shape[0])

    @property
    def _planes_in_slice(self) -> int:
        return self.n_rows if self.n_rows > 1 else max(1, len(self.channels))

    def planes_of(self, z: int) -> Sequence[int]:
        """Return the planes of slice z: one, or one for each channel or row."""
        n = self._planes_in_slice
        return range(z, n * self.n_slices, self.n_slices) if self.channel_by_channel else range(z * n, (z + 1) * n)

    def first_byte(self, plane: int) -> int | None:
        """Return where the pixels of a plane begin, if they lie in the file as they are; else None."""
        if self.planes == 1:
            return self.first_bytes[plane]
        first = self.first_bytes[0]
        return None if first is None else first + plane * self.kind.n_bytes


def find_layout(
    path: Path,
    tiff: tifffile.TiffFile,
    addresses: Sequence[PageAddress],
    *,
    labels: bool,
    channels_are_slices: bool | None = None,
    one_slice: bool = False,
) -> Layout:
    """Return where the slices are.

    Args:
        path: the file, to name it in errors.
        tiff: the open file.
        addresses: all pages in its chain of directories.
        labels: whether the values must be stored without loss.
        channels_are_slices: what planes are that the file calls channels, where it has no other axis: slices, or, if
            False, the channels of one slice. They are slices where that is not known, and `axis` says "channels".
        one_slice: whether the file is a slice among others, whatever OME-XML says of them in each.

    Raises:
        SourceError: a page is not a whole slice of the stack.
        TiffError: the pages are not one whole stack of slices.
    """
    first = tiff.pages.first
    with tiff_errors(path, "page 0"):
        kind = page_kind(first, labels=labels)
    if kind.white_is_zero and not labels and kind.dtype.kind == "i":
        raise TiffError(f"white is zero in {kind.dtype.name} pixels; save them with black as zero")
    declared = find_declared(tiff, first, kind, lone=one_slice and len(addresses) == 1)
    pages, first_bytes = [], []
    for address in addresses:
        with tiff_errors(path, f"page {address.number}"):
            page = read_page(tiff, address)
            if address.number and is_thumbnail(page, kind):
                continue
            pages.append(address)
            _require_reasonable(kind, max(len(pages), declared.n_planes if declared else 1), tiff.filehandle.size)
            require_slice(page, kind, labels=labels)
            first_bytes.append(first_byte(page))
    # Where the planes are, by what the file has:
    #   one directory:       in one block; planes that have no directory may follow the first, and are counted by bytes
    #   several directories: one plane each, but for thumbnails
    # Their number must be the declared one; a file that declares nothing has one slice a page.
    if declared is None:
        _require_known_axes(first, len(pages))
        declared = Declared("one a page", len(pages))
    n_planes = _count_planes(first) if len(addresses) == 1 else 1
    if (found := len(pages) * n_planes) != declared.n_planes:
        expected = counted(declared.n_planes, "plane" if declared.n_channels > 1 else "slice")
        raise TiffError(f"expected {expected} ({declared.by}), found {found}; {MISLABELLED}")
    if n_planes > 1:
        first_bytes = [int(first.dataoffsets[0])]
    layout = Layout(kind, tuple(pages), n_planes, tuple(first_bytes), declared.axis)
    return _with_channels(layout, declared, labels=labels, channels_are_slices=channels_are_slices)


def _with_channels(layout: Layout, declared: Declared, *, labels: bool, channels_are_slices: bool | None) -> Layout:
    """Return a layout of which it is known what the planes and the values of a pixel are."""
    kind, n_slices = layout.kind, declared.n_slices
    n_channels = declared.n_channels if declared.n_rows == 1 else kind.shape[1]
    may_be_slices = declared.values != "channels" or (kind.planar and channels_are_slices)
    called = f"{counted(n_slices, 'slice')} of {n_channels if n_channels > 1 else kind.values.n} channels"
    if may_be_slices and not (declared.values == "" and channels_are_slices is False):
        if declared.n_planes > 1:
            raise TiffError(f"found {called}, or slices of slices; if they are channels, say --no-channels-are-slices")
        return replace(layout, axis="channels" if declared.values == "" else "slices", values_are_slices=True)
    if n_channels == 1 and declared.axis == "channels" and channels_are_slices is False and not labels:
        n_slices, n_channels = 1, n_slices
    if n_channels == 1:
        return layout
    if labels:
        raise TiffError(f"expected one label for each slice, found {called} ({declared.by}); export one channel")
    if kind.values.channels:
        raise TiffError(f"found {called}, each in {kind.values} ({declared.by}); export one channel, or gray ones")
    names = channel_names(declared.names, n_channels)
    return replace(
        layout,
        axis=layout.axis if n_slices > 1 else "",
        channels=names,
        channel_by_channel=declared.channel_by_channel,
        n_rows=declared.n_rows,
    )


def _require_reasonable(kind: PageKind, n_slices: int, n_bytes: int) -> None:
    """Refuse a file that asks for more memory than any stack needs, or than its own size can fill."""
    needed = n_slices * kind.n_bytes
    if needed > MAX_STACK_BYTES:
        raise TiffError(
            f"asks for {needed:,} bytes ({n_slices} x {kind}), over {MAX_STACK_BYTES:,}; export it in parts"
        )
    if needed > max(MIN_BOMB_BYTES, MAX_INFLATION * n_bytes):
        raise TiffError(f"{n_bytes:,} bytes that would become {needed:,} ({n_slices} x {kind}); export it uncompressed")


def _require_known_axes(page: tifffile.TiffPage, n_pages: int) -> None:
    """Refuse pages that may be channels or times, where only the microscope's own program can tell."""
    program = next((name for flag, name in _PRIVATE_AXES.items() if getattr(page, f"is_{flag}")), "")
    if program and n_pages > 1:
        raise TiffError(
            f"{n_pages} pages that {program} described in its own way, so slices, channels and times cannot be "
            "told apart; save the stack as plain TIFF (in ImageJ: File > Save As > Tiff)"
        )


def _count_planes(page: tifffile.TiffPage) -> int:
    """Return how many slices the bytes of a file's only page hold: the first, and those that follow it without a page.

    What ends them is the page's own directory, the next thing that it refers to, or the end of the file.
    """
    if not page.is_contiguous or page.predictor != 1 or page.fillorder != 1:
        return 1
    begin, n_bytes = page.dataoffsets[0], page.parent.filehandle.size
    known = [page.offset, *(tag.valueoffset for tag in page.tags), *(page.subifds or ())]
    end = min([offset for offset in known if offset > begin], default=n_bytes)
    return max(1, int((end - begin) // page.nbytes))
