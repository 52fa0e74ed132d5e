"""What a build may draw: the range of every random number in a recipe."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, get_args

from augment.errors import ConfigError
from augment.operations import OPERATIONS

Extent: TypeAlias = Literal["window", "padded"]

MIN_ZOOM = 0.05  # below it a window would mirror a slice hundreds of times
MAX_GRID_POINTS = 64
# What else some samples alone may get: its field, and the range that the others have.
SHARED: Mapping[str, tuple[str, tuple[float, float]]] = {
    "rotate": ("rotate_deg", (0.0, 0.0)),
    "zoom": ("zoom", (1.0, 1.0)),
    "gain": ("gain", (1.0, 1.0)),
    "bias": ("bias", (0.0, 0.0)),
}
_MAX = 1e30  # well inside float32, in which recipes are written
_MAX_LEVEL = 1e10  # of a gain or a bias: with noise as strong, float32 holds what they make of a gray level


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
        shading: and all down to gamma, of `augment.operations.OPERATIONS`: the strengths of an operation on the gray
            levels. None where it is off, as it is where there is but the one strength that changes nothing.
        probability: of the operations, and of `rotate`, `zoom`, `gain` and `bias`, the share of the samples that get
            it; all do where none is said. What is not rotated is turned upside down, every second by chance, where
            `flip` is on: so it is mirrored along each axis, by chance.

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
    defects: tuple[float, float] | None = None
    shading: tuple[float, float] | None = None
    stain: tuple[float, float] | None = None
    color: tuple[float, float] | None = None
    blur: tuple[float, float] | None = None
    noise: tuple[float, float] | None = None
    low_resolution: tuple[float, float] | None = None
    contrast: tuple[float, float] | None = None
    gamma: tuple[float, float] | None = None
    probability: Mapping[str, float] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        for name in ("rotate_deg", "zoom", "gain", "bias"):
            low, high = getattr(self, name)
            limit = _MAX_LEVEL if name in ("gain", "bias") else _MAX
            if not -limit <= low <= high <= limit:
                raise ConfigError(f"{name}: expected LOW <= HIGH, from {-limit:g} to {limit:g}, got {low:g} {high:g}")
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
            if name not in self.optional:
                on = ", ".join(self.optional) or "nothing is"
                way = f"; say how strong it is, too: --{name.replace('_', '-')} LOW HIGH" if name in OPERATIONS else ""
                raise ConfigError(f"probability: expected what is on ({on}), got {name!r:.80}{way}")
            if not 0 < share <= 1:
                raise ConfigError(f"probability: {name}: expected a fraction above 0, up to 1, got {share:g}")
        shares = {name: float(share) for name, share in self.probability.items() if share != 1}
        object.__setattr__(self, "probability", shares)

    @property
    def optional(self) -> tuple[str, ...]:
        """What is on, and may have a probability."""
        shared = (name for name, (own, off) in SHARED.items() if getattr(self, own) != off)
        return *shared, *self.operations

    @property
    def operations(self) -> dict[str, tuple[float, float]]:
        """The strengths of the operations that are on, by name."""
        asked = {name: getattr(self, name) for name in OPERATIONS}
        return {name: strength for name, strength in asked.items() if strength is not None}
