"""Stain jitter: how strongly each dye of a section in hematoxylin and eosin has stained it, and its background."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from augment.operations.matrices import Matrix, Row, inverse, product, scalar_product, transposed
from augment.operations.operation import Operation, require_each

if TYPE_CHECKING:
    from augment.operations.drawing import Drawing

# What hematoxylin, eosin and DAB, one a row, take of red, green and blue: optical densities, measured by Ruifrok and
# Johnston 2001, "Quantification of histochemical staining by color deconvolution".
_DYES: Matrix = ((0.65, 0.70, 0.29), (0.07, 0.99, 0.11), (0.27, 0.57, 0.78))
_AMOUNTS = inverse(_DYES)
STAINED_DTYPES = ("uint8", "uint16")  # of others it is not known which gray level is white


@dataclass(frozen=True, slots=True)
class Stain(Operation):
    """A change of the amounts of the three dyes, as Tellez et al. 2018 jitter stains (doi:10.1109/TMI.2018.2820199).

    Attributes:
        factor: on the amount of each dye.
        more: what is then added to it, in doublings of its optical density: 1 halves the light that passes.
    """

    stream: ClassVar[int] = 11
    limits: ClassVar[tuple[float, float]] = (0.0, 1.0)
    off: ClassVar[float] = 0.0

    factor: Row
    more: Row

    def __post_init__(self) -> None:
        require_each("stain.factor", self.factor, 0.0, 2.0, n=3)
        require_each("stain.more", self.more, -1.0, 1.0, n=3)

    @classmethod
    def draw(cls, strength: tuple[float, float], drawing: "Drawing") -> "Stain":
        """Return factors of up to so much more or less than 1, and up to so much more or less of each dye."""
        most = drawing.stream.uniform(*strength)
        factor = drawing.real(1 - most, 1 + most), drawing.real(1 - most, 1 + most), drawing.real(1 - most, 1 + most)
        return cls(factor, (drawing.real(-most, most), drawing.real(-most, most), drawing.real(-most, most)))

    def text(self) -> str:
        """Return in a few words what the sample gets."""
        return f"dyes x {', '.join(f'{factor:.2f}' for factor in self.factor)}"

    def mixing(self) -> tuple[Matrix, Row]:
        """Return the 3 x 3 shares of the old optical densities, columns, in the new ones, rows, and what is added."""
        a, b, c = self.factor
        amounts_to_densities = transposed(_DYES)
        weighted = product(((a, 0.0, 0.0), (0.0, b, 0.0), (0.0, 0.0, c)), transposed(_AMOUNTS))
        red, green, blue = amounts_to_densities
        more = scalar_product(red, self.more), scalar_product(green, self.more), scalar_product(blue, self.more)
        return product(amounts_to_densities, weighted), more
