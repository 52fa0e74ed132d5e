"""The NumPy twin of the kernel's coordinates: for every pixel of a window, where in the slice it looks.

The kernel (`augment.kernel.resample`) does the same arithmetic pixel by pixel. These functions are its maps one by
one, each readable on its own: the tests hold the kernel against them, and the preview (`pipeline.look.lattice`) draws
with them. No sample is rendered by them.

    u = p - (window - 1) / 2                    crop: a pixel p, counted from the window's centre
    v = u + D(p)                                deform: D is a cubic spline through the control grid
    q = M v + (slice - 1) / 2 + shift           rotate, flip, zoom, shift
    fold(q)                                     pad: the slice goes on as its own reflection
"""

import numpy as np
from numpy.typing import NDArray

from augment.deform import spline_basis
from augment.recipe import Recipe


def window_offsets(window: tuple[int, int]) -> NDArray[np.float64]:
    """Return u for every pixel, as (2, h, w) in (y, x) order."""
    height, width = window
    rows = np.arange(height) - (height - 1) / 2
    columns = np.arange(width) - (width - 1) / 2
    return np.stack(np.broadcast_arrays(rows[:, None], columns[None, :]))


def displacement(recipe: Recipe) -> NDArray[np.float64]:
    """Return D(p) for every pixel, as (2, h, w) in output pixels, (y, x) order."""
    rows, columns = (
        spline_basis(side, extent, recipe.n_points)
        for side, extent in zip(recipe.window, recipe.extent_px, strict=True)
    )
    field: NDArray[np.float64] = np.einsum("aij,ir,jc->arc", np.asarray(recipe.grid_px), rows, columns)
    return field


def slice_coordinates(offsets: NDArray[np.float64], recipe: Recipe, slice_size: tuple[int, int]) -> NDArray[np.float64]:
    """Return q for deformed offsets v (2, h, w): where in the slice they lie, in slice pixels, (y, x) order."""
    (yy, yx), (xy, xx) = recipe.matrix
    y, x = offsets
    centre_y, centre_x = recipe.slice_centre(slice_size)
    return np.stack((yy * y + yx * x + centre_y, xy * y + xx * x + centre_x))


def fold(coordinates: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """Return where on the slice a coordinate on its endless mirrored extension lies, in [-0.5, size - 0.5]."""
    period = 2.0 * size
    wrapped = coordinates - period * np.floor((coordinates + 0.5) / period)
    return np.minimum(wrapped, period - 1.0 - wrapped)
