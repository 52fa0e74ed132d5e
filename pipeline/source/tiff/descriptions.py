"""What a TIFF file's own description says of its planes: that of ImageJ, OME, tifffile or MetaMorph."""

import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from xml.etree import ElementTree as ET

import tifffile

from pipeline.source.tiff.failures import TiffError, brief
from pipeline.source.tiff.pages import PageKind

_AXES = {"C": "channels", "Z": "slices", "T": "times"}
_IMAGEJ = {"c": "channels", "z": "slices", "t": "frames"}
_METAMORPH_PLANES_TAG, _LSM_TAG = 33629, 34412
_MAX_LSM_BYTES = 1 << 32  # beyond them, offsets in LSM files are wrong
MISLABELLED = "the file is cut short or mislabelled: export it again"


class Declared(NamedTuple):
    """What a file's own description says.

    Attributes:
        by: who says so.
        n_slices: how many slices there are.
        axis: what it calls them, if anything; "channels" where it has no other axis.
        n_channels: how many planes each slice has.
        channel_by_channel: whether all planes of a channel follow each other.
        names: what the channels are called, if each has a name.
        values: what it calls the values of a pixel: channels, slices, or nothing, where both may be meant.
        n_rows: of a slice, where each of its rows is a plane (X, C); else 1.
    """

    by: str
    n_slices: int
    axis: str = ""
    n_channels: int = 1
    channel_by_channel: bool = False
    names: tuple[str, ...] = ()
    values: str = "channels"
    n_rows: int = 1

    @property
    def n_planes(self) -> int:
        """How many planes the file must have."""
        return self.n_slices * self.n_channels * self.n_rows


def find_declared(
    tiff: tifffile.TiffFile, page: tifffile.TiffPage, kind: PageKind, *, lone: bool = False
) -> Declared | None:
    """Return what the file's own description says of its planes, if it says anything.

    Args:
        tiff: the open file.
        page: its first page.
        kind: what that is.
        lone: whether it is the only one, and a slice, so that it does not matter what is in other files.

    Raises:
        TiffError: what it describes is not one stack.
    """
    if page.is_ome:
        return _read_ome(page.description, kind, lone=lone)
    if tiff.imagej_metadata:
        return _read_imagej(tiff.imagej_metadata)
    if text := page.shaped_description:
        return _read_shaped(text, page, kind)
    if planes := page.tags.get(_METAMORPH_PLANES_TAG):
        return Declared("as MetaMorph says", planes.count)
    if (lsm := page.tags.get(_LSM_TAG)) and isinstance(lsm.value, dict):
        return _read_lsm(lsm.value, page)
    return None


def _declare(who: str, by: str, sizes: Sequence[tuple[str, int]], names: Sequence[str] = ()) -> Declared:
    """Return how many slices and channels there are, unless there are also several times, or a further axis.

    One axis beside rows and columns may be a stack, whatever it is called: many programs call slices times or channels.

    Args:
        who: whose description it is.
        by: how to say so.
        sizes: the axes, by their names; the last one changes with every plane.
        names: what the channels are called.

    Raises:
        TiffError: there are several axes beside channels.
    """
    longer = [(name, size) for name, size in sizes if size != 1]
    channels, others = ([each for each in longer if (each[0] == "channels") == wanted] for wanted in (True, False))
    if len(others) > 1 or len(channels) > 1:
        found = brief(" x ".join(f"{size} {name}".strip() for name, size in longer))
        advice = (
            "export the slices of one time"
            if all(name for name, _ in longer)
            else "say which axis is what (in Python: tifffile.imwrite(FILE, ARRAY, metadata={'axes': 'ZCYX'}), or "
            "'ZYXC')"
        )
        raise TiffError(f"expected one stack of slices, found {found} ({who}); {advice}")
    if not channels or not others:
        axis, n_slices = (channels or others or [("", 1)])[0]
        return Declared(by, n_slices, axis, names=tuple(names))
    (axis, n_slices), (_, n_channels) = others[0], channels[0]
    return Declared(by, n_slices, axis, n_channels, longer[0] == channels[0], tuple(names))


def _read_imagej(values: Mapping[str, Any]) -> Declared | None:
    """Return what ImageJ says: `images` in all, and how many channels, slices and frames these are."""
    if not any(name in values for name in ("images", *_IMAGEJ.values())):
        return None
    order = [_IMAGEJ[axis] for axis in str(values.get("order", "czt")).lower()[::-1] if axis in _IMAGEJ]
    if len(set(order)) != len(_IMAGEJ):
        raise TiffError(f"ImageJ orders its planes as {brief(values['order'])}; save it again")
    sizes = {name: int(str(values.get(name, 1))) for name in order}
    n_images = int(str(values.get("images", 1)))
    declared = _declare("ImageJ", "as ImageJ says", list(sizes.items()))
    if 1 not in (n_images, declared.n_planes) and n_images != declared.n_planes:
        raise TiffError(f"ImageJ says {n_images} images, but {declared.n_planes} slices; {MISLABELLED}")
    if declared.n_planes == 1:
        return declared._replace(n_slices=n_images)
    return declared._replace(names=_imagej_names(values.get("Labels"), declared))


