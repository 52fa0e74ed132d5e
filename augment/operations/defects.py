"""Faults of sections for electron microscopy: a part is missing, dark, folded, or out of line.

After Lee et al. 2017 (arXiv:1706.00120), who train with missing and misaligned sections, and gunpowder's DefectAugment
(github.com/funkelab/gunpowder), which has missing and folded ones. They work on volumes, where the sections above and
below show what one does not. Here a sample is one section, so a fault is of a part of it, and labels say nothing where
nothing is to be seen.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, TypeAlias, get_args

from augment.errors import RecipeError
from augment.operations.operation import Operation, require_each

if TYPE_CHECKING:
    from augment.operations.drawing import Drawing

Kind: TypeAlias = Literal["missing", "spot", "fold", "jump"]
KINDS: tuple[Kind, ...] = get_args(Kind)

HIDING: tuple[Kind, ...] = ("missing", "fold")  # those under which nothing is left to be seen
_FOLDED_WIDTHS = 2.0  # a fold takes up twice the tissue that it covers (gunpowder: 40 px go into a line of 20 px)
_LINE_FROM_CENTRE = (0.1, 0.4)  # of the window's shorter side
_SPOT_DARKNESS = (0.4, 0.8)
_FOLD_DARKNESS = (0.7, 1.0)
_MAX_PX = 1e6


@dataclass(frozen=True, slots=True)
class Defects(Operation):
    """A fault of the section: one of these.

    `missing`: what lies beyond a line is black.
    `spot`: an oval, 4 sizes wide and 8 long, gets darker towards its middle, as where a stain has left a deposit.
    `fold`: along a line, a band as wide as the size is dark, and of the tissue two sizes are not seen: what lies
    beyond the line has moved up.
    `jump`: what lies beyond a line has moved by the size in any direction, as where two images of a section were put
    together wrongly, or it broke.

    The window's centre is never beyond a line, nor in a fold's band, so that what a sample is to show stays there.

    Attributes:
        kind: which of them.
        normal: (y, x), the unit vector across the line, from the centre outwards, or across a spot.
        at: (y, x) of the point of the line that is nearest to the window's centre, or of the spot's middle, in pixels
            from the window's centre.
        size_px: in pixels of the window.
        shift_px: (y, x), by how much further beyond the line one looks, in pixels of the window.
        darkness: how much of the way to black the darkest part goes.
    """

    stream: ClassVar[int] = 9
    limits: ClassVar[tuple[float, float]] = (0.0, 1e4)
    off: ClassVar[float] = 0.0
    whole: ClassVar[tuple[str, ...]] = ("kind",)

    kind: Kind
    normal: tuple[float, float]
    at: tuple[float, float]
    size_px: float
    shift_px: tuple[float, float] = (0.0, 0.0)
    darkness: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise RecipeError(f"recipe: defects.kind must be one of {', '.join(KINDS)}, got {self.kind!r:.80}")
        require_each("defects.normal", self.normal, -1.0, 1.0, n=2)
        require_each("defects.at", self.at, -_MAX_PX, _MAX_PX, n=2)
        require_each("defects.size_px", (self.size_px,), 0.0, _MAX_PX)
        require_each("defects.shift_px", self.shift_px, -_MAX_PX, _MAX_PX, n=2)
        require_each("defects.darkness", (self.darkness,), 0.0, 1.0)

    @classmethod
    def draw(cls, strength: tuple[float, float], drawing: "Drawing") -> "Defects":
        """Return one of the faults, all equally likely, of a size between two, in pixels."""
        kind = KINDS[drawing.whole(len(KINDS))]
        size_px = drawing.real(*strength)
        normal = drawing.direction()
        if kind == "spot":
            at_y, at_x = (drawing.real(-side / 2, side / 2) for side in drawing.window)
            return cls(kind, normal, (at_y, at_x), size_px, darkness=drawing.real(*_SPOT_DARKNESS))
        nearest, farthest = (share * min(drawing.window) for share in _LINE_FROM_CENTRE)
        distance = max(drawing.stream.uniform(nearest, farthest), size_px / 2 + 1)
        at = drawing.rounded(normal[0] * distance), drawing.rounded(normal[1] * distance)
        if kind == "missing":
            return cls(kind, normal, at, size_px, darkness=1.0)
        way, length = (normal, _FOLDED_WIDTHS) if kind == "fold" else (drawing.direction(), 1.0)
        shift_px = drawing.rounded(way[0] * size_px * length), drawing.rounded(way[1] * size_px * length)
        return cls(kind, normal, at, size_px, shift_px, drawing.real(*_FOLD_DARKNESS) if kind == "fold" else 0.0)

    def beside(self, distance: int) -> None:
        """Return None: a fault is of one section, and what lies above and below it is whole."""
        del distance

    def text(self) -> str:
        """Return in a few words what the sample gets."""
        return self.kind if self.kind == "missing" else f"{self.kind} of {self.size_px:.3g} px"
