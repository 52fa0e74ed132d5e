"""Blur: by a Gaussian, as a microscope out of focus."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from augment.errors import RecipeError
from augment.operations.operation import Operation, each_text, require_each

if TYPE_CHECKING:
    from augment.operations.drawing import Drawing

_REACH = 4.0  # in standard deviations, where the Gaussian ends: as scipy's


@dataclass(frozen=True, slots=True)
class Blur(Operation):
    """A Gaussian blur.

    Attributes:
        sigma_px: standard deviation, in pixels; to be read, `weights` are what is used.
        weights: of the pixels 1, 2, 3, ... px away along an axis; that of the pixel itself is what is left of 1.
    """

    stream: ClassVar[int] = 4
    limits: ClassVar[tuple[float, float]] = (0.0, 16.0)
    off: ClassVar[float] = 0.0

    sigma_px: tuple[float, ...]
    weights: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        require_each("blur.sigma_px", self.sigma_px, *self.limits)
        if type(self.weights) is not tuple or len(self.weights) != len(self.sigma_px):
            raise RecipeError(f"recipe: blur.weights must be some for each sigma, got {self.weights!r:.80}")
        longest = int(_REACH * self.limits[1] + 0.5)
        for weights in self.weights:
            if weights:
                require_each("blur.weights", weights, 0.0, 0.5)
            if type(weights) is not tuple or len(weights) > longest:
                raise RecipeError(f"recipe: blur.weights must be {longest} at most, got {weights!r:.80}")

    def text(self) -> str:
        """Return its strength."""
        return f"{each_text(self.sigma_px)} px s.d."

    @classmethod
    def draw(cls, strength: tuple[float, float], drawing: "Drawing") -> "Blur":
        """Return a blur of a standard deviation between two."""
        from augment.recipe import to_float32

        sigmas = drawing.each(*strength)
        return cls(sigmas, tuple(tuple(map(to_float32, gaussian_weights(sigma))) for sigma in sigmas))


def gaussian_weights(sigma_px: float) -> list[float]:
    """Return a Gaussian's weights 1, 2, 3, ... px away, as parts of all weights' sum."""
    reach = int(_REACH * sigma_px + 0.5)
    heights = [math.exp(-0.5 * (x / sigma_px) ** 2) for x in range(1, reach + 1)]
    total = 1.0 + 2.0 * math.fsum(heights)
    return [height / total for height in heights]
