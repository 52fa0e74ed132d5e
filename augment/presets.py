"""Named ranges: what to draw where nobody has a reason to choose every number."""

from typing import Literal, TypeAlias, get_args

from augment.errors import ConfigError
from augment.ranges import AugmentRanges
from augment.recipe import to_float32

Preset: TypeAlias = Literal["unet2015", "original", "strong"]
PRESETS: tuple[Preset, ...] = get_args(Preset)

_STRONG_SHIFT_PX = 32.0
_STRONG_BIAS = 0.1  # of the stack's gray levels, from the darkest to the brightest


def preset_ranges(name: str, *, gray_span: float = 255.0, covered: bool = True) -> AugmentRanges:
    """Return the ranges of a preset.

    `unet2015`: any rotation, and a 3 x 3 grid of normal displacements with 10 px standard deviation over the sample
    (Ronneberger et al. 2015, arXiv:1505.04597, section 3.1). The default.

    `original`: the grid lies over the padded slice, as in the reproduction report that augpipe grew out of, and
    nothing is rotated. The deformation inside a sample is then much milder.

    `strong`: `unet2015`, and every second sample mirrored, zoom 0.8 to 1.25, shifts up to 32 px, gain 0.8 to 1.25
    and a bias of up to a tenth of the stack's own gray levels; where a slice is larger than the window, shifts reach
    every corner instead, as they always do. Sections have no right side up, hence the mirror.
    A quarter of magnification keeps membranes between the widths that real ones have when cut upright and aslant.
    The shift moves the seams of the mirrored margin about, so that none can be learned by its place. Gain and bias
    reach as far as real sections differ: in the ISBI 2012 stacks (training and test), a section's mean gray level is
    99 to 149 of 255, and its standard deviation 34 to 51.

    Args:
        name: one of PRESETS.
        gray_span: the stack's brightest gray level minus its darkest; what a bias is measured in.
        covered: whether the window is at least as large as every slice.

    Raises:
        ConfigError: there is no such preset.
    """
    if name == "unet2015":
        return AugmentRanges()
    if name == "original":
        return AugmentRanges(rotate_deg=(0.0, 0.0), extent="padded")
    if name == "strong":
        bias = to_float32(_STRONG_BIAS * gray_span)
        shift_px = _STRONG_SHIFT_PX if covered else None
        return AugmentRanges(flip=True, zoom=(0.8, 1.25), shift_px=shift_px, gain=(0.8, 1.25), bias=(0.0 - bias, bias))
    raise ConfigError(f"preset: expected one of {', '.join(PRESETS)}, got {name!r}")
