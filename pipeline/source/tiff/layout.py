"""Which pages of a TIFF file are the slices of its one stack, and whether the file has as many as it declares."""

import json
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree as ET

import tifffile

from pipeline.source.tiff.failures import TiffError, brief, tiff_errors
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
        first_bytes: where the pixels of each page begin, if they lie in the file as they are; else None for it.
        axis: what the file calls its slices: slices, times or channels; empty where it says nothing.
    """

    kind: PageKind
    pages: tuple[PageAddress, ...]
    planes: int
    first_bytes: tuple[int | None, ...]
    axis: str = ""

    @property
    def n_slices(self) -> int:
        """Slices in the stack."""
        return len(self.pages) * self.planes

    def first_byte(self, z: int) -> int | None:
        """Return where the pixels of slice z begin, if they lie in the file as they are; else None."""
        if self.planes == 1:
            return self.first_bytes[z]
        first = self.first_bytes[0]
        return None if first is None else first + z * self.kind.n_bytes


class _Declared(NamedTuple):
    """How many slices a file's own description says there are, who says so, and what it calls them, if anything."""

    n_slices: int
    by: str
    axis: str = ""


def find_layout(path: Path, tiff: tifffile.TiffFile, addresses: Sequence[PageAddress], *, labels: bool) -> Layout:
    """Return where the slices are.

    Args:
        path: the file, to name it in errors.
        tiff: the open file.
        addresses: all pages in its chain of directories.
        labels: whether the values must be stored without loss.

    Raises:
        SourceError: a page is not a whole slice of the stack.
        TiffError: the pages are not one whole stack of gray slices.
    """
    first = tiff.pages.first
    with tiff_errors(path, "page 0"):
        kind = page_kind(first, labels=labels)
    if kind.white_is_zero and not labels and kind.dtype.kind not in "ub":
        raise TiffError(f"white is zero in {kind.dtype.name} pixels; save them with black as zero")
    declared = _find_declared(tiff, first)
    pages, first_bytes = [], []
    for address in addresses:
        with tiff_errors(path, f"page {address.number}"):
            page = read_page(tiff, address)
            if address.number and is_thumbnail(page, kind):
                continue
            pages.append(address)
            _require_reasonable(kind, max(len(pages), declared.n_slices if declared else 1), tiff.filehandle.size)
            require_slice(page, kind, labels=labels)
            first_bytes.append(first_byte(page))
    # Where the slices are, by what the file has:
    #   one directory:       in one block; planes that have no directory may follow the first, and are counted by bytes
    #   several directories: one slice each, but for thumbnails
    # Their number must be the declared one; a file that declares nothing has one slice a page.
    if declared is None:
        _require_known_axes(first, len(pages))
        declared = _Declared(len(pages), "one a page")
    n_planes = _count_planes(first) if len(addresses) == 1 else 1
    if (found := len(pages) * n_planes) != declared.n_slices:
        expected = f"{declared.n_slices} slice{'' if declared.n_slices == 1 else 's'}"
        raise TiffError(f"expected {expected} ({declared.by}), found {found}; {_HOW}")
    if n_planes > 1:
        first_bytes = [int(first.dataoffsets[0])]
    return Layout(kind, tuple(pages), n_planes, tuple(first_bytes), declared.axis)


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


def _find_declared(tiff: tifffile.TiffFile, page: tifffile.TiffPage) -> _Declared | None:
    """Return what the file's own description says of its number of slices, if it says anything.

    Raises:
        TiffError: what it describes is not one stack.
    """
    if page.is_ome:
        return _read_ome(page.description)
    if tiff.imagej_metadata:
        return _read_imagej(tiff.imagej_metadata)
    if text := page.shaped_description:
        return _read_shaped(text, page)
    if planes := page.tags.get(_METAMORPH_PLANES_TAG):
        return _Declared(planes.count, "as MetaMorph says")
    return None


