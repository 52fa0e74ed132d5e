"""Boxes that slices were cut into: no pixel may be in boxes of two splits."""

from collections import defaultdict
from collections.abc import Iterator
from itertools import islice

from pipeline.audit.report import Finding
from pipeline.plan.split import SPLITS, in_order
from pipeline.shards.record import DatasetRecord


def find_overlapping(record: DatasetRecord) -> list[Finding]:
    """Return M003, one finding for each stack and two splits: boxes that have pixels in common."""
    found: dict[tuple[int, tuple[str, ...]], list[tuple[int, int]]] = defaultdict(list)
    for index in (index for index, stack in enumerate(record.inputs) if stack.boxes):
        split_of = {
            k: split
            for split in SPLITS
            for part in record.split.slices.get(split, ())
            if part.stack == index
            for k in part.z
        }
        for one, other in _overlapping(record, index, split_of):
            found[index, in_order({split_of[one], split_of[other]})].append((one, other))
    return [
        Finding(
            check="M003",
            severity="critical",
            text=f"stack {index}: boxes {pairs[0][0]} ({splits[0]}) and {pairs[0][1]} ({splits[1]}) overlap, and "
            f"{len(pairs) - 1} more pairs of boxes of these splits",
            advice="build it again: regions that are cut by augpipe do not overlap",
            splits=splits,
            measures={"pairs": len(pairs)},
        )
        for (index, splits), pairs in sorted(found.items())
    ]


def _overlapping(record: DatasetRecord, index: int, split_of: dict[int, str]) -> Iterator[tuple[int, int]]:
    """Yield the boxes of a stack, two by two, that overlap and are in two splits, the first in the earlier split."""
    stack = record.inputs[index]
    height, width = stack.slice_size
    in_slice: dict[int, list[tuple[int, int, int]]] = defaultdict(list)  # (top, left, box)
    for k, (z, top, left) in enumerate(stack.boxes or ()):
        if k in split_of:
            in_slice[z].append((top, left, k))
    for boxes in in_slice.values():
        boxes.sort()
        for place, (top, left, k) in enumerate(boxes):
            for other_top, other_left, other in islice(boxes, place + 1, None):
                if other_top >= top + height:
                    break
                if abs(left - other_left) < width and split_of[k] != split_of[other]:
                    first, second = sorted((k, other), key=lambda each: SPLITS.index(split_of[each]))
                    yield first, second
