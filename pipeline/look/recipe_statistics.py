"""What the recipes of a dataset drew: how far every random number of them went."""

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

from augment.recipe import Recipe

Range: TypeAlias = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Drawn:
    """The extent of what was drawn; a range is the smallest and the largest value.

    Attributes:
        n: recipes.
        n_flipped: of them mirrored.
        angle_deg: counter-clockwise as displayed.
        zoom: magnification.
        shift_y_px: of the window's centre, in slice pixels.
        shift_x_px: likewise.
        gain: factor on the gray levels.
        bias: gray levels added.
        grid_sd_px: standard deviation of all control points' displacements along y and along x, in output pixels.
        grid_largest_px: the largest of them, either way.
    """

    n: int
    n_flipped: int
    angle_deg: Range
    zoom: Range
    shift_y_px: Range
    shift_x_px: Range
    gain: Range
    bias: Range
    grid_sd_px: float
    grid_largest_px: float

    def to_json(self) -> dict[str, Any]:
        """Return the extents as plain JSON values."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}


class RecipeStatistics:
    """The extent of what was drawn, recipe by recipe; none of them is kept."""

    def __init__(self) -> None:
        self._n = self._n_flipped = self._n_pushes = 0
        self._total = self._squares = self._largest_px = 0.0
        self._ranges: dict[str, Range] = {}

    def add(self, recipe: Recipe) -> None:
        """Take in one more recipe."""
        self._n += 1
        self._n_flipped += recipe.flip
        for name, value in _numbers(recipe).items():
            low, high = self._ranges.get(name, (value, value))
            self._ranges[name] = min(low, value), max(high, value)
        pushes = [push for axis in recipe.grid_px for row in axis for push in row]
        self._n_pushes += len(pushes)
        self._total += sum(pushes)
        self._squares += sum(push * push for push in pushes)
        self._largest_px = max(self._largest_px, *map(abs, pushes))

    def drawn(self) -> Drawn:
        """Return the extent.

        Raises:
            ValueError: there was no recipe.
        """
        if not self._n:
            raise ValueError("no recipe to measure")
        variance = self._squares / self._n_pushes - (self._total / self._n_pushes) ** 2
        return Drawn(
            n=self._n,
            n_flipped=self._n_flipped,
            grid_sd_px=math.sqrt(max(variance, 0.0)),
            grid_largest_px=self._largest_px,
            **self._ranges,
        )


def measure_recipes(recipes: Iterable[Recipe]) -> Drawn:
    """Return what the recipes drew, reading each once and keeping none.

    Raises:
        ValueError: there is no recipe.
    """
    statistics = RecipeStatistics()
    for recipe in recipes:
        statistics.add(recipe)
    return statistics.drawn()


def _numbers(recipe: Recipe) -> dict[str, float]:
    shift_y, shift_x = recipe.shift_px
    return {
        "angle_deg": recipe.angle_deg,
        "zoom": recipe.zoom,
        "shift_y_px": shift_y,
        "shift_x_px": shift_x,
        "gain": recipe.gain,
        "bias": recipe.bias,
    }
