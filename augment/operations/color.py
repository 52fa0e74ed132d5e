"""Colour jitter: hue and saturation of images in red, green and blue."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from augment.operations.matrices import Matrix, inverse, product
from augment.operations.operation import Operation, require_each

if TYPE_CHECKING:
    from augment.operations.drawing import Drawing

# From red, green and blue to luma and two differences of colour: NTSC's YIQ, as scikit-image has it.
_YIQ: Matrix = (
    (0.299, 0.587, 0.114),
    (0.59590059, -0.27455667, -0.32134392),
    (0.21153661, -0.52273617, 0.31119955),
)
_RGB = inverse(_YIQ)
_HALF_TURN_DEG = 180.0


@dataclass(frozen=True, slots=True)
class Color(Operation):
    """A change of hue and saturation that leaves the luma of every pixel as it is, and so what is gray.

    Attributes:
        saturation: factor on how far colours are from gray.
        hue_deg: how far hues are turned, from red towards yellow.
        turn: saturation x cosine and sine of that angle. It is what is used; the other two are to be read.
    """

    stream: ClassVar[int] = 10
    limits: ClassVar[tuple[float, float]] = (0.0, 1.0)
    off: ClassVar[float] = 0.0

    saturation: float
    hue_deg: float
    turn: tuple[float, float]

    def __post_init__(self) -> None:
        require_each("color.saturation", (self.saturation,), 0.0, 2.0)
        require_each("color.hue_deg", (self.hue_deg,), -_HALF_TURN_DEG, _HALF_TURN_DEG)
        require_each("color.turn", self.turn, -2.0, 2.0, n=2)

    @classmethod
    def draw(cls, strength: tuple[float, float], drawing: "Drawing") -> "Color":
        """Return a saturation of up to so much more or less than 1, and a hue turned by up to so many half turns."""
        most = drawing.stream.uniform(*strength)
        saturation, hue_deg = (
            drawing.real(1 - most, 1 + most),
            drawing.real(-_HALF_TURN_DEG * most, _HALF_TURN_DEG * most),
        )
        angle = math.radians(hue_deg)
        turn = drawing.rounded(saturation * math.cos(angle)), drawing.rounded(saturation * math.sin(angle))
        return cls(saturation, hue_deg, turn)

    def text(self) -> str:
        """Return in a few words what the sample gets."""
        return f"saturation {self.saturation:.2f}, hue {self.hue_deg:+.0f}°"

    def mixing(self) -> Matrix:
        """Return the 3 x 3 shares of the old red, green and blue, columns, in the new ones, rows."""
        cosine, sine = self.turn
        return product(_RGB, product(((1.0, 0.0, 0.0), (0.0, cosine, sine), (0.0, -sine, cosine)), _YIQ))
