"""Shading: a smooth field of illumination that the gray levels are multiplied by."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, TypeAlias

from augment.errors import RecipeError
from augment.operations.operation import Operation, each_text, require_each

if TYPE_CHECKING:
    from augment.operations.drawing import Drawing

Field: TypeAlias = tuple[tuple[float, ...], ...]

POINTS = 3  # control points a side: one lamp, not many


@dataclass(frozen=True, slots=True)
class Shading(Operation):
    """A field of illumination.

    Attributes:
        strength: how far a control point may be from 1; to be read, `field` is what is used.
        field: of 3 x 3 control points over the window, what is added to 1 there.
    """

    stream: ClassVar[int] = 8
    limits: ClassVar[tuple[float, float]] = (0.0, 1.0)
    off: ClassVar[float] = 0.0

    strength: tuple[float, ...]
    field: tuple[Field, ...]

    def __post_init__(self) -> None:
        require_each("shading.strength", self.strength, *self.limits)
        if type(self.field) is not tuple or len(self.field) != len(self.strength):
            raise RecipeError(f"recipe: shading.field must be one for each strength, got {self.field!r:.80}")
        for field in self.field:
            if type(field) is not tuple or len(field) != POINTS or any(len(row) != POINTS for row in field):
                raise RecipeError(f"recipe: shading.field must be {POINTS} x {POINTS} numbers, got {field!r:.80}")
            for row in field:
                require_each("shading.field", row, -1.0, 1.0)

    def text(self) -> str:
        """Return its strength."""
        return f"up to {each_text(self.strength)}"

    @classmethod
    def draw(cls, strength: tuple[float, float], drawing: "Drawing") -> "Shading":
        """Return a field of a strength between two, its control points uniform."""
        strengths = drawing.each(*strength)
        points = range(POINTS)
        fields = (tuple(tuple(drawing.real(-reach, reach) for _ in points) for _ in points) for reach in strengths)
        return cls(strengths, tuple(fields))
