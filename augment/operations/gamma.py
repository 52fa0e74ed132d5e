"""Gamma: gray levels raised to a power, with the mean and the standard deviation that they had."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from augment.errors import RecipeError
from augment.operations.operation import Operation, require_whole

if TYPE_CHECKING:
    from augment.operations.drawing import Drawing

STEPS = 64  # of an exponent of 1: a power of that many parts takes six square roots
_INVERTED = 0.25  # of the samples: as nnU-Net has it


@dataclass(frozen=True, slots=True)
class Gamma(Operation):
    """A power of the gray levels.

    Attributes:
        steps: the exponent, in parts of 64.
        inverted: whether the negative is raised to that power, and not the picture itself.
    """

    stream: ClassVar[int] = 5
    limits: ClassVar[tuple[float, float]] = (1 / STEPS, 8.0)
    off: ClassVar[float] = 1.0
    whole: ClassVar[tuple[str, ...]] = ("steps", "inverted")

    steps: tuple[int, ...]
    inverted: bool

    def __post_init__(self) -> None:
        if type(self.steps) is not tuple or not self.steps:
            raise RecipeError(f"recipe: gamma.steps must be some whole numbers, got {self.steps!r:.80}")
        for steps in self.steps:
            require_whole("gamma.steps", steps, *(int(STEPS * limit) for limit in self.limits))
        if type(self.inverted) is not bool:
            raise RecipeError(f"recipe: gamma.inverted must be true or false, got {self.inverted!r:.80}")

    def text(self) -> str:
        """Return its strength."""
        exponents = ", ".join(f"{steps / STEPS:.3g}" for steps in self.steps)
        return f"{exponents} of the negative" if self.inverted else exponents

    @classmethod
    def draw(cls, strength: tuple[float, float], drawing: "Drawing") -> "Gamma":
        """Return an exponent between two; where these lie on both sides of 1, every second, by chance, is below it."""
        low, high = strength
        inverted = drawing.stream.fraction() < _INVERTED
        exponents = []
        for _ in range(drawing.n_values):
            below = drawing.stream.fraction() < 0.5
            ends = ((low, 1.0) if below else (1.0, high)) if low < 1.0 < high else (low, high)
            exponents.append(drawing.stream.uniform(*ends))
        return cls(tuple(max(1, math.floor(STEPS * exponent + 0.5)) for exponent in exponents), inverted)
