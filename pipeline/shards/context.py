"""Context: the neighbours of a slice that a sample shows beside it, and which of its channels are whose.

A stack is mirrored where it ends, its last slice once: beyond slices a b c come b and a. It ends, too, where the next
slice is of another group, of another place in larger slices, or not the next one of the sequence.
"""

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from pipeline.shards.inputs import StackInput


def offsets(reach: int) -> tuple[int, ...]:
    """Return where the slices of a sample lie, from its own one, in the order of their channels: -1, 0, 1."""
    return tuple(range(-reach, reach + 1))


def neighbours(stack: StackInput, z: int, reach: int) -> tuple[int, ...]:
    """Return the slices that are shown beside slice z, those before it and those after it.

    Where there is no such slice, it is the mirrored one; where a slice has no neighbours, it is the slice itself.
    """
    first = last = z
    while z - first < reach and first > 0 and _is_next(stack, first - 1):
        first -= 1
    while last - z < reach and last < stack.depth - 1 and _is_next(stack, last):
        last += 1
    return tuple(mirrored(z + offset, first, last) for offset in offsets(reach) if offset)


def mirrored(z: int, first: int, last: int) -> int:
    """Return where slice z is found in a stack of the slices `first` to `last` that goes on as its mirror image."""
    if first == last:
        return first
    period = 2 * (last - first)
    at = (z - first) % period
    return first + min(at, period - at)


def channel_names(channels: Sequence[str] | None, reach: int) -> tuple[str, ...] | None:
    """Return what the channels of samples are called: those of each slice, and where it lies; None for gray.

    Args:
        channels: of a slice; None for gray.
        reach: slices that are shown on either side.
    """
    if not reach:
        return None if channels is None else tuple(channels)
    places = [f"z{offset:+d}" if offset else "z" for offset in offsets(reach)]
    return tuple(f"{name} {place}".lstrip() for place in places for name in channels or ("",))


def slice_channels(image: NDArray[Any], reach: int, offset: int = 0) -> NDArray[Any]:
    """Return what an image (h, w) or (h, w, channels) shows of one of its slices: (h, w), or (h, w, C).

    Args:
        image: of a sample.
        reach: slices that it shows on either side of its own.
        offset: where the slice lies, from its own.
    """
    if not reach:
        return image
    n_channels = image.shape[2] // len(offsets(reach))
    start = (reach + offset) * n_channels
    return image[..., start] if n_channels == 1 else image[..., start : start + n_channels]


def _is_next(stack: StackInput, z: int) -> bool:
    """Return whether the slice after slice z is its neighbour."""
    if stack.groups and stack.groups[z] != stack.groups[z + 1]:
        return False
    if stack.sequence and stack.sequence[z + 1] != stack.sequence[z] + 1:
        return False
    if stack.boxes is None:
        return True
    (own, *place), (after, *place_after) = stack.boxes[z], stack.boxes[z + 1]
    return after == own + 1 and place == place_after
