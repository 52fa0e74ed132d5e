"""The lattice: regular points of a sample's window, and where its recipe's deformation sends them."""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from augment.coordinates import slice_coordinates
from augment.deform import spline_basis
from augment.recipe import Recipe

Points: TypeAlias = NDArray[np.float64]  # (2, ...), in pixels, (y, x) order

N_LINES, _STEPS = 13, 8  # lines each way, and points from one line to the next


def window_lattice(recipe: Recipe) -> tuple[Points, Points]:
    """Return points spread evenly over the window, and p + D(p) for each: both (2, n, n), in window pixels."""
    n = (N_LINES - 1) * _STEPS + 1
    axes = [np.linspace(0, side - 1, n) for side in recipe.window]
    # `augment.coordinates.displacement` computes D for every pixel; a preview must not take minutes for a large window.
    rows, columns = (
        np.stack([np.interp(at, np.arange(side), weights) for weights in spline_basis(side, extent, recipe.n_points)])
        for side, extent, at in zip(recipe.window, recipe.extent_px, axes, strict=True)
    )
    points = np.stack(np.meshgrid(*axes, indexing="ij"))
    return points, points + np.einsum("aij,ir,jc->arc", np.asarray(recipe.grid_px), rows, columns)


def on_slice(points: Points, recipe: Recipe, slice_size: tuple[int, int]) -> Points:
    """Return where in the slice deformed points (2, n, n) of the window lie, in slice pixels."""
    centre = (np.array(recipe.window) - 1).reshape(2, 1, 1) / 2
    return slice_coordinates(points - centre, recipe, slice_size)


def control_points(recipe: Recipe) -> tuple[Points, Points]:
    """Return where the control points are, and where they are moved to: both (2, K, K), in window pixels."""
    axes = (
        np.linspace(0, extent - 1, recipe.n_points) - (extent - side) / 2
        for side, extent in zip(recipe.window, recipe.extent_px, strict=True)
    )
    points = np.stack(np.meshgrid(*axes, indexing="ij"))
    return points, points + np.asarray(recipe.grid_px)


def lattice_lines(points: Points) -> list[Points]:
    """Return the lines of a lattice (2, n, n), each (2, n): first those along x, then those along y."""
    each = range(0, points.shape[1], _STEPS)
    return [points[:, k, :] for k in each] + [points[:, :, k] for k in each]


def lattice_border(points: Points) -> Points:
    """Return the closed line (2, 4n - 3) around a lattice (2, n, n), clockwise from its top left corner."""
    sides = points[:, 0, :], points[:, 1:, -1], points[:, -1, -2::-1], points[:, -2::-1, 0]
    return np.concatenate(sides, axis=1)
