"""How large the pixels of a file are, as it says itself: TIFF of ImageJ, OME and others, OME-Zarr, HDF5."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from pipeline.errors import SourceError
from pipeline.source.stacks import Slices

# nanometres in a unit, by the names that programs have for it; micrometres have two signs for their mu
_UNITS = {
    **dict.fromkeys(("nm", "nanometer", "nanometre"), 1.0),
    **dict.fromkeys(("\u00b5m", "\u03bcm", "um", "micron", "microns", "micrometer", "micrometre", "\\u00b5m"), 1e3),
    **dict.fromkeys(("mm", "millimeter", "millimetre"), 1e6),
    **dict.fromkeys(("cm", "centimeter", "centimetre"), 1e7),
    **dict.fromkeys(("m", "meter", "metre"), 1e9),
    **dict.fromkeys(("\u00e5", "angstrom"), 0.1),
    **dict.fromkeys(("inch", "in"), 2.54e7),
}
_TIFF_SUFFIXES = (".tif", ".tiff", ".stk")
_RESOLUTION_TAGS, _UNIT_TAG = ("YResolution", "XResolution"), "ResolutionUnit"
_LARGEST_NM = 20_000.0  # a pixel above it is one of a screen or of paper: 600 dots an inch are 42,000 nm
_TOLERANCE = 1e-3


def stored_pixel_nm(images: Slices) -> float | None:
    """Return the side of a pixel in nanometres, as the files of images say; None where they do not.

    Raises:
        SourceError: pixels are not square, or of several sizes.
    """
    told = getattr(images, "pixel_nm", None)
    files: tuple[Path, ...] = getattr(images, "files", ())
    found: set[tuple[float, float]] = {told} if told else set()
    if not told:
        for file in files:
            size = _tiff_pixel_nm(file) if file.suffix.lower() in _TIFF_SUFFIXES else None
            if size is None:
                return None
            found.add(size)
    sides = [side for size in found for side in size]
    if not sides:
        return None
    if max(sides) > min(sides) * (1 + _TOLERANCE):
        where = files[0] if files else "images"
        raise SourceError(
            f"{where}: pixels of {min(sides):g} and {max(sides):g} nm; expected square ones of one size: say it with "
            "--pixel-size-of NM, or resample the stack"
        )
    return sides[0]


def as_nm(size: float, unit: str) -> float | None:
    """Return a length in nanometres; None where its unit is not known."""
    factor = _UNITS.get(unit.strip().lower())
    return size * factor if factor and size > 0 else None


def _tiff_pixel_nm(path: Path) -> tuple[float, float] | None:
    """Return the (y, x) size of a pixel; nothing where the file does not say, or what cannot be."""
    import tifffile

    from pipeline.source.tiff.failures import tiff_errors

    with tiff_errors(path), tifffile.TiffFile(path, _multifile=False, is_lsm=False) as tiff:
        page: Any = tiff.pages.first
        if page.is_ome:
            return _ome_pixel_nm(page.description)
        unit = str((tiff.imagej_metadata or {}).get("unit", ""))
        if not unit:
            code = page.tags.get(_UNIT_TAG)
            unit = {2: "inch", 3: "cm"}.get(int(code.value) if code else 0, "")
        sides = []
        for name in _RESOLUTION_TAGS:
            tag = page.tags.get(name)
            per_unit = tag.value[0] / tag.value[1] if tag and tag.value[1] else 0
            sides.append(as_nm(1 / per_unit, unit) if per_unit else None)
    return _believed(sides)


def _ome_pixel_nm(xml: str) -> tuple[float, float] | None:
    root = ET.fromstring(xml)  # noqa: S314  # it was read before
    pixels = next((each for each in root.iter() if each.tag.rpartition("}")[2] == "Pixels"), None)
    if pixels is None:
        return None
    sides = []
    for axis in "YX":
        size = pixels.get(f"PhysicalSize{axis}")
        sides.append(as_nm(float(size), pixels.get(f"PhysicalSize{axis}Unit", "um")) if size else None)
    return _believed(sides)


def _believed(sides: Sequence[float | None]) -> tuple[float, float] | None:
    """Return the sides of a pixel, where both are known and not those of a screen's."""
    y, x = sides
    return (y, x) if y and x and max(y, x) <= _LARGEST_NM else None