def _imagej_names(labels: object, declared: Declared) -> tuple[str, ...]:
    """Return the channels' names in what ImageJ calls the planes, if it calls those of a channel alike."""
    if not isinstance(labels, list) or len(labels) != declared.n_planes:
        return ()
    n_channels = declared.n_channels if declared.n_channels > 1 else declared.n_planes
    names = [str(label) for label in labels]
    return tuple(names[:n_channels]) if names == names[:n_channels] * (len(names) // n_channels) else ()


def _read_lsm(values: Mapping[str, Any], page: tifffile.TiffPage) -> Declared | None:
    """Return what Zeiss's LSM says of one channel, as tifffile reads its CZ_LSMINFO; nothing of what else it may be."""
    names = {"Time": "times", "Z": "slices", "Channels": "channels", "P": "positions", "M": "tiles"}
    size = {name: max(1, int(values.get(f"Dimension{name}", 1))) for name in names}
    sides = int(values["DimensionY"]), int(values["DimensionX"])
    others = max(size["Channels"], size["P"], size["M"], page.samplesperpixel)
    if others > 1 or sides != page.shape or page.parent.filehandle.size >= _MAX_LSM_BYTES:
        return None
    return _declare("Zeiss LSM", "as Zeiss LSM says", [(names[name], size[name]) for name in names])


def _read_shaped(text: str, page: tifffile.TiffPage, kind: PageKind) -> Declared:
    """Return what tifffile itself wrote: {"shape": [Z, Y, X]}."""
    values = json.loads(text) if text.startswith("{") else {"shape": text[7:-1].split(",")}
    shape = [int(side) for side in values["shape"] if side != ""]
    axes = str(values.get("axes", "")).ljust(len(shape), "?")
    longer = [(axis, size) for axis, size in zip(axes, shape, strict=False) if size != 1]
    sides = [side for side in page.shape if side != 1]
    n_axes = len(longer) - len(sides)
    if n_axes < 0 or [size for _, size in longer[n_axes:]] != sides:
        raise TiffError(f"declares an array of {brief(shape)}, but its pages are {page.shape}; {MISLABELLED}")
    # tifffile writes (Y, X, C) as Y pages (X, C), unless it takes the channels for colours
    by_rows = kind.values.n == 1 and [axis for axis, _ in longer[n_axes - 1 :]] in (["Y", "X", "C"], ["Y", "X", "S"])
    n_rows = longer[n_axes - 1][1] if by_rows else 1
    sizes = [(_AXES.get(axis, ""), size) for axis, size in longer[: n_axes - by_rows]]
    declared = _declare("tifffile", "as its description says", sizes)._replace(n_rows=n_rows)
    if not kind.planar:
        return declared
    axis = longer[n_axes][0]
    return declared._replace(values="" if axis == "?" else "channels" if axis in "CS" else "slices")


def _read_ome(xml: str, kind: PageKind, *, lone: bool) -> Declared:
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
        if lone:
            return Declared("one a file", 1)
        found = brief(", ".join(sorted(names)) or "OME-XML")
        raise TiffError(f"its slices are in several files ({found}), which are not followed; export them into one")
    if len(elements["Image"]) != 1 or len(pixels) != 1:
        n_images = len(elements["Image"])
        raise TiffError(f"expected one image series, found {n_images} (OME); export the stack alone")
    sizes = {axis: int(pixels[0].get(f"Size{axis}", "1")) for axis in _AXES}
    if kind.values.channels:  # which OME counts as channels too, though they share a page
        sizes["C"] = max(1, sizes["C"] // len(kind.values.channels))
    order = pixels[0].get("DimensionOrder", "XYZCT")[:1:-1]
    if sorted(order) != sorted(_AXES):
        raise TiffError(f"OME-XML orders its planes as {brief(order)}; export it again")
    steps = {axis: math.prod(sizes[faster] for faster in order[place + 1 :]) for place, axis in enumerate(order)}
    for plane in elements["TiffData"]:
        first = sum(int(plane.get(f"First{axis}", "0")) * steps[axis] for axis in _AXES)
        page = int(plane.get("IFD", "0"))
        if page != first:
            raise TiffError(f"OME-XML puts slice {first} on page {page}; export the stack with its pages in order")
    called = [channel.get("Name", "") for channel in elements["Channel"]]
    return _declare("OME", "as OME-XML says", [(_AXES[axis], sizes[axis]) for axis in order], called)
