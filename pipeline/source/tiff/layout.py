"""Which pages of a TIFF file are the slices of its one stack, and whether the file has as many as it promises."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

import tifffile

from pipeline.errors import SourceError
from pipeline.source.tiff.directories import PageAddress
from pipeline.source.tiff.failures import brief, plain_errors
from pipeline.source.tiff.page import PageKind, is_thumbnail, page_kind, require_lossless, require_whole

LARGEST_STACK_BYTES = 1 << 36  # 64 GiB: a header that asks for more is a lie or a mistake
_BOMB_FACTOR, _BOMB_BYTES = 1000, 1 << 28  # no stack with anything in it is deflated a thousandfold
_AXES = {"C": "channels", "Z": "slices", "T": "times"}
_PRIVATE_AXES = {"lsm": "Zeiss LSM", "micromanager": "Micro-Manager", "fluoview": "FluoView", "scanimage": "ScanImage"}
_METAMORPH_PLANES_TAG = 33629
_HOW = "the file is cut short or mislabelled: export it again"


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the slices of a stack are in a file.

    Attributes:
        kind: what every slice is.
        pages: the page of each slice; where `planes` is more than one, the one page that the first slice has.
        planes: slices that follow each other without pages of their own, as ImageJ and MetaMorph write them.
        first_byte: where the first of these planes begins.
    """

    kind: PageKind
    pages: tuple[PageAddress, ...]
    planes: int = 1
    first_byte: int = 0

    @property
    def n_slices(self) -> int:
        """Slices in the stack."""
        return len(self.pages) * self.planes


@dataclass(frozen=True, slots=True)
class _Promise:
    """How many slices a file's own description says there are, and who says so."""

    n_slices: int
    by: str


def find_layout(path: Path, tiff: tifffile.TiffFile, addresses: Sequence[PageAddress], *, labels: bool) -> Layout:
    """Return where the slices are.

    Args:
        path: the file, for messages.
        tiff: the open file.
        addresses: all pages in its chain of directories.
        labels: whether the values must be stored without loss.

    Raises:
        SourceError: it is not one whole stack of gray slices.
    """
    first = tiff.pages.first
    kind = page_kind(first, f"{path}, page 0")
    if kind.white_is_zero and not labels and kind.dtype.kind not in "ub":
        raise SourceError(f"{path}: white is zero in {kind.dtype.name} pixels; save them with black as zero")
    promise = _promise(path, tiff, first)
    pages = []
    for address in addresses:
        with plain_errors(path, f"page {address.number}"):
            page = read_page(tiff, address)
            if address.number and is_thumbnail(page, kind):
                continue
            pages.append(address)
            _require_reasonable(path, kind, max(len(pages), promise.n_slices if promise else 1))
            _require_slice(page, kind, f"{path}, page {address.number}", labels=labels)
    if promise is None:
        _require_known_axes(path, first, len(pages))
        promise = _Promise(len(pages), "one a page")
    n_planes = _count_planes(first) if len(addresses) == 1 else 1
    if (found := len(pages) * n_planes) != promise.n_slices:
        expected = f"{promise.n_slices} slice{'s' * (promise.n_slices != 1)}"
        raise SourceError(f"{path}: expected {expected} ({promise.by}), found {found}; {_HOW}")
    return Layout(kind, tuple(pages), n_planes, int(first.dataoffsets[0]))


def read_page(tiff: tifffile.TiffFile, address: PageAddress) -> tifffile.TiffPage:
    """Return one page with all its tags, whatever tifffile thinks of the chain."""
    tiff.filehandle.seek(address.offset)
    return tifffile.TiffPage(tiff, address.number)


def _require_slice(page: tifffile.TiffPage, kind: PageKind, where: str, *, labels: bool) -> None:
    """Refuse a page that is not a whole slice of the same stack as the first one."""
    if (found := page_kind(page, where)) != kind:
        raise SourceError(
            f"{where}: {found}, but page 0 is {kind}; expected one series of equal slices: export the stack alone"
        )
    if page.index and page.is_shaped:
        raise SourceError(f"{where}: another image series begins here; expected one: export the stack alone")
    if labels:
        require_lossless(page, where)
    require_whole(page, kind, where)


def _require_reasonable(path: Path, kind: PageKind, n_slices: int) -> None:
    needed, n_bytes = n_slices * kind.n_bytes, path.stat().st_size
    if needed > LARGEST_STACK_BYTES:
        raise SourceError(
            f"{path}: its header asks for {needed:,} bytes ({n_slices} x {kind}), more than {LARGEST_STACK_BYTES:,}; "
            "export it again, in parts"
        )
    if needed > max(_BOMB_BYTES, _BOMB_FACTOR * n_bytes):
        raise SourceError(
            f"{path}: {n_bytes:,} bytes that would become {needed:,} ({n_slices} x {kind}); damaged or made to harm: "
            "export it again, uncompressed"
        )