def _one_axis(who: str, sizes: Sequence[tuple[str, int]]) -> tuple[int, str]:
    """Return the number of slices and what they are called, unless slices are mixed with channels or times.

    One axis beside rows and columns may be a stack, whatever it is called: many programs call slices times or channels.
    """
    longer = [f"{size} {name}".strip() for name, size in sizes if size != 1]
    if len(longer) > 1:
        found = brief(" x ".join(longer))
        raise TiffError(f"expected one stack of slices, found {found} ({who}); export one channel at one time")
    return math.prod(size for _, size in sizes), next((name for name, size in sizes if size != 1), "")


def _read_imagej(values: dict[str, object]) -> _Declared | None:
    """Return what ImageJ says: `images` in all, and how many channels, slices and frames these are."""
    sizes = {name: int(str(values[name])) for name in ("images", "channels", "slices", "frames") if name in values}
    if not sizes:
        return None
    n_images = sizes.pop("images", 1)
    n_slices, axis = _one_axis("ImageJ", list(sizes.items()))
    if 1 not in (n_images, n_slices) and n_images != n_slices:
        raise TiffError(f"ImageJ says {n_images} images, but {n_slices} slices; {_HOW}")
    return _Declared(max(n_images, n_slices), "as ImageJ says", axis)


def _read_shaped(text: str, page: tifffile.TiffPage) -> _Declared:
    """Return what tifffile itself wrote: {"shape": [Z, Y, X]}."""
    values = json.loads(text) if text.startswith("{") else {"shape": text[7:-1].split(",")}
    shape = [int(side) for side in values["shape"] if side != ""]
    axes = str(values.get("axes", "")).ljust(len(shape), "?")
    longer = [(_AXES.get(axis, ""), size) for axis, size in zip(axes, shape, strict=False) if size != 1]
    sides = [side for side in page.shape if side != 1]
    n_axes = len(longer) - len(sides)
    if [size for _, size in longer[n_axes:]] != sides:
        raise TiffError(f"declares an array of {brief(shape)}, but its pages are {page.shape}; {_HOW}")
    n_slices, axis = _one_axis("tifffile", longer[:n_axes])
    return _Declared(n_slices, "as its description says", axis)


def _read_ome(xml: str) -> _Declared:
    """Return what OME-XML says of the one image in this file.

    Raises:
        TiffError: there are several, or some are in other files, or the pages are in another order.
    """
    try:
        root = ET.fromstring(xml)  # noqa: S314  # expat itself refuses entity bombs since 2.4.1
    except ET.ParseError as error:
        raise TiffError(f"its OME-XML cannot be read ({error}); export it again") from error
    elements: dict[str, list[ET.Element]] = defaultdict(list)
    for element in root.iter():
        elements[element.tag.rsplit("}", 1)[-1]].append(element)
    uuids, elsewhere, pixels = (elements[name] for name in ("UUID", "BinaryOnly", "Pixels"))
    names = {element.get("FileName") or element.get("MetadataFile") or "" for element in uuids + elsewhere} - {""}
    files = {(text or "").strip() for text in (root.get("UUID"), *(uuid.text for uuid in uuids))} - {""}
    # a renamed file still names itself as it was called before: one name is no other file, two names or ids are
    if elsewhere or len(names) > 1 or len(files) > 1:
        found = brief(", ".join(sorted(names)) or "OME-XML")
        raise TiffError(f"its slices are in several files ({found}), which are not followed; export them into one")
    if len(elements["Image"]) != 1 or len(pixels) != 1:
        n_images = len(elements["Image"])
        raise TiffError(f"expected one image series, found {n_images} (OME); export the stack alone")
    sizes = [(name, int(pixels[0].get(f"Size{axis}", "1"))) for axis, name in _AXES.items()]
    n_slices, called = _one_axis("OME", sizes)
    for plane in elements["TiffData"]:
        first, page = sum(int(plane.get(f"First{axis}", "0")) for axis in _AXES), int(plane.get("IFD", "0"))
        if page != first:
            raise TiffError(f"OME-XML puts slice {first} on page {page}; export the stack with its pages in order")
    return _Declared(n_slices, "as OME-XML says", called)
