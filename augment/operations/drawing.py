"""Drawing the operations of a recipe, the only place where random numbers become gray levels, and all of it."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from augment.draw import draw_recipe, ranges_of_sample
from augment.operations import OPERATIONS, Operation
from augment.ranges import AugmentRanges
from augment.recipe import Recipe, to_float32
from augment.seeding import Stream

_RECIPE_STREAM, _SHARE_STREAM = 0, 12  # first parts of the streams' keys


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

    def rounded(self, value: float) -> float:
        """Return the float32 value nearest to what was worked out of drawn numbers."""
        return to_float32(value)

    def direction(self) -> tuple[float, float]:
        """Return a unit vector (y, x), all directions being equally likely."""
        angle = self.stream.uniform(0.0, 2 * math.pi)
        return to_float32(math.sin(angle)), to_float32(math.cos(angle))

    def whole(self, n: int) -> int:
        """Return the next whole number, from 0 to n - 1; n is at most 2**32."""
        return int(self.stream.fraction() * n)


def draw_sample(
    ranges: AugmentRanges,
    stream_of: Callable[[int], Stream],
    *,
    window: tuple[int, int],
    slice_size: tuple[int, int],
    n_channels: int = 1,
) -> Recipe:
    """Return the whole recipe of one sample: where it looks, and what is done to its gray levels.

    Args:
        ranges: what may be drawn.
        stream_of: returns the sample's stream of a first key: 0 is that of `draw_recipe`, 12 that of what some samples
            alone get, and each operation has its own.
        window: (height, width) of the sample, in pixels.
        slice_size: (height, width) of the slice, in pixels.
        n_channels: of the image.
    """
    own = ranges_of_sample(ranges, stream_of(_SHARE_STREAM)) if ranges.probability else ranges
    recipe = draw_recipe(own, stream_of(_RECIPE_STREAM), window=window, slice_size=slice_size, n_channels=n_channels)
    operations = draw_operations(ranges, stream_of, window=window, n_channels=n_channels)
    return replace(recipe, **operations) if operations else recipe  # type: ignore[arg-type]  # each under its own name


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
