"""Contrast: gray levels moved away from their mean, or towards it, within the lowest and the highest of them."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from augment.operations.operation import Operation, each_text, require_each

if TYPE_CHECKING:
    from augment.operations.drawing import Drawing


@dataclass(frozen=True, slots=True)
class Contrast(Operation):
    """A factor on the distance of gray levels from their mean.

    Attributes:
        factor: above 1 for more contrast.
    """

    stream: ClassVar[int] = 6
    limits: ClassVar[tuple[float, float]] = (0.0, 100.0)
    off: ClassVar[float] = 1.0

    factor: tuple[float, ...]

    def __post_init__(self) -> None:
        require_each("contrast.factor", self.factor, *self.limits)

    def text(self) -> str:
        """Return its strength."""
        return f"x {each_text(self.factor)}"

    @classmethod
    def draw(cls, strength: tuple[float, float], drawing: "Drawing") -> "Contrast":
        """Return a factor between two."""
        return cls(drawing.each(*strength))
