"""Rotation with flip, zoom and shift, the third coordinate map: q = M v + (size-1)/2 + shift."""

import numpy as np
from numpy.typing import NDArray

from augment.recipe import Recipe


def slice_coordinates(offsets: NDArray[np.float64], recipe: Recipe, slice_size: tuple[int, int]) -> NDArray[np.float64]:
    """Return where in the slice the window's (2, h, w) deformed offsets lie, in slice pixels, (y, x) order."""
    (yy, yx), (xy, xx) = recipe.matrix
    y, x = offsets
    centre_y, centre_x = slice_centre(recipe, slice_size)
    return np.stack((yy * y + yx * x + centre_y, xy * y + xx * x + centre_x))


def slice_centre(recipe: Recipe, slice_size: tuple[int, int]) -> tuple[float, float]:
    """Return the point of the slice that the window's centre shows, in slice pixels."""
    (height, width), (shift_y, shift_x) = slice_size, recipe.shift_px
    return (height - 1) / 2 + shift_y, (width - 1) / 2 + shift_x
