"""All that there is to say of a source before anything is built, in its order; each note is one line."""

import math
import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.source.label_notes import (
    MAX_OBJECT_SLICES,
    MIN_OBJECT_CLASSES,
    Glimpse,
    color_notes,
    ignore_notes,
    label_notes,
    object_note,
    palette_note,
    renumbering_note,
    shape_note,
    skip_notes,
)
from pipeline.source.labels import LabelOptions
from pipeline.source.stacks import RawStack, ReadSlices, Stack


def source_notes(
    raw: Sequence[RawStack],
    stacks: Sequence[Stack],
    options: LabelOptions,
    *,
    where: str,
    values: Sequence[int],
    counts: Counter[int],
    glimpses: Sequence[Glimpse],
    palette: NDArray[np.uint16] | None,
    kind_was_told: bool,
) -> Iterator[str]:
    """Yield what to know of stacks, and above all of their labels.

    Args:
        raw: the stacks as they were found.
        stacks: as they are used.
        options: what was said of the labels.
        where: what to call the labels.
        values: those that any label holds, in rising order, without the ignored ones.
        counts: the pixels of ignored values and of colours.
        glimpses: some pixels of some slices.
        palette: the table of colours that labels are places in, if they are.
        kind_was_told: by their values, as nobody said it.
    """
    coding, n_pixels = stacks[0].coding, sum(math.prod(stack.labels.shape) for stack in stacks)
    yield from shape_note([(stack.where[0], stack.images.shape[:3]) for stack in raw])
    yield from palette_note(where, palette, values)
    yield from dict.fromkeys(
        note for stack in raw for note in _reading_notes(stack)
    )  # a folder may hold several stacks
    yield from ignore_notes(where, options.ignore, coding, [counts[value] / n_pixels for value in coding.ignored])
    if coding.colors:
        shares = [counts[value] / n_pixels for value in coding.values]
        yield from color_notes(where, coding, shares, were_found=not options.values)
    yield from renumbering_note(where, [stack.renumbered for stack in stacks])
    if options.skip_unlabelled:
        yield from skip_notes(where, [(len(each.unlabelled & each.skipped), len(each.labels)) for each in stacks])
    yield from label_notes(where, coding, values, [_n_unlabelled(each) for each in stacks], glimpses)
    if kind_was_told:
        yield from _object_note(where, stacks)


def channel_notes(
    where: str, channels: Sequence[str], ranges: Sequence[Sequence[tuple[float, float]]], *, are_equal: bool
) -> Iterator[str]:
    """Yield what to know of channels that show nothing of their own.

    Args:
        where: what to call the images.
        channels: what they are called.
        ranges: for each stack, the lowest and the highest gray level of every channel.
        are_equal: whether all are equal in every pixel.
    """
    found = [set(chain.from_iterable(each)) for each in zip(*ranges, strict=True)]
    empty = [name for name, levels in zip(channels, found, strict=True) if len(levels) == 1]
    if channels and are_equal:
        one = shlex.quote(channels[0])
        yield f"source: {where}: all channels are equal in every pixel; --channel {one} keeps one, as gray levels"
    elif empty:
        kept = ",".join(name for name in channels if name not in empty)
        advice = f"; --channel {shlex.quote(kept)} leaves out what shows nothing" if kept else ""
        yield f"source: {where}: one gray level in every pixel of {', '.join(empty)}{advice}"


def _reading_notes(stack: RawStack) -> Iterator[str]:
    """Yield what files say of how they were read."""
    for slices, what, where in zip((stack.images, stack.labels), ("source", "labels"), stack.where, strict=True):
        if isinstance(slices, ReadSlices):
            yield from (f"{what}: {where}: {note}" for note in slices.notes)


def _n_unlabelled(stack: Stack) -> tuple[int, int]:
    """Return how many slices that are used hold the background alone, and how many are used."""
    return len(stack.unlabelled - stack.skipped), len(stack.labels) - len(stack.skipped)


def _object_note(where: str, stacks: Sequence[Stack]) -> list[str]:
    """Return a note where classes look like single objects; a few labelled slices are looked at."""
    n_classes, ignore = len(stacks[0].coding.values), stacks[0].coding.ignore
    if n_classes < MIN_OBJECT_CLASSES:
        return []
    labelled = [(stack, z) for stack in stacks for z in range(len(stack.labels)) if z not in stack.unlabelled]
    n = min(len(labelled), MAX_OBJECT_SLICES)
    chosen = (labelled[index * len(labelled) // n] for index in range(n))
    return object_note(where, (_without(stack.labels[z], ignore) for stack, z in chosen), n_classes)


def _without(label: NDArray[Any], ignore: int | None) -> NDArray[Any]:
    return label if ignore is None else np.where(label == ignore, label.dtype.type(0), label)
