"""Noise: normal, and independent in every pixel and channel, as a detector adds it."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from augment.errors import RecipeError
from augment.operations.operation import Operation, each_text, require_each, require_whole

if TYPE_CHECKING:
    from augment.operations.drawing import Drawing

_WORD = 2**32


@dataclass(frozen=True, slots=True)
class Noise(Operation):
    """Normal noise.

    Attributes:
        sigma: standard deviation, in gray levels.
        key: two words of 32 bits, of the counter-based generator that the noise comes from.
    """

    stream: ClassVar[int] = 3
    limits: ClassVar[tuple[float, float]] = (0.0, 1e10)
    off: ClassVar[float] = 0.0
    whole: ClassVar[tuple[str, ...]] = ("key",)

    sigma: tuple[float, ...]
    key: tuple[int, int]

    def __post_init__(self) -> None:
        require_each("noise.sigma", self.sigma, *self.limits)
        if type(self.key) is not tuple or len(self.key) != 2:
            raise RecipeError(f"recipe: noise.key must be two words, got {self.key!r:.80}")
        for word in self.key:
            require_whole("noise.key", word, 0, _WORD - 1)

    def text(self) -> str:
        """Return its strength."""
        return f"{each_text(self.sigma)} s.d."

    def beside(self, distance: int) -> "Noise":
        """Return noise as strong, and independent: no two slices have the same."""
        return replace(self, key=((self.key[0] + distance) % _WORD, self.key[1]))

    @classmethod
    def draw(cls, strength: tuple[float, float], drawing: "Drawing") -> "Noise":
        """Return noise of a standard deviation between two."""
        return cls(drawing.each(*strength), (drawing.whole(_WORD), drawing.whole(_WORD)))
