"""Operations on a sample's pixels, before these are rounded: which come first, and what each does.

Only + - * / and the square root are used, on reals of one width in a fixed order, and whole numbers, so that a recipe
gives the same bytes on any CPU.
"""

import math
from collections.abc import Callable
from functools import cache
from statistics import NormalDist
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from augment.deform import spline_basis
from augment.errors import RecipeError
from augment.gray import NO_CHANGE, gray_constants, lifted_gray, lower_gray
from augment.native import Kernel
from augment.operations.faults import darken
from augment.operations.mixing import mix_colors, mix_stains
from augment.operations.shading import POINTS
from augment.recipe import Recipe

Planes: TypeAlias = NDArray[np.floating[Any]]
Number = TypeVar("Number")

_NORMAL_SCALE = 4096  # of the table: fine beside what noise is rounded to, and coarse beside any library's last digit
_add_noise = Kernel("augment.operations.noise_kernels", "add_noise")
_blur = Kernel("augment.operations.blur_kernels", "blur")
_lower_resolution = Kernel("augment.operations.resolution_kernels", "lower_resolution")
_shade = Kernel("augment.operations.plane_kernels", "shade")
_set_contrast = Kernel("augment.operations.plane_kernels", "set_contrast")
_set_gamma = Kernel("augment.operations.plane_kernels", "set_gamma")
_set_levels = Kernel("augment.operations.plane_kernels", "set_levels")
_round_planes = Kernel("augment.operations.plane_kernels", "round_planes")


def change_planes(planes: Planes, recipe: Recipe) -> None:
    """Do a recipe's operations, and its gain and bias between them, in their order.

    Args:
        planes: float32 or float64 (C, h, w), the channels of a sample, which are changed.
        recipe: what to do.

    Raises:
        RecipeError: it has numbers for another number of channels.
    """
    for change in _ORDER:
        change(planes, recipe)


def round_planes(planes: Planes, image: NDArray[Any]) -> None:
    """Round planes (C, h, w) half up and clip them into an image (h, w) or (h, w, C) of its dtype."""
    limits = np.ascontiguousarray(gray_constants((NO_CHANGE,), image.dtype)[0, 1:])
    _round_planes(planes.reshape(len(planes), -1), limits, lifted_gray(image).reshape(-1))
    lower_gray(image)


@cache
def normal_table() -> NDArray[np.int16]:
    """Return, for each of 65536 equally likely numbers, a normal one, times 4096; read-only.

    That of number i has the probability (i + 1/2) / 65536 below it.
    """
    normal = NormalDist()
    above = [round(_NORMAL_SCALE * normal.inv_cdf((i + 0.5) / 65536)) for i in range(32768, 65536)]
    table = np.array([-level for level in reversed(above)] + above, np.int16)
    table.flags.writeable = False
    return table


def of_channels(values: tuple[Number, ...], n_channels: int) -> tuple[Number, ...]:
    """Return an operation's number for each of so many channels.

    Raises:
        RecipeError: it has them for another number of channels.
    """
    if len(values) not in (1, n_channels):
        raise RecipeError(f"recipe: has numbers for {len(values)} channels, the image has {n_channels}")
    return values * n_channels if len(values) == 1 else values


def _shade_planes(planes: Planes, recipe: Recipe) -> None:
    if (shading := recipe.shading) is None:
        return
    basis_y, basis_x = (spline_basis(side, side, POINTS) for side in planes.shape[1:])
    line = np.empty(planes.shape[2])
    for plane, field in zip(planes, of_channels(shading.field, len(planes)), strict=True):
        _shade(plane, np.asarray(field, np.float64), basis_y, basis_x, line)


def _blur_planes(planes: Planes, recipe: Recipe) -> None:
    if (blur := recipe.blur) is None:
        return
    spare = np.empty_like(planes[0])
    for plane, weights in zip(planes, of_channels(blur.weights, len(planes)), strict=True):
        all_weights = np.array([1.0 - 2.0 * math.fsum(weights), *weights], planes.dtype)
        _blur(plane, all_weights, spare, np.empty(planes.shape[2] + 2 * len(weights), planes.dtype))


def _lower_resolution_of(planes: Planes, recipe: Recipe) -> None:
    if (low := recipe.low_resolution) is None:
        return
    spare = np.empty_like(planes[0])
    for plane, zoom in zip(planes, of_channels(low.zoom, len(planes)), strict=True):
        (picked_y, above, part_y), (picked_x, left, part_x) = (
            _resolution_tables(side, max(1, math.floor(side * zoom + 0.5)), planes.dtype) for side in plane.shape
        )
        line = np.empty(len(picked_x) + 1, planes.dtype)
        _lower_resolution(plane, picked_y, picked_x, above, left, part_y, part_x, spare, line)


def _resolution_tables(side: int, n: int, real: np.dtype[Any]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return which of `side` pixels the n of a smaller picture are, and, for each, between which two of these it lies.

    Pixels are worked out in halves of theirs, as whole numbers: centre (2 i + 1) of one lies at that over n, of 2 side.
    """
    picked = (2 * np.arange(n) + 1) * side // (2 * n)
    place = np.maximum((2 * np.arange(side) + 1) * n - side, 0)
    before = np.minimum(place // (2 * side), n - 1)
    part = np.where(before < n - 1, place - 2 * side * before, 0) / (2 * side)
    return picked.astype(np.int32), before.astype(np.int32), part.astype(real)


def _change_contrast(planes: Planes, recipe: Recipe) -> None:
    if recipe.contrast is None:
        return
    room = np.empty((2, planes.shape[2]))
    for plane, factor in zip(planes, of_channels(recipe.contrast.factor, len(planes)), strict=True):
        _set_contrast(plane, factor, room)


def _change_gamma(planes: Planes, recipe: Recipe) -> None:
    if (gamma := recipe.gamma) is None:
        return
    roots, room = np.empty(planes.shape[2], planes.dtype), np.empty((2, planes.shape[2]))
    for plane, steps in zip(planes, of_channels(gamma.steps, len(planes)), strict=True):
        _set_gamma(plane, steps, int(gamma.inverted), roots, room)


def _change_levels(planes: Planes, recipe: Recipe) -> None:
    for plane, (gain, bias) in zip(planes, recipe.gray_of(len(planes)), strict=True):
        if (gain, bias) != NO_CHANGE:
            _set_levels(plane.reshape(-1), gain, bias)


def _add_noise_to(planes: Planes, recipe: Recipe) -> None:
    if (noise := recipe.noise) is None:
        return
    words = np.empty((4, 64), np.uint64)
    for channel, sigma in enumerate(of_channels(noise.sigma, len(planes))):
        plane = planes[channel].reshape(-1)
        _add_noise(plane, sigma / _NORMAL_SCALE, channel, *noise.key, normal_table(), words)


def _darken_faults(planes: Planes, recipe: Recipe) -> None:
    if recipe.defects is not None:
        darken(planes, recipe.defects)


def _mix_channels(planes: Planes, recipe: Recipe) -> None:
    if (recipe.stain, recipe.color) == (None, None):
        return
    if len(planes) != 3:
        raise RecipeError(f"recipe: has stain or color for 3 channels, the image has {len(planes)}")
    if recipe.stain is not None:
        mix_stains(planes, recipe.stain)
    if recipe.color is not None:
        mix_colors(planes, recipe.color)


_ORDER: tuple[Callable[[Planes, Recipe], None], ...] = (
    _darken_faults,
    _shade_planes,
    _mix_channels,
    _blur_planes,
    _add_noise_to,
    _lower_resolution_of,
    _change_levels,
    _change_contrast,
    _change_gamma,
)
