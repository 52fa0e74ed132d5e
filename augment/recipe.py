"""A recipe: every number that turns one slice into one sample, and nothing else.

All reals in a recipe are float32 values. Rendering uses only addition, subtraction, multiplication and floor on
them, so that a recipe gives the same bytes on any CPU.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from augment.errors import RecipeError
from augment.operations import (
    OPERATIONS,
    Blur,
    Color,
    Contrast,
    Defects,
    Gamma,
    LowResolution,
    Noise,
    Operation,
    Shading,
    Stain,
)

Pair: TypeAlias = tuple[float, float]
Grid: TypeAlias = tuple[tuple[float, ...], ...]
Place: TypeAlias = tuple[int, int]
Box: TypeAlias = tuple[int, int, int, int]

_MAX_FLOAT32 = float(np.finfo(np.float32).max)
_MAX_SIDE_PX = 1 << 20
MAX_ATTEMPTS = 64  # at drawing a recipe whose window shows enough
_OPTIONAL: Mapping[str, Any] = {  # they have no key where they say nothing
    "gray": (),
    "place": None,
    "attempt": 0,
    "scored": None,
    **dict.fromkeys(OPERATIONS),
}
_WHOLE = ("window", "extent_px", "place", "scored")


def to_float32(value: float) -> float:
    """Return the float32 value nearest to `value`, as a Python float."""
    return float(np.float32(value))


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to render one sample; see manifests/README.md for the formula.

    Attributes:
        window: (height, width) of the sample, in pixels.
        grid_px: displacements (y, then x) at K x K control points, in output pixels; row-major.
        extent_px: (height, width) that the control grid spans, centred on the window, in pixels.
        matrix: ((yy, yx), (xy, xx)), from window to slice coordinates: rotation x flip / zoom.
        shift_px: (y, x) of the window's centre relative to the slice's, in slice pixels.
        angle_deg: counter-clockwise as displayed; to be read, `matrix` is what is used. So are flip and zoom.
        gain: factor on the gray levels.
        bias: gray levels added after the gain.
        gray: (gain, bias) of each channel, where each has its own; the first is `gain` and `bias`. Else empty.
        place: (y, x) of the slice's pixel that the window's centre pixel looks at, where the window was drawn so; to
            be read, `shift_px` is what is used.
        attempt: how many recipes were drawn before, and not taken because their windows show too little.
        scored: of a plain sample, the pixels of the window that count: first row, first column, the row after the last,
            the column after the last. A sample that has it is copied from the slice (`augment.plain`).
        shading: and all down to gamma, of `augment.operations.OPERATIONS`: what is done to the gray levels; None where
            it is not.

    Raises:
        RecipeError: a number is missing, not finite, not a float32 value, or of the wrong shape.
    """

    window: tuple[int, int]
    grid_px: tuple[Grid, Grid]
    extent_px: tuple[int, int]
    matrix: tuple[Pair, Pair]
    shift_px: Pair
    angle_deg: float = 0.0
    flip: bool = False
    zoom: float = 1.0
    gain: float = 1.0
    bias: float = 0.0
    gray: tuple[Pair, ...] = ()
    place: Place | None = None
    attempt: int = 0
    scored: Box | None = None
    defects: Defects | None = None
    shading: Shading | None = None
    stain: Stain | None = None
    color: Color | None = None
    blur: Blur | None = None
    noise: Noise | None = None
    low_resolution: LowResolution | None = None
    contrast: Contrast | None = None
    gamma: Gamma | None = None

    def __post_init__(self) -> None:
        _require_sides("window", self.window, at_least=(2, 2))
        _require_sides("extent_px", self.extent_px, at_least=self.window)
        points = len(self.grid_px[0]) if self.grid_px else 0
        rows = [row for axis in self.grid_px for row in axis]
        if points < 2 or len(self.grid_px) != 2 or len(rows) != 2 * points or {len(row) for row in rows} != {points}:
            raise RecipeError("recipe: grid_px must be 2 x K x K numbers with K >= 2")
        if len(self.matrix) != 2 or any(len(row) != 2 for row in self.matrix) or len(self.shift_px) != 2:
            raise RecipeError("recipe: matrix must be 2 x 2 numbers and shift_px 2 numbers")
        if type(self.flip) is not bool:
            raise RecipeError(f"recipe: flip is neither true nor false, but {self.flip!r:.80}")
        if any(len(pair) != 2 for pair in self.gray) or (self.gray and self.gray[0] != (self.gain, self.bias)):
            raise RecipeError("recipe: gray must be pairs of gain and bias, the first of them its own")
        if self.place is not None:
            _require_sides("place", self.place, at_least=(0, 0))
        if type(self.attempt) is not int or not 0 <= self.attempt < MAX_ATTEMPTS:
            raise RecipeError(f"recipe: attempt must be from 0 to {MAX_ATTEMPTS - 1}, got {self.attempt!r:.80}")
        if self.scored is not None:
            _require_box(self.scored, self.window)
        pairs = [value for pair in self.gray for value in pair]
        pairs += [value for operation in self.operations.values() for value in operation.reals()]
        scalars = (*self.shift_px, self.angle_deg, self.zoom, self.gain, self.bias, *pairs)
        for value in (*scalars, *self.matrix[0], *self.matrix[1], *(v for row in rows for v in row)):
            if not abs(value) <= _MAX_FLOAT32 or to_float32(value) != value:
                raise RecipeError(f"recipe: every number must be a finite float32 value, got {value!r}")

    @property
    def n_points(self) -> int:
        """Control points along each axis."""
        return len(self.grid_px[0])

    @property
    def operations(self) -> dict[str, Operation]:
        """What is done to the gray levels beside gain and bias, by name."""
        drawn = {name: getattr(self, name) for name in OPERATIONS}
        return {name: operation for name, operation in drawn.items() if operation is not None}

    def beyond_fault(self) -> "Recipe | None":
        """Return the recipe of what lies beyond the section's fault; None where that is where it was."""
        if self.defects is None or self.defects.shift_px == (0.0, 0.0):
            return None
        (shift_y, shift_x), (further_y, further_x) = self.shift_px, self.defects.shift_px
        (yy, yx), (xy, xx) = self.matrix
        shift_px = shift_y + (yy * further_y + yx * further_x), shift_x + (xy * further_y + xx * further_x)
        return replace(self, defects=None, shift_px=(to_float32(shift_px[0]), to_float32(shift_px[1])))

    def beside(self, distance: int) -> "Recipe":
        """Return the recipe of the slice so many slices away, where a sample shows it as context."""
        if not distance or not self.operations:
            return self
        changed = {name: operation.beside(distance) for name, operation in self.operations.items()}
        return replace(self, **changed)  # type: ignore[arg-type]  # each under its own name

    def gray_of(self, n_channels: int) -> tuple[Pair, ...]:
        """Return (gain, bias) of each of so many channels.

        Raises:
            RecipeError: it has them for another number of channels.
        """
        if self.gray and len(self.gray) != n_channels:
            raise RecipeError(f"recipe: has gray levels of {len(self.gray)} channels, the image has {n_channels}")
        return self.gray or ((self.gain, self.bias),) * n_channels

    def slice_centre(self, slice_size: tuple[int, int]) -> Pair:
        """Return the point of the slice that the window's centre shows, in slice pixels."""
        (height, width), (shift_y, shift_x) = slice_size, self.shift_px
        return (height - 1) / 2 + shift_y, (width - 1) / 2 + shift_x

    def slice_corner(self, slice_size: tuple[int, int]) -> Place:
        """Return the (row, column) of the slice that a plain sample's first pixel shows; below 0 in a mirror image."""
        top, left = (
            int(shift + (side - shown) / 2)
            for shift, side, shown in zip(self.shift_px, slice_size, self.window, strict=True)
        )
        return top, left

    def to_json(self) -> dict[str, Any]:
        """Return the recipe as plain JSON values; `from_json` turns them back into an equal recipe."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        values |= {name: asdict(operation) for name, operation in self.operations.items()}
        return {name: value for name, value in values.items() if name not in _OPTIONAL or value != _OPTIONAL[name]}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Recipe":
        """Return the recipe that `values` describe.

        Raises:
            RecipeError: a key is missing or unknown, or a value has the wrong type.
        """
        expected = set(cls.__dataclass_fields__) - set(_OPTIONAL)
        if not isinstance(values, Mapping):
            raise RecipeError(f"recipe: expected an object with the keys {sorted(expected)}, got {values!r:.80}")
        if set(values) - set(_OPTIONAL) != expected:
            raise RecipeError(f"recipe: expected the keys {sorted(expected)}, got {sorted(map(str, values))}")
        sides = {name: tuple(values[name]) for name in _WHOLE if isinstance(values.get(name), list | tuple)}
        try:
            done = {name: kind.from_json(name, values[name]) for name, kind in OPERATIONS.items() if name in values}
            reals = {name: _as_floats(values[name]) for name in set(values) - {*_WHOLE, "flip", "attempt", *done}}
            return cls(**{**values, **sides, **reals, **done})
        except (TypeError, OverflowError, RecursionError) as error:
            raise RecipeError(f"recipe: a value has the wrong type ({error})") from error


def _require_sides(name: str, sides: tuple[int, int], *, at_least: tuple[int, int]) -> None:
    if len(sides) != 2 or any(type(side) is not int for side in sides):
        raise RecipeError(f"recipe: {name} must be two whole numbers, got {sides!r}")
    if any(not least <= side <= _MAX_SIDE_PX for side, least in zip(sides, at_least, strict=True)):
        raise RecipeError(
            f"recipe: {name} must be at least {at_least}, and {_MAX_SIDE_PX} px a side at most, got {sides!r:.80}"
        )


def _require_box(box: Box, window: tuple[int, int]) -> None:
    is_whole = len(box) == 4 and all(type(side) is int for side in box)
    if not is_whole or not all(0 <= box[axis] < box[axis + 2] <= window[axis] for axis in (0, 1)):
        raise RecipeError(f"recipe: scored must be top, left, bottom and right within the window, got {box!r:.80}")


def _as_floats(value: Any) -> Any:
    """Return a number as a float, and a list of numbers, or of lists, as a tuple."""
    if isinstance(value, list | tuple):
        return tuple(map(_as_floats, value))
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{value!r:.80} is not a number")
    return float(value)
