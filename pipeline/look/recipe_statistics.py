"""What the recipes of a dataset drew: how far every random number of them went."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

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
        n_done: of the recipes, how many have each operation on gray levels.
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
    n_done: Mapping[str, int]


def measure_recipes(recipes: Iterable[Recipe]) -> Drawn:
    """Return what the recipes drew, reading each once and keeping none.

    Raises:
        ValueError: there is no recipe.
    """
    n = n_flipped = n_pushes = 0
    total = squares = largest_px = 0.0
    ranges: dict[str, Range] = {}
    n_done: Counter[str] = Counter()
    for recipe in recipes:
        n += 1
        n_flipped += recipe.flip
        n_done.update(recipe.operations.keys())
        shift_y, shift_x = recipe.shift_px
        gains, biases = zip(*(recipe.gray or recipe.gray_of(1)), strict=True)
        values = {
            "angle_deg": (recipe.angle_deg,),
            "zoom": (recipe.zoom,),
            "shift_y_px": (shift_y,),
            "shift_x_px": (shift_x,),
            "gain": gains,
            "bias": biases,
        }
        for name, drawn in values.items():
            known = ranges.get(name, ())
            ranges[name] = min(*known, *drawn, drawn[0]), max(*known, *drawn, drawn[0])
        pushes = [push for axis in recipe.grid_px for row in axis for push in row]
        n_pushes += len(pushes)
        total += sum(pushes)
        squares += sum(push * push for push in pushes)
        largest_px = max(largest_px, *map(abs, pushes))
    if not n:
        raise ValueError("no recipe to measure")
    variance = squares / n_pushes - (total / n_pushes) ** 2
    grid_sd_px = math.sqrt(max(variance, 0.0))
    return Drawn(n, n_flipped, grid_sd_px=grid_sd_px, grid_largest_px=largest_px, n_done=dict(n_done), **ranges)
