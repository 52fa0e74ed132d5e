"""Slices that are cut into boxes: each becomes a slice of its own, so that one large picture can be split.

They are cut before anything is filtered, and mirrored at their own edges, so that no pixel is in two. Strips between
them belong to none: what a border cuts through is seen from both sides only where it is wider than the strip.
"""

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ConfigError, counted
from pipeline.shards.config import DEFAULT_REGION_GAP_PX, REGION_WINDOWS, fitting_window
from pipeline.source.stacks import ObjectSlices, RawStack, ReadSlices, Slices

_MAX_KEPT_BYTES = 1 << 27
_MAX_BOXES = 8  # along each axis: larger boxes have fewer edges to be mirrored at

Corner: TypeAlias = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Boxes:
    """Where the boxes of a stack are.

    Attributes:
        corners: (z, y, x) of the first pixel of each.
        size: (height, width) of all, in pixels.
    """

    corners: tuple[Corner, ...]
    size: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Regions:
    """How slices are cut.

    Attributes:
        window: (height, width) of a sample, in pixels; None where it is the one that fits the slices.
        gap_px: width of the strips between boxes.
    """

    window: tuple[int, int] | None = None
    gap_px: int = DEFAULT_REGION_GAP_PX

    def boxes(self, shape: tuple[int, int, int]) -> Boxes | None:
        """Return the boxes of a stack (Z, Y, X): about as many as samples fit in, and 8 along each axis at most.

        They are in the order of reading; those of one place in several slices follow each other, as sections do.

        Returns:
            None where slices are not larger than four samples.

        Raises:
            ConfigError: the strips leave boxes of less than half a sample.
        """
        depth, *sides = shape
        size_px = self.window or fitting_window([(sides[0], sides[1])])
        if math.prod(sides) <= REGION_WINDOWS * math.prod(size_px):
            return None
        places, size = [], []
        for side, window in zip(sides, size_px, strict=True):
            n = max(1, min(side // window, _MAX_BOXES))
            own = (side - (n - 1) * self.gap_px) // n
            if n > 1 and 2 * own < window:
                raise ConfigError(
                    f"region-gap: strips of {self.gap_px} px leave boxes of {max(own, 0)} px for samples of {window} "
                    "px; use narrower ones"
                )
            size.append(own)
            places.append([index * (own + self.gap_px) for index in range(n)])
        return Boxes(tuple((z, y, x) for y, x, z in product(*places, range(depth))), (size[0], size[1]))


@runtime_checkable
class RowReader(Protocol):
    """Slices of which some rows can be read without the others."""

    def rows(self, z: int, top: int, bottom: int) -> NDArray[Any]:
        """Return the rows from `top` to before `bottom` of slice z."""


class BoxSlices:
    """The boxes of a stack, as slices: `slices[k]` is read from the slice that it lies in.

    The rows that were read last are kept for the next box. Where rows cannot be read without the others, slices are
    kept: the first ones, as far as there is room, and the last.
    """

    def __init__(self, source: Slices, boxes: Boxes) -> None:
        self._source, self._boxes = source, boxes
        self.shape = (len(boxes.corners), *boxes.size, *source.shape[3:])
        self._kept: dict[int, NDArray[Any]] = {}
        self._last: tuple[tuple[int, int], NDArray[Any]] | None = None
        self._guard = threading.Lock()

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of every slice."""
        return self._source.dtype

    @property
    def notes(self) -> tuple[str, ...]:
        """What to say of how the slices were read, once all have been."""
        return self._source.notes if isinstance(self._source, ReadSlices) else ()

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, k: int) -> NDArray[Any]:
        """Return box k.

        Raises:
            SourceError: the slice that it lies in cannot be read.
        """
        z, top, left = self._boxes.corners[k]
        height, width = self._boxes.size
        with self._guard:
            if isinstance(source := self._source, RowReader):
                rows = self._read((z, top), lambda: source.rows(z, top, top + height))
            else:
                rows = self._slice(z)[top : top + height]
        return np.ascontiguousarray(rows[:, left : left + width])

    def __iter__(self) -> Iterator[NDArray[Any]]:
        """Yield the boxes."""
        return (self[k] for k in range(len(self)))

    def _slice(self, z: int) -> NDArray[Any]:
        if (kept := self._kept.get(z)) is not None:
            return kept
        pixels = self._read((z, 0), lambda: self._source[z])
        if sum(each.nbytes for each in self._kept.values()) + pixels.nbytes <= _MAX_KEPT_BYTES:
            self._kept[z] = pixels
        return pixels

    def _read(self, place: tuple[int, int], read: Callable[[], NDArray[Any]]) -> NDArray[Any]:
        """Return what was read last, if it is of this place, else what `read` gives."""
        if self._last is None or self._last[0] != place:
            self._last = None  # before the next is read: it may be large
            self._last = place, read()
        return self._last[1]


class BoxObjects(BoxSlices):
    """The boxes of labels that are known to be ids of single objects."""

    values_are_objects = True


def cut_stacks(raw: Sequence[RawStack], regions: Regions) -> tuple[list[RawStack], list[str]]:
    """Return stacks of which those with large slices are cut into boxes, and what to say of it.

    Raises:
        ConfigError: no slice is large enough, or the strips are too wide.
    """
    window = regions.window or fitting_window(_shape(stack)[1:] for stack in raw)
    regions, cut, notes = replace(regions, window=window), [], []
    for stack in raw:
        shape = _shape(stack)
        boxes = regions.boxes(shape)
        if boxes is None:
            cut.append(stack)
            continue
        cut.append(cut_stack(stack, boxes))
        unused = 1 - len(boxes.corners) * math.prod(boxes.size) / math.prod(shape)
        notes.append(
            f"regions: {stack.where[0]}: {counted(shape[0], 'slice')} of {shape[1]} x {shape[2]} px cut into "
            f"{len(boxes.corners)} boxes of {boxes.size[0]} x {boxes.size[1]} px, {regions.gap_px} px apart "
            f"({unused:.0%} of the pixels are in none)"
        )
    if not notes:
        height, width = window
        raise ConfigError(
            f"regions: no slice is larger than {REGION_WINDOWS} samples of {height} x {width} px; leave it out, or "
            "use a smaller --size"
        )
    return cut, notes


def cut_stack(stack: RawStack, boxes: Boxes) -> RawStack:
    """Return a stack whose slices are boxes of its slices.

    Raises:
        ConfigError: a box is not within its slice.
    """
    ends = (1, *boxes.size)
    lowest = [min(corner[axis] for corner in boxes.corners) for axis in range(3)]
    highest = [max(corner[axis] for corner in boxes.corners) + ends[axis] for axis in range(3)]
    if min(lowest) < 0 or any(end > side for end, side in zip(highest, _shape(stack), strict=True)):
        raise ConfigError(
            f"{stack.where[0]}: expected slices in which boxes reach to (z, y, x) = {tuple(highest)}, got a stack of "
            f"{_shape(stack)}; name the stack that was cut"
        )
    labels: BoxSlices = BoxSlices(stack.labels, boxes)
    if isinstance(stack.labels, ObjectSlices):
        labels = BoxObjects(stack.labels, boxes)
    of_slice = [corner[0] for corner in boxes.corners]

    def of_boxes(names: tuple[str, ...]) -> tuple[str, ...]:
        return names if len(names) != len(stack.images) else tuple(names[z] for z in of_slice)

    return replace(
        stack,
        images=BoxSlices(stack.images, boxes),
        labels=labels,
        names=of_boxes(stack.names),
        label_names=of_boxes(stack.label_names),
        groups=tuple(stack.groups[z] for z in of_slice) if stack.groups else (),
        sequence=tuple(stack.sequence[z] for z in of_slice) if stack.sequence else (),
        skipped=frozenset(box for box, z in enumerate(of_slice) if z in stack.skipped),
        boxes=boxes.corners,
    )


def _shape(stack: RawStack) -> tuple[int, int, int]:
    depth, height, width = stack.images.shape[:3]
    return depth, height, width