def _require_known_axes(path: Path, page: tifffile.TiffPage, n_pages: int) -> None:
    """Refuse pages that may be channels or times, where only the microscope's own program can tell."""
    program = next((name for flag, name in _PRIVATE_AXES.items() if getattr(page, f"is_{flag}")), "")
    if program and n_pages > 1:
        raise SourceError(
            f"{path}: {n_pages} pages that {program} described in its own way, so slices, channels and times cannot be "
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


def _promise(path: Path, tiff: tifffile.TiffFile, page: tifffile.TiffPage) -> _Promise | None:
    """Return what the file's own description says of its number of slices, if it says anything.

    Raises:
        SourceError: what it describes is not one stack.
    """
    if page.is_ome:
        return _ome_promise(path, page.description)
    if tiff.imagej_metadata:
        return _imagej_promise(path, tiff.imagej_metadata)
    if text := page.shaped_description:
        return _shaped_promise(path, text, page)
    if planes := page.tags.get(_METAMORPH_PLANES_TAG):
        return _Promise(planes.count, "as MetaMorph says")
    return None


def _one_axis(path: Path, who: str, sizes: Sequence[tuple[str, int]]) -> int:
    """Return the number of slices, unless slices are mixed with channels or times.

    One axis beside rows and columns is a stack, whatever it is called: many programs call slices times or channels.
    """
    longer = [f"{size} {name}".strip() for name, size in sizes if size != 1]
    if len(longer) > 1:
        found = brief(" x ".join(longer))
        raise SourceError(
            f"{path}: expected one stack of slices, found {found} ({who}); export one channel at one time"
        )
    return math.prod(size for _, size in sizes)


def _imagej_promise(path: Path, values: dict[str, object]) -> _Promise | None:
    """Return what ImageJ says: `images` in all, and how many channels, slices and frames these are."""
    sizes = {name: int(str(values[name])) for name in ("images", "channels", "slices", "frames") if name in values}
    if not sizes:
        return None
    n_images = sizes.pop("images", 1)
    n_slices = _one_axis(path, "ImageJ", list(sizes.items()))
    if 1 not in (n_images, n_slices) and n_images != n_slices:
        raise SourceError(f"{path}: ImageJ says {n_images} images, but {n_slices} slices; {_HOW}")
    return _Promise(max(n_images, n_slices), "as ImageJ says")


def _shaped_promise(path: Path, text: str, page: tifffile.TiffPage) -> _Promise:
    """Return what tifffile itself wrote: {"shape": [Z, Y, X]}."""
    values = json.loads(text) if text.startswith("{") else {"shape": text[7:-1].split(",")}
    shape = [int(side) for side in values["shape"] if side != ""]
    axes = str(values.get("axes", "")).ljust(len(shape), "?")
    longer = [(_AXES.get(axis, ""), size) for axis, size in zip(axes, shape, strict=False) if size != 1]
    sides = [side for side in page.shape if side != 1]
    n_axes = len(longer) - len(sides)
    if [size for _, size in longer[n_axes:]] != sides:
        raise SourceError(f"{path}: promises an array of {brief(shape)}, but its pages are {page.shape}; {_HOW}")
    return _Promise(_one_axis(path, "tifffile", longer[:n_axes]), "as its description says")


def _ome_promise(path: Path, xml: str) -> _Promise:
    """Return what OME-XML says of the one image in this file.

    Raises:
        SourceError: there are several, or some are in other files, or the pages are in another order.
    """
    try:
        root = ET.fromstring(xml)  # noqa: S314  # expat itself refuses entity bombs since 2.4.1
    except ET.ParseError as error:
        raise SourceError(f"{path}: its OME-XML cannot be read ({error}); export it again") from error
    everything = list(root.iter())
    images, pixels, planes, uuids, elsewhere = (
        [element for element in everything if element.tag.rsplit("}", 1)[-1] == name]
        for name in ("Image", "Pixels", "TiffData", "UUID", "BinaryOnly")
    )
    names = {element.get("FileName") or element.get("MetadataFile") or "" for element in uuids + elsewhere} - {""}
    files = {(text or "").strip() for text in (root.get("UUID"), *(uuid.text for uuid in uuids))} - {""}
    if elsewhere or len(names) > 1 or len(files) > 1:
        raise SourceError(
            f"{path}: its slices are in several files ({brief(', '.join(sorted(names)) or 'OME-XML')}), which are not "
            "followed; export the stack into one file"
        )
    if len(images) != 1 or len(pixels) != 1:
        raise SourceError(f"{path}: expected one image series, found {len(images)} (OME); export the stack alone")
    sizes = [(name, int(pixels[0].get(f"Size{axis}", "1"))) for axis, name in _AXES.items()]
    n_slices = _one_axis(path, "OME", sizes)
    for plane in planes:
        first, page = sum(int(plane.get(f"First{axis}", "0")) for axis in _AXES), int(plane.get("IFD", "0"))
        if page != first:
            raise SourceError(
                f"{path}: OME-XML puts slice {first} on page {page}; export the stack with its pages in order"
            )
    return _Promise(n_slices, "as OME-XML says")
