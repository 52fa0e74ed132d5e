"""Which training samples are to show a place of the slice, in the centre of their windows."""

import math
from dataclasses import dataclass
from fractions import Fraction

from pipeline.plan.split import SliceAddress

_GOLDEN_SECTION = (math.sqrt(5) - 1) / 2


@dataclass(frozen=True, slots=True)
class Focusing:
    """Shares out the samples that show a place evenly: among the slices, among replicates, and in any first samples.

    A slice of S begins at its own phase k / S, and its replicate r is taken where r x share + phase passes a whole
    number. So each slice has its share of its samples, and R replicates of all slices have floor(R x S x share).

    Attributes:
        share: of the samples.
        position: of every slice among those of the split.
        stride: its multiples modulo S are the phases k.
    """

    share: Fraction
    position: dict[SliceAddress, int]
    stride: int

    def takes(self, address: SliceAddress, replicate: int) -> bool:
        """Return whether that sample of a slice is to show a place; none of a slice of another split is."""
        if address not in self.position:
            return False
        n = len(self.position)
        phase = Fraction(self.position[address] * self.stride % n, n)
        return math.floor((replicate + 1) * self.share + phase) > math.floor(replicate * self.share + phase)


def focus_samples(share: float, slices: tuple[SliceAddress, ...]) -> Focusing:
    """Return how samples of these slices share out the places; the share's decimals mean what they say."""
    position = {address: place for place, address in enumerate(slices)}
    return Focusing(Fraction(repr(share)), position, _stride(len(slices)))


def _stride(n: int) -> int:
    """Return a number near the golden section of n that has no divisor in common with it.

    So its multiples modulo n are all numbers below n, and any first of them are spread evenly.
    """
    return next(step for step in range(round(n * _GOLDEN_SECTION), 0, -1) if math.gcd(step, n) == 1)
