"""Low resolution: fewer pixels, each taken as it is, and as many as before made of them again."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from augment.operations.operation import Operation, each_text, require_each

if TYPE_CHECKING:
    from augment.operations.drawing import Drawing


@dataclass(frozen=True, slots=True)
class LowResolution(Operation):
    """A picture of lower resolution.

    Attributes:
        zoom: pixels along an axis, as a share of those that there are.
    """

    stream: ClassVar[int] = 7
    limits: ClassVar[tuple[float, float]] = (0.05, 1.0)
    off: ClassVar[float] = 1.0

    zoom: tuple[float, ...]

    def __post_init__(self) -> None:
        require_each("low_resolution.zoom", self.zoom, 0.0, 1.0)

    def text(self) -> str:
        """Return its strength."""
        return f"x {each_text(self.zoom)}"

    @classmethod
    def draw(cls, strength: tuple[float, float], drawing: "Drawing") -> "LowResolution":
        """Return a zoom between two."""
        return cls(drawing.each(*strength))
