"""The reference engine: every stage done on its own, by scipy and elasticdeform, as the original pipeline did.

Slow, and with rotation a little blurred, because it interpolates twice; there to hold the fused kernel against.
elasticdeform 0.5.1 is its last release; its wheels were built for NumPy 1, so it must be built from source.
"""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import scipy.ndimage
from numpy.typing import NDArray

from augment.errors import MissingDependencyError
from augment.gray import set_gray
from augment.recipe import Recipe
from augment.renderer import Sample, mirror_pad


def require_elasticdeform() -> Any:
    """Return the elasticdeform module.

    Raises:
        MissingDependencyError: it is not installed, or was built for another NumPy.
    """
    try:
        import elasticdeform
    except Exception as error:  # a wheel built for NumPy 1 fails with several types
        raise MissingDependencyError(
            f"engine staged: elasticdeform cannot be imported ({type(error).__name__}); "
            "install it with: pip install --no-binary elasticdeform elasticdeform"
        ) from error
    return elasticdeform


def render_staged(image: NDArray[Any], label: NDArray[Any], recipe: Recipe) -> Sample:
    """Return the sample that `recipe` makes of one slice: pad, rotate, deform, crop, one after the other.

    Args:
        image: (Y, X) or (Y, X, C); uint8, uint16, int16 or float32.
        label: (Y, X) uint8 or uint16.
        recipe: what to make of it.

    Raises:
        MissingDependencyError: elasticdeform is missing or broken.
    """
    if image.ndim == 3:
        channels = [
            render_staged(channel, label, replace(recipe, gain=gain, bias=bias, gray=()))
            for channel, (gain, bias) in zip(np.moveaxis(image, -1, 0), recipe.gray_of(image.shape[2]), strict=True)
        ]
        return Sample(np.stack([channel.image for channel in channels], axis=-1), channels[0].label)
    elasticdeform = require_elasticdeform()
    grid, canvas = _covering_grid(recipe)
    offset = tuple((outer - inner) // 2 for outer, inner in zip(canvas, recipe.window, strict=True))
    window = tuple(slice(start, start + side) for start, side in zip(offset, recipe.window, strict=True))
    rotated = [
        _rotate(image.astype(np.float32), recipe, canvas, order=3),
        _rotate(label, recipe, canvas, order=0),
    ]
    deformed, label_out = elasticdeform.deform_grid(rotated, grid, order=[3, 0], mode="mirror", crop=window)
    return Sample(set_gray(deformed, recipe, image.dtype), label_out)


def _covering_grid(recipe: Recipe) -> tuple[NDArray[np.float64], tuple[int, int]]:
    """Return a control grid and the canvas that it spans, wide enough that no deformation leaves the canvas.

    elasticdeform stretches its grid over the whole input. Where the recipe's extent leaves too little room around
    the window, the grid goes on as its own mirror image, (K-1) points a side, which is the same spline inside.
    """
    grid = np.asarray(recipe.grid_px, np.float64)
    room = min(extent - side for extent, side in zip(recipe.extent_px, recipe.window, strict=True)) / 2
    if room >= 3 * np.abs(grid).max() + 16:
        return grid, recipe.extent_px
    more = recipe.n_points - 1
    height, width = (3 * side - 2 for side in recipe.extent_px)
    return np.pad(grid, ((0, 0), (more, more), (more, more)), mode="reflect"), (height, width)


def _rotate(pixels: NDArray[Any], recipe: Recipe, canvas: tuple[int, int], *, order: int) -> NDArray[Any]:
    """Return the mirror-padded slice, rotated onto the canvas around the window's centre."""
    matrix = np.asarray(recipe.matrix)
    reach = math.ceil(float(np.abs(matrix).sum(axis=1).max()) * max(canvas) / 2 + max(map(abs, recipe.shift_px)))
    margin = reach + 16
    centre = np.asarray(recipe.slice_centre((pixels.shape[0], pixels.shape[1]))) + margin
    origin = centre - matrix @ ((np.asarray(canvas) - 1) / 2)
    padded = mirror_pad(pixels, margin)
    turned: NDArray[Any] = scipy.ndimage.affine_transform(padded, matrix, origin, canvas, order=order, mode="mirror")
    return turned
