"""What looks wrong with labels that can be read, said before anything is built; each note is one line."""

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import counted
from pipeline.shards.config import LabelKind
from pipeline.shards.inputs import Renumbering
from pipeline.source.labels import MAX_GRAY, NEAR, LabelCoding, near_ends

MIN_OBJECT_CLASSES, MAX_OBJECT_SLICES = 9, 3  # fewer classes are taken as they are; slices to look for objects in
Glimpse: TypeAlias = tuple[NDArray[Any], NDArray[Any]]  # the same few pixels of an image and its label, as in the file

_MAX_GLIMPSES, _MAX_GLIMPSE_SIDE = 16, 128  # slices; pixels a side
_MIN_NEAR = 0.6  # of the dark and of the bright pixels, for a mask that was smoothed or saved with losses
_MIN_EQUAL = 0.99
_MAX_ASPECT = 8
_MIN_SINGLE = 0.9  # of the ids in a slice, for ids of objects
_MAX_NUMBERED = 32  # classes that are numbered from 0, beside 255 for what nobody annotated
_MAX_COLOURS = 5
_MAX_ROWS = 32
_HIGHEST = (2**16 - 1, 2**32 - 1, 2**64 - 1)


def glimpse_places(depth: int, height: int, width: int, n_stacks: int) -> tuple[frozenset[int], int]:
    """Return which slices of a stack to glimpse at, and every how many pixels."""
    n = min(depth, max(1, _MAX_GLIMPSES // n_stacks))
    return frozenset(z * depth // n for z in range(n)), -(-max(height, width) // _MAX_GLIMPSE_SIDE)


def label_notes(
    where: str,
    coding: LabelCoding,
    values: Sequence[int],
    unlabelled: Sequence[tuple[int, int]],
    glimpses: Sequence[Glimpse],
) -> list[str]:
    """Return what to know of the labels of all stacks.

    Args:
        where: what to call them.
        coding: what they were taken for.
        values: those that any label holds, in rising order, without the ignored ones.
        unlabelled: for each stack, (slices that hold the background alone, slices).
        glimpses: some pixels of some slices.
    """
    n_empty, n_slices = map(sum, zip(*unlabelled, strict=True))
    notes = []
    if n_empty:
        notes.append(
            f"{coding.nothing} in {n_empty} of {counted(n_slices, 'slice')}; if nobody annotated them, "
            "say --skip-unlabelled: they teach that nothing is there"
        )
    if len(values) > 2 and _is_damaged_mask(values, glimpses):
        notes.append(
            f"most of its {len(values)} values lie near 0 or {MAX_GRAY}, as in a mask that was smoothed or saved as "
            "JPEG; threshold it (mask > 127), or each value is a class or an object of its own"
        )
    if (void := _void(values, coding.kind)) is not None:
        taken = "an object" if coding.kind == "instances" else f"class {len(values) - 1}"
        notes.append(f"{void} becomes {taken}; if it marks what nobody annotated, say --ignore {void}")
    if _are_images(glimpses):
        notes.append("they are nearly equal to the images; are they the images themselves?")
    return [f"labels: {where}: {note}" for note in notes]


def object_note(where: str, labels: Iterable[NDArray[Any]], n_classes: int) -> list[str]:
    """Return what to know of classes each of which is one connected region in a slice, as objects are.

    Args:
        where: what to call the labels.
        labels: (Y, X) class indices each, 0 for the background; none of them is empty.
        n_classes: the background included.
    """
    counts = [count_objects(label) for label in labels]
    if not all(counts) or sum(counts) < MIN_OBJECT_CLASSES - 1:
        return []
    note = (
        f"{n_classes} values are taken for classes, but nearly each is one connected region in a slice; if they are "
        "single objects, say --label-kind instances, else --label-kind classes"
    )
    return [f"labels: {where}: {note}"]


def shape_note(stacks: Iterable[tuple[str, tuple[int, ...]]]) -> list[str]:
    """Return what to know of the first stack whose slices are much longer than wide.

    Args:
        stacks: what to call each, and its shape (Z, Y, X).
    """
    for where, (depth, height, width) in stacks:
        if max(height, width) > _MAX_ASPECT * min(height, width):
            note = f"{counted(depth, 'slice')} of {height} x {width} px; are its axes in the right order?"
            return [f"source: {where}: {note} Slices come first, then rows and columns"]
    return []


def renumbering_note(where: str, stacks: Sequence[Renumbering | None]) -> list[str]:
    """Return what to know of ids that were numbered anew, stack by stack."""
    counts = [renumbered.n for renumbered in stacks if renumbered is not None]
    if not counts:
        return []
    if len(stacks) == 1:
        return [f"labels: {where}: {counts[0]} ids were renumbered 1 to {counts[0]} by value"]
    ids, stacks_ = counted(sum(counts), "id"), f"{len(counts)} of {counted(len(stacks), 'stack')}"
    return [f"labels: {where}: {ids} of {stacks_} were renumbered by value, those of each stack from 1"]


def ignore_notes(where: str, asked: Sequence[int], coding: LabelCoding, shares: Sequence[float]) -> list[str]:
    """Return which values were to be ignored and are nowhere, and of which share of the pixels nothing is said.

    Args:
        where: what to call the labels.
        asked: values to ignore.
        coding: what was found.
        shares: of all pixels that are ignored, for each of the values that are.
    """
    absent = [value for value in asked if value not in coding.ignored]
    notes = [f"no pixel has {coding.shown(value)}, which was to be ignored" for value in absent]
    notes += [
        f"{coding.shown(value)} is ignored, {share:.1%} of the pixels"
        for value, share in zip(coding.ignored, shares, strict=True)
    ]
    return [f"labels: {where}: {note}" for note in notes]


def color_notes(where: str, coding: LabelCoding, shares: Sequence[float], *, were_found: bool) -> list[str]:
    """Return the table of colours, a line for each, and whether the background may be another than the first.

    Args:
        where: what to call the labels.
        coding: what they mean.
        shares: of all pixels, for each class.
        were_found: nobody said in which order they come.
    """
    names = [f" ({name})" for name in coding.names] or [""] * len(coding.colors)
    rows = zip(coding.colors, names, shares, strict=True)
    lines = [f"{color} -> {index}{name}, {share:.1%} of the pixels" for index, (color, name, share) in enumerate(rows)]
    if (more := len(lines) - _MAX_ROWS) > 0:
        lines[_MAX_ROWS:] = [f"and {counted(more, 'other colour')}, each a class"]
    if were_found and shares[0] < max(shares):
        commonest = coding.colors[shares.index(max(shares))]
        lines.append(
            f"class 0 is the background, which is now {coding.colors[0]}; if it is {commonest}, list all colours with "
            "--label-colors, that one first"
        )
    return [f"labels: {where}: {line}" for line in lines]


def skip_notes(where: str, stacks: Sequence[tuple[int, int]]) -> list[str]:
    """Return how many slices of all stacks are left out of every split, from what each has, and of how many."""
    n_skipped, n_slices = map(sum, zip(*stacks, strict=True))
    if not n_skipped:
        return [f"labels: {where}: something is annotated in every slice; none is skipped"]
    return [f"labels: {where}: {n_skipped} of {counted(n_slices, 'slice')} are skipped: nothing is annotated in them"]


def palette_note(where: str, palette: NDArray[np.uint16] | None, values: Sequence[int]) -> list[str]:
    """Return what to know of labels that are places in a table of colours.

    Args:
        where: what to call them.
        palette: (3, N) red, green and blue from 0 to 65535; None where there is none.
        values: those that any label holds, in rising order.
    """
    if palette is None:
        return []
    values = [value for value in values if value < palette.shape[1]]
    colours = [
        f"{value} is #{(palette[:, value] >> 8).astype(np.uint8).tobytes().hex()}" for value in values[:_MAX_COLOURS]
    ]
    more = ", ..." if len(values) > _MAX_COLOURS else ""
    listed = f": {', '.join(colours)}{more}" if colours else ""
    return [f"labels: {where}: places in a table of colours are taken as they are{listed}"]


def _is_damaged_mask(values: Sequence[int], glimpses: Sequence[Glimpse]) -> bool:
    """Return whether most dark pixels are near 0 and most bright ones near 255, with several values each.

    Ids from 1 to 255 are not: as many pixels have the ids between.
    """
    if min(near_ends(values)) < 2 or values[-1] > MAX_GRAY:
        return False
    counts = np.zeros(MAX_GRAY + 1, np.intp)
    for _, label in glimpses:
        gray = label[(label >= 0) & (label <= MAX_GRAY)]  # others are ignored
        counts += np.bincount(gray.astype(np.intp), minlength=MAX_GRAY + 1)
    dark, bright = counts[: MAX_GRAY // 2 + 1], counts[: MAX_GRAY // 2 : -1]  # both from their end inwards
    return all(side[: NEAR + 1].sum() >= _MIN_NEAR * max(1, side.sum()) for side in (dark, bright))


def _void(values: Sequence[int], kind: LabelKind) -> int | None:
    """Return the highest value where it may mark what nobody annotated: 255 after 0, 1, ..., or a dtype's highest.

    That of 16 bits may be the last of many ids.
    """
    n, highest = len(values) - 1, values[-1]
    if kind == "instances":
        return highest if highest in _HIGHEST and values[-2] < highest - 1 else None
    return highest if 2 <= n < _MAX_NUMBERED and list(values) == [*range(n), MAX_GRAY] else None


def _are_images(glimpses: Sequence[Glimpse]) -> bool:
    """Return whether labels and images are equal in nearly all pixels in which not both are 0."""
    n_shown = sum(np.count_nonzero(image) for image, _ in glimpses)
    if not n_shown:
        return False
    n_equal = sum(np.count_nonzero((image == label) & (image != 0)) for image, label in glimpses)
    n_either = sum(np.count_nonzero((image != 0) | (label != 0)) for image, label in glimpses)
    return bool(n_equal > _MIN_EQUAL * n_either)


def count_objects(label: NDArray[Any]) -> int:
    """Return how many classes a slice (Y, X) shows, if nearly each is one connected region there; else 0."""
    from scipy import ndimage

    boxes = [(index, box) for index, box in enumerate(ndimage.find_objects(label), start=1) if box]
    n_others = 0
    for index, box in boxes:
        n_others += ndimage.label(label[box] == index)[1] > 1
        if n_others > (1 - _MIN_SINGLE) * len(boxes):
            return 0
    return len(boxes)
