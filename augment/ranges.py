"""What a build may draw: the range of every random number in a recipe, and the presets that choose them all."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, get_args

from augment.errors import ConfigError
from augment.operations import OPERATIONS

Extent: TypeAlias = Literal["window", "padded"]
Preset: TypeAlias = Literal["unet2015", "original", "strong", "ctc-phc-u373", "ctc-dic-hela"]
PRESETS: tuple[Preset, ...] = get_args(Preset)

MIN_ZOOM = 0.05  # below it a window would mirror a slice hundreds of times
MAX_GRID_POINTS = 64
_MAX = 1e30  # well inside float32, in which recipes are written
_STRONG_SHIFT_PX = 32.0
_STRONG_BIAS = 0.1  # of the stack's gray levels, from the darkest to the brightest


@dataclass(frozen=True, slots=True)
class AugmentRanges:
    """The ranges that recipes are drawn from; uniform unless said otherwise.

    Attributes:
        rotate_deg: angles, counter-clockwise as displayed. (0, 0) is no rotation.
        flip: mirror every second sample (by chance) left to right.
        zoom: magnification; above 1 shows less tissue, larger.
        shift_px: the window's centre moves by up to so many whole slice pixels along each axis; None is just
            as far as lets an unrotated window reach every corner of the slice, 0 where it covers the slice.
        gain: factor on the gray levels.
        bias: gray levels added after the gain.
        per_channel: every channel has a gain, a bias and operations of its own; else all have the same.
        grid_points: control points of the elastic deformation along each axis.
        sigma_px: standard deviation of the control points' normal displacement, in output pixels. 0 is none.
        extent: what the control grid spans. `window`: the sample (Ronneberger et al. 2015, 3 x 3 over the tile);
            `padded`: the slice with its mirrored margin, as wide as the window needs plus 200 px a side, so that
            the deformation inside the window is much milder.
        noise: and the others of `augment.operations.OPERATIONS`: the strengths of an operation on the gray levels; None
            where it is off, and so is a range of nothing but the strength that changes nothing.
        probability: of the operations, the share of the samples that get it; all do where none is said.

    Raises:
        ConfigError: a range is upside down, not finite, or beyond what can be rendered.
    """

    rotate_deg: tuple[float, float] = (0.0, 360.0)
    flip: bool = False
    zoom: tuple[float, float] = (1.0, 1.0)
    shift_px: float | None = None
    gain: tuple[float, float] = (1.0, 1.0)
    bias: tuple[float, float] = (0.0, 0.0)
    per_channel: bool = False
    grid_points: int = 3
    sigma_px: float = 10.0
    extent: Extent = "window"
    noise: tuple[float, float] | None = None
    probability: Mapping[str, float] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        for name in ("rotate_deg", "zoom", "gain", "bias"):
            low, high = getattr(self, name)
            if not -_MAX <= low <= high <= _MAX:
                raise ConfigError(f"{name}: expected LOW <= HIGH, both finite, got {low:g} {high:g}")
        if self.zoom[0] < MIN_ZOOM:
            raise ConfigError(f"zoom: expected at least {MIN_ZOOM}, got {self.zoom[0]:g}")
        if self.gain[0] <= 0:
            raise ConfigError(f"gain: expected more than 0, got {self.gain[0]:g}")
        if self.shift_px is not None and not 0 <= self.shift_px <= _MAX:
            raise ConfigError(f"shift: expected 0 or more pixels, got {self.shift_px:g}")
        if type(self.grid_points) is not int or not 2 <= self.grid_points <= MAX_GRID_POINTS:
            raise ConfigError(f"grid: expected 2 to {MAX_GRID_POINTS} control points, got {self.grid_points}")
        if not 0 <= self.sigma_px <= _MAX:
            raise ConfigError(f"sigma: expected 0 or more pixels, got {self.sigma_px:g}")
        if type(self.per_channel) is not bool:
            raise ConfigError(f"per-channel: expected true or false, got {self.per_channel!r}")
        if self.extent not in get_args(Extent):
            raise ConfigError(f"extent: expected window or padded, got {self.extent!r}")
        self._settle_operations()

    def _settle_operations(self) -> None:
        """Leave out what changes nothing, so that equal ranges are equal."""
        for name, (low, high) in self.operations.items():
            lowest, highest = OPERATIONS[name].limits
            if not lowest <= low <= high <= highest:
                where, beyond = name.replace("_", "-"), f"from {lowest:g} to {highest:g}"
                raise ConfigError(f"{where}: expected LOW <= HIGH, both {beyond}, got {low:g} {high:g}")
            if low == high == OPERATIONS[name].off:
                object.__setattr__(self, name, None)
        for name, share in self.probability.items():
            if getattr(self, name, None) is None or name not in OPERATIONS:
                on = ", ".join(self.operations) or "none is"
                raise ConfigError(f"probability: expected an operation that is on ({on}), got {name!r:.80}")
            if not 0 < share <= 1:
                raise ConfigError(f"probability: {name}: expected a fraction above 0, up to 1, got {share:g}")
        shares = {name: float(share) for name, share in self.probability.items() if share != 1}
        object.__setattr__(self, "probability", shares)

    @property
    def operations(self) -> dict[str, tuple[float, float]]:
        """The strengths of the operations that are on, by name."""
        asked = {name: getattr(self, name) for name in OPERATIONS}
        return {name: strength for name, strength in asked.items() if strength is not None}


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

    `ctc-phc-u373`, `ctc-dic-hela`: `unet2015`, for two sets of the Cell Tracking Challenge on which that paper reports;
    `augpipe build` takes the size of their images and the weights of its loss with them.

    Args:
        name: one of PRESETS.
        gray_span: what a bias is measured in: the gray level that 99 % of the stack's pixels are below, minus the one
            that 1 % are.
        covered: whether the window is at least as large as every slice.

    Raises:
        ConfigError: there is no such preset.
    """
    if name in {"unet2015", "ctc-phc-u373", "ctc-dic-hela"}:
        return AugmentRanges()
    if name == "original":
        return AugmentRanges(rotate_deg=(0.0, 0.0), extent="padded")
    if name == "strong":
        from augment.recipe import to_float32  # loads numpy, which the help of `augpipe build` does without

        bias = to_float32(_STRONG_BIAS * gray_span)
        shift_px = _STRONG_SHIFT_PX if covered else None
        return AugmentRanges(flip=True, zoom=(0.8, 1.25), shift_px=shift_px, gain=(0.8, 1.25), bias=(0.0 - bias, bias))
    raise ConfigError(f"preset: expected one of {', '.join(PRESETS)}, got {name!r}")
