"""Drawing the operations of a recipe: the only place where random numbers become gray levels."""

from collections.abc import Callable
from dataclasses import dataclass

from augment.operations import OPERATIONS, Operation
from augment.ranges import AugmentRanges
from augment.recipe import to_float32
from augment.seeding import Stream


@dataclass(frozen=True, slots=True)
class Drawing:
    """What an operation is drawn from, and for.

    Attributes:
        stream: of random numbers; of this operation and this sample alone.
        window: (height, width) of the sample, in pixels.
        n_channels: of the image.
        per_channel: whether every channel has numbers of its own.
    """

    stream: Stream
    window: tuple[int, int]
    n_channels: int
    per_channel: bool

    @property
    def n_values(self) -> int:
        """How many channels have numbers of their own; 1 where all have the same."""
        return self.n_channels if self.per_channel else 1

    def real(self, low: float, high: float) -> float:
        """Return the next number, uniform between two, as a float32 value."""
        return to_float32(self.stream.uniform(low, high))

    def each(self, low: float, high: float) -> tuple[float, ...]:
        """Return such a number for each channel, or one where all have the same."""
        return tuple(self.real(low, high) for _ in range(self.n_values))

    def whole(self, n: int) -> int:
        """Return the next whole number, from 0 to n - 1; n is at most 2**32."""
        return int(self.stream.fraction() * n)


def draw_operations(
    ranges: AugmentRanges, stream_of: Callable[[int], Stream], *, window: tuple[int, int], n_channels: int = 1
) -> dict[str, Operation]:
    """Return the operations that one sample gets, by name: fields of its recipe.

    Each is drawn from a stream of its own, so that none shifts what another draws. The first number decides whether
    the sample gets it at all.

    Args:
        ranges: what may be drawn.
        stream_of: returns the sample's stream of a first key.
        window: (height, width) of the sample, in pixels.
        n_channels: of the image.
    """
    drawn = {}
    for name, strength in ranges.operations.items():
        drawing = Drawing(stream_of(OPERATIONS[name].stream), window, n_channels, ranges.per_channel)
        if drawing.stream.fraction() < ranges.probability.get(name, 1.0):
            drawn[name] = OPERATIONS[name].draw(strength, drawing)
    return drawn
