"""Operations on the colours of a sample: three planes, each made of all three."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from augment.native import Kernel
from augment.operations.color import Color
from augment.operations.stain import Stain

Planes = NDArray[np.floating[Any]]

_BLOCK_PX = 512
# Of reals as IEEE 754 has them: whole numbers of their size, places of the fraction, bias of the exponent; and the
# brightest gray level of the images that they are for.
_REALS = {"float32": (np.int32, 23, 127, 255.0), "float64": (np.int64, 52, 1023, 65535.0)}
_mix_densities = Kernel("augment.operations.stain_kernels", "mix_densities")


def mix_colors(planes: Planes, color: Color) -> None:
    """Turn hues, and change saturation, in planes (3, h, w) of red, green and blue."""
    real = planes.dtype.type
    red, green, blue = planes.copy()
    for plane, (of_red, of_green, of_blue) in zip(planes, color.mixing(), strict=True):
        plane[...] = red * real(of_red) + green * real(of_green) + blue * real(of_blue)


def mix_stains(planes: Planes, stain: Stain) -> None:
    """Change the amounts of the dyes in planes (3, h, w) of red, green and blue; float32 of 8 bits, float64 of 16."""
    mixing, more = (np.array(values, np.float64) for values in stain.mixing())
    word, places, bias, white = _REALS[planes.dtype.name]
    room = np.empty((6, _BLOCK_PX), planes.dtype)
    _mix_densities(planes.reshape(3, -1), mixing, more, white, places, bias, room, room.view(word))
