"""Operations on a sample's pixels, before these are rounded: which come first, and what each does.

Only + - * / and the square root are used, on reals of one width in a fixed order, and whole numbers, so that a recipe
gives the same bytes on any CPU.
"""

from collections.abc import Callable
from functools import cache
from statistics import NormalDist
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from augment.errors import RecipeError
from augment.gray import NO_CHANGE, gray_constants, lifted_gray, lower_gray
from augment.native import Kernel
from augment.recipe import Recipe

Planes: TypeAlias = NDArray[np.floating[Any]]
Number = TypeVar("Number")

_NORMAL_SCALE = 4096  # of the table: fine beside what noise is rounded to, and coarse beside any library's last digit
_add_noise = Kernel("augment.operations.noise_kernels", "add_noise")
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


_ORDER: tuple[Callable[[Planes, Recipe], None], ...] = (_add_noise_to, _change_levels)
