"""What a build may draw: the range of every random number in a recipe."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from augment.errors import ConfigError

Extent: TypeAlias = Literal["window", "padded"]

SMALLEST_ZOOM = 0.05  # below it a window would mirror a slice hundreds of times
MOST_GRID_POINTS = 64
_LARGEST = 1e30  # well inside float32, in which recipes are written


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
        grid_points: control points of the elastic deformation along each axis.
        sigma_px: standard deviation of the control points' normal displacement, in output pixels. 0 is none.
        extent: what the control grid spans. `window`: the sample (Ronneberger et al. 2015, 3 x 3 over the tile);
            `padded`: the slice with its mirrored margin, as wide as the window needs plus 200 px a side, so that
            the deformation inside the window is much milder.

    Raises:
        ConfigError: a range is upside down, not finite, or beyond what can be rendered.
    """

    rotate_deg: tuple[float, float] = (0.0, 360.0)
    flip: bool = False
    zoom: tuple[float, float] = (1.0, 1.0)
    shift_px: float | None = None
    gain: tuple[float, float] = (1.0, 1.0)
    bias: tuple[float, float] = (0.0, 0.0)
    grid_points: int = 3
    sigma_px: float = 10.0
    extent: Extent = "window"

    def __post_init__(self) -> None:
        for name in ("rotate_deg", "zoom", "gain", "bias"):
            low, high = getattr(self, name)
            if not -_LARGEST <= low <= high <= _LARGEST:
                raise ConfigError(f"{name}: expected LOW <= HIGH, both finite, got {low:g} {high:g}")
        if self.zoom[0] < SMALLEST_ZOOM:
            raise ConfigError(f"zoom: expected at least {SMALLEST_ZOOM}, got {self.zoom[0]:g}")
        if self.gain[0] <= 0:
            raise ConfigError(f"gain: expected more than 0, got {self.gain[0]:g}")
        if self.shift_px is not None and not 0 <= self.shift_px <= _LARGEST:
            raise ConfigError(f"shift: expected 0 or more pixels, got {self.shift_px:g}")
        if type(self.grid_points) is not int or not 2 <= self.grid_points <= MOST_GRID_POINTS:
            raise ConfigError(f"grid: expected 2 to {MOST_GRID_POINTS} control points, got {self.grid_points}")
        if not 0 <= self.sigma_px <= _LARGEST:
            raise ConfigError(f"sigma: expected 0 or more pixels, got {self.sigma_px:g}")
        if self.extent not in ("window", "padded"):
            raise ConfigError(f"extent: expected window or padded, got {self.extent!r}")
