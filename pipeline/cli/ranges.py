"""The ranges that the options of augmentation ask for: a preset's, and what is given instead."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pipeline.cli.given import Given

if TYPE_CHECKING:
    from augment.ranges import AugmentRanges
    from pipeline.source.stacks import Source

_FIELDS = {
    "rotate": "rotate_deg",
    "flip": "flip",
    "zoom": "zoom",
    "shift": "shift_px",
    "gain": "gain",
    "bias": "bias",
    "grid": "grid_points",
    "sigma": "sigma_px",
    "extent": "extent",
}
_ROTATE_DEG = {True: (0.0, 360.0), False: (0.0, 0.0)}


def choose_ranges(given: Given, *, gray_span: float = 255.0, covered: bool = True) -> "AugmentRanges":
    """Return the ranges of the preset, with the options that were given in the place of its own.

    Args:
        given: what the user gave.
        gray_span: the source's brightest gray level minus its darkest.
        covered: whether the window is at least as large as every slice.

    Raises:
        ConfigError: a value is out of range.
    """
    from augment.ranges import preset_ranges

    changes: dict[str, Any] = {_FIELDS[name]: value for name, value in given.only(*_FIELDS).items()}
    if "rotate_deg" in changes:
        changes["rotate_deg"] = _ROTATE_DEG[changes["rotate_deg"]]
    return replace(preset_ranges(given.get("preset", "unet2015"), gray_span=gray_span, covered=covered), **changes)


def is_covered(source: "Source", size: tuple[int, int]) -> bool:
    """Return whether a window of this size is at least as large as every slice."""
    return all(window >= side for stack in source.stacks for window, side in zip(size, stack.slice_size, strict=True))
