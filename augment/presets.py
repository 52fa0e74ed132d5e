"""Presets: ranges that belong together, for a kind of picture or after a paper."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal, TypeAlias, get_args

from augment.errors import ConfigError
from augment.ranges import AugmentRanges

Preset: TypeAlias = Literal[
    "unet2015",
    "original",
    "strong",
    "nnunet2d",
    "fluorescence",
    "em-defects",
    "he-stain",
    "ctc-phc-u373",
    "ctc-dic-hela",
]
PRESETS: tuple[Preset, ...] = get_args(Preset)
# The presets that need the stack's span of gray levels, and those that leave test slices as they are unless asked.
MEASURE_GRAY = ("strong", "nnunet2d", "fluorescence", "em-defects")
PLAIN_TEST = ("nnunet2d", "fluorescence", "em-defects", "he-stain")

_STRONG_SHIFT_PX = 32.0
_STRONG_BIAS = 0.1  # of the stack's gray levels, from the darkest to the brightest
_EM_DEFECTS_PX = (5.0, 20.0)
_EM_DEFECTS_SHARE = 0.2
_HE_STAIN = 0.05
_DEVIATION = 0.25  # the standard deviation of gray levels, of their span: 0.21 where they are normal, 0.29 if uniform


def preset_ranges(name: str, *, gray_span: float = 255.0, covered: bool = True, n_channels: int = 1) -> AugmentRanges:
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

    `nnunet2d`: what nnU-Net v2's default trainer does in two dimensions (Isensee et al. 2021; `nnUNetTrainer` and
    batchgeneratorsv2), with its strengths and probabilities, as near as these ranges come: docs/presets.md lists what
    differs. Noise is measured in standard deviations there, a quarter of the span here.

    `fluorescence`: `unet2015`, and every second sample mirrored, zoom 0.8 to 1.25; in some samples each uneven
    illumination, a lens out of focus, the noise of a detector, another exposure and offset, and gamma; in every channel
    of its own, as each has its own lamp, filter and exposure.

    `em-defects`: `strong`, and a fault of the section in every fifth sample: each of four as likely as gunpowder's
    DefectAugment draws each of its own, 0.05, and up to 20 px in size, by which its folds move tissue.

    `he-stain`: `unet2015`, and every second sample mirrored, zoom 0.8 to 1.25, and the amount of each dye up to 5 %
    larger or smaller, with up to 0.05 more or less of it: as wide as the lighter stain augmentation of Tellez et al.
    2019 (arXiv:1902.06543).

    `ctc-phc-u373`, `ctc-dic-hela`: `unet2015`, for two sets of the Cell Tracking Challenge on which that paper reports;
    `augpipe build` takes the size of their images and the weights of its loss with them.

    Args:
        name: one of PRESETS.
        gray_span: what a bias and noise are measured in: the gray level that 99 % of the stack's pixels are below,
            minus the one that 1 % are.
        covered: whether the window is at least as large as every slice.
        n_channels: of the images.

    Raises:
        ConfigError: there is no such preset.
    """
    if name in {"unet2015", "ctc-phc-u373", "ctc-dic-hela"}:
        return AugmentRanges()
    if name == "original":
        return AugmentRanges(rotate_deg=(0.0, 0.0), extent="padded")
    if name in {"strong", "em-defects"}:
        strong = _strong(gray_span, covered=covered)
        faults = replace(strong, defects=_EM_DEFECTS_PX, probability={"defects": _EM_DEFECTS_SHARE})
        return faults if name == "em-defects" else strong
    if name == "he-stain":
        return AugmentRanges(flip=True, zoom=(0.8, 1.25), stain=(_HE_STAIN, _HE_STAIN))
    if name == "nnunet2d":
        return _nnunet2d(gray_span, n_channels)
    if name == "fluorescence":
        return _fluorescence(gray_span, n_channels)
    raise ConfigError(f"preset: expected one of {', '.join(PRESETS)}, got {name!r}")


def _strong(gray_span: float, *, covered: bool) -> AugmentRanges:
    bias = _levels(_STRONG_BIAS * gray_span)
    shift_px = _STRONG_SHIFT_PX if covered else None
    return AugmentRanges(flip=True, zoom=(0.8, 1.25), shift_px=shift_px, gain=(0.8, 1.25), bias=(0.0 - bias, bias))


def _nnunet2d(gray_span: float, n_channels: int) -> AugmentRanges:
    ranges = {
        "rotate_deg": (0.0, 360.0),
        "flip": True,
        "zoom": (0.715, 1.43),  # 1 / 1.4 to 1 / 0.7
        "gain": (0.75, 1.25),
        "sigma_px": 0.0,
        "blur": (0.5, 1.0),
        "noise": (0.0, _levels(0.1 * _DEVIATION * gray_span)),
        "low_resolution": (0.5, 1.0),
        "contrast": (0.75, 1.25),
        "gamma": (0.7, 1.5),
        "per_channel": n_channels > 1,
    }
    shares = {
        "rotate": 0.2,
        "zoom": 0.2,
        "gain": 0.15,
        "blur": 0.1,  # of 0.2 of the samples, half of the channels
        "noise": 0.1,
        "low_resolution": 0.125,  # likewise, of 0.25
        "contrast": 0.15,
        "gamma": 0.37,  # 0.1 of the samples of the negative, then 0.3 of the picture
    }
    return _with_shares(ranges, shares)


def _fluorescence(gray_span: float, n_channels: int) -> AugmentRanges:
    offset = _levels(0.05 * gray_span)
    ranges = {
        "flip": True,
        "zoom": (0.8, 1.25),
        "gain": (0.7, 1.4),
        "bias": (0.0 - offset, offset),
        "shading": (0.0, 0.3),
        "blur": (0.5, 2.0),
        "noise": (0.0, _levels(0.05 * gray_span)),
        "gamma": (0.7, 1.5),
        "per_channel": n_channels > 1,
    }
    return _with_shares(ranges, {"shading": 0.5, "blur": 0.3, "noise": 0.5, "gain": 0.5, "bias": 0.5, "gamma": 0.3})


def _with_shares(ranges: Mapping[str, Any], shares: Mapping[str, float]) -> AugmentRanges:
    """Return the ranges, with the shares of what is on: in a stack of one gray level, noise is not."""
    without = AugmentRanges(**ranges)
    return AugmentRanges(**ranges, probability={name: shares[name] for name in shares if name in without.optional})


def _levels(levels: float) -> float:
    from augment.recipe import to_float32  # loads numpy, which the help of `augpipe build` does without

    return to_float32(levels)
