"""What the values in a label stack mean: two classes, several, or the ids of single objects."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ConfigError, SourceError, counted
from pipeline.shards.config import LABEL_KINDS, LabelKind
from pipeline.shards.digest import array_digest
from pipeline.shards.inputs import MAX_LABEL_VALUE, Renumbering, is_name
from pipeline.source.label_values import FEW, as_hex, is_one_of, listed, run_starts

AUTO = "auto"

_MAX_DETECTED_CLASSES = 32  # more different values than this are taken for the ids of objects
_MAX_CLASSES = 256
_MAX_CLASS_VALUE = 2**53 - 1  # the largest whole number that every reader of JSON keeps
MAX_GRAY = 255
_MASK_VALUES = (1, MAX_GRAY, MAX_LABEL_VALUE)  # of what is shown, in masks of 0 and another value
NEAR = 16  # gray levels by which a picture saved with losses usually misses


@dataclass(frozen=True, slots=True)
class LabelOptions:
    """What is to be made of label values, beside their kind.

    Attributes:
        ignore: values that mean nothing, such as those of pixels that nobody annotated.
        names: what the classes are called, in the order of their values; for instances, background and the objects.
        values: the values of the classes, where they are said; they are classes, even where no pixel has them.
        are_colors: values are colours, 0xRRGGBB, and classes come in the order of `values`, else of their values.
        skip_unlabelled: slices without annotation are in no split.

    Raises:
        ConfigError: a name or value that cannot be recorded, or two that are the same.
    """

    ignore: tuple[int, ...] = ()
    names: tuple[str, ...] = ()
    values: tuple[int, ...] = ()
    are_colors: bool = False
    skip_unlabelled: bool = False

    def __post_init__(self) -> None:
        for value in (*self.ignore, *self.values):
            if not -(2**63) <= value < 2**64:
                raise ConfigError(f"labels: expected values of up to 64 bits, got {value}")
        if not all(map(is_name, self.names)) or len(set(self.names)) < len(self.names):
            raise ConfigError(
                f"classes: expected different names, each short and in one line, got {listed(self.names)}"
            )
        if both := set(self.ignore) & set(self.values):
            raise ConfigError(f"classes: {min(both)} has a name, and is to be ignored; say one of the two")


DEFAULT_OPTIONS = LabelOptions()


@dataclass(frozen=True, slots=True)
class LabelCoding:
    """How label values are stored in shards.

    Attributes:
        kind: what the values mean.
        values: the value that each class index stands for, in rising order; empty for instances, whose ids are kept.
        names: what each class is called; empty where that is not known.
        colors: the colour of each class, as `#rrggbb`; empty where labels were no colours.
        ignored: the values that mean nothing, in rising order.
        wide: there are ids that uint16 has no room for.
        full: an object has the highest id that there is, so that it cannot be the value that means nothing.
    """

    kind: LabelKind
    values: tuple[int, ...]
    names: tuple[str, ...] = ()
    colors: tuple[str, ...] = ()
    ignored: tuple[int, ...] = ()
    wide: bool = False
    full: bool = False

    @property
    def background(self) -> int:
        """The value that shows nothing: the lowest class, or 0 of instances."""
        return self.values[0] if self.values else 0

    @property
    def nothing(self) -> str:
        """What a slice holds in which nothing is labelled, in words."""
        return f"nothing but {self.background}{' or what is ignored' if self.ignored else ''}"

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of labels as they are stored: uint8 class indices, uint16 ids, or uint32 where uint16 has no room."""
        if self.kind != "instances":
            return np.dtype(np.uint8)
        return np.dtype(np.uint32 if self.wide else np.uint16)

    @property
    def ignore(self) -> int | None:
        """What is stored for pixels that mean nothing: the highest value of the dtype; None where there are none."""
        return int(np.iinfo(self.dtype).max) if self.ignored else None

    def shown(self, value: int) -> str:
        """Return a value as it is shown: as `#rrggbb` where labels are colours."""
        return as_hex(value) if self.colors else str(value)

    def encode(self, label: NDArray[Any], ids: NDArray[np.uint64] | None = None) -> NDArray[Any]:
        """Return a label as it is stored: class indices, or ids.

        Args:
            label: (Y, X), or several at once.
            ids: those that become 1, 2, ..., in rising order; None where ids are kept.
        """
        if ids is not None:
            known = np.concatenate((np.zeros(1, np.uint64), ids))
            pixels = label.ravel()
            starts = run_starts(pixels)
            numbers = np.searchsorted(known, pixels[starts].astype(np.uint64)).astype(self.dtype)
            stored = np.repeat(numbers, np.diff(starts, append=pixels.size)).reshape(label.shape)
        elif self.kind == "instances":
            stored = label.astype(self.dtype, copy=False)
        elif len(self.values) <= FEW:  # many times faster than by a table
            stored = np.zeros(label.shape, self.dtype)
            for index, value in enumerate(self.values[1:], start=1):
                stored += np.multiply(label == value, self.dtype.type(index))
        elif max(self.values) <= MAX_LABEL_VALUE:
            index_of_value = np.zeros(MAX_LABEL_VALUE + 1, self.dtype)
            index_of_value[list(self.values)] = np.arange(len(self.values))
            stored = index_of_value[label.astype(np.uint16, copy=False)]
        else:
            order = np.argsort(self.values)
            place = np.searchsorted(np.array(self.values, np.uint64)[order], label.astype(np.uint64, copy=False))
            stored = order.astype(self.dtype).take(place, mode="clip")  # what is ignored may lie beyond
        if self.ignored:
            stored = np.where(is_one_of(label, self.ignored), self.dtype.type(self.ignore), stored)
        return stored


def near_ends(values: Sequence[int]) -> tuple[int, int]:
    """Return how many of the values lie close to 0, and how many to 255: a mask that was saved as JPEG has both."""
    return (
        sum(0 <= value <= NEAR for value in values),
        sum(MAX_GRAY - NEAR <= value <= MAX_GRAY for value in values),
    )


def without_ignored(values: NDArray[Any], ignored: Sequence[int]) -> NDArray[Any]:
    """Return the values that mean something."""
    return values[~is_one_of(values, ignored)] if ignored else values


def choose_coding(stacks: Sequence[NDArray[Any]], kind: str, options: LabelOptions, where: str) -> LabelCoding:
    """Return how to store labels that hold these values.

    Args:
        stacks: for each stack, the different values in its labels, in rising order; none that means something is
            below 0.
        kind: one of LABEL_KINDS, or `auto`: two values are binary, up to 32 from 0 to 65535 are classes, others are
            instances.
        options: what else was said of them.
        where: what to call the labels in error messages.

    Raises:
        ConfigError: there is no such kind, or the values are not of that kind.
        SourceError: nothing is annotated.
    """
    ignored = tuple(sorted(value for value in set(options.ignore) if any((each == value).any() for each in stacks)))
    meant = [without_ignored(each, ignored).astype(np.uint64) for each in stacks]
    present = np.unique(np.concatenate(meant))
    beside = f" beside {listed(ignored)}, which --ignore leaves out" if ignored else ""
    if present.size < 2:
        found = listed(present.tolist()) or "none"
        raise SourceError(f"{where}: expected 2 or more label values, found {found}{beside}; nothing is annotated")
    if options.values:
        present = _named_values(present, options, where)
    said = [as_hex(value) if options.are_colors else str(value) for value in present[:6].tolist()]
    n, found, highest = present.size, listed(said), int(present.max())
    if kind not in (AUTO, *LABEL_KINDS):
        raise ConfigError(f"label-kind: expected {AUTO}, {', '.join(LABEL_KINDS)}, got {kind!r}")
    if kind == AUTO:
        are_classes = options.are_colors or (n <= _MAX_DETECTED_CLASSES and highest <= MAX_LABEL_VALUE)
        kind = "binary" if n == 2 else "classes" if are_classes else "instances"
    found = f"{where} has {n} label values ({found}){beside}"
    if kind == "binary" and n != 2:
        raise ConfigError(f"label-kind: binary labels have 2 values, {found}; {_binary_advice(present.tolist())}")
    max_classes = _MAX_CLASSES - bool(ignored)
    if kind == "classes" and n > max_classes:
        raise ConfigError(f"label-kind: expected at most {max_classes} classes, {found}; use --label-kind instances")
    if kind != "instances":
        if highest > _MAX_CLASS_VALUE:
            raise ConfigError(
                f"label-kind: expected values of classes up to {_MAX_CLASS_VALUE}, {where} has {highest}; use "
                "--label-kind instances, or --ignore it"
            )
        names, values = _fitting_names(options, n, found), tuple(present.tolist())
        colors = tuple(map(as_hex, values)) if options.are_colors else ()
        return LabelCoding(cast(LabelKind, kind), values, names, colors, ignored)
    if options.are_colors:
        raise ConfigError(f"label-kind: colours are classes, not instances; save the ids of single objects in {where}")
    renumbered = [_ids_to_renumber(each, ignored) for each in meant]
    wide = any(ids is not None and ids.size >= MAX_LABEL_VALUE for ids in renumbered)
    kept = [each for each, ids in zip(meant, renumbered, strict=True) if ids is None]
    full = not wide and any((each == MAX_LABEL_VALUE).any() for each in kept)
    names = _fitting_names(options, 2, "objects have 2: what they are called, after the background")
    return LabelCoding("instances", (), names, (), ignored, wide, full)


def require_one_mask(slices: Iterable[tuple[int, ...]], where: str) -> None:
    """Refuse masks of which some are 0 and 1, and others 0 and 255 or 65535: as classes, one thing would be two.

    Args:
        slices: the first three values of each slice that mean something.
        where: what to call the labels.

    Raises:
        ConfigError: no slice has two of these values beside 0, but each is in some.
    """
    shown = [set(values) - {0} for values in slices]
    counts = Counter(value for values in shown for value in values)
    if len(counts) < 2 or not set(counts) <= set(_MASK_VALUES) or max(map(len, shown)) > 1:
        return
    found = ", ".join(f"{counted(counts[value], 'slice')} with 0 and {value}" for value in sorted(counts))
    raise ConfigError(
        f"{where}: {found}, and none with several of them, as if masks of one thing were saved in two ways; save all "
        f"of them alike (mask > 0), or say --label-kind classes if they are two, or --ignore {max(counts)} if it marks "
        "what nobody annotated"
    )


def _named_values(present: NDArray[np.uint64], options: LabelOptions, where: str) -> NDArray[np.uint64]:
    """Return the values that are said, in that order: those that labels hold must be among them."""
    what, shown = ("label-colors", as_hex) if options.are_colors else ("classes", str)
    if nameless := sorted(set(present.tolist()) - set(options.values)):
        raise ConfigError(
            f"{what}: expected {listed([*map(shown, options.values)])} alone, but {where} also has "
            f"{listed([*map(shown, nameless)])}; name every one, or say --ignore"
        )
    if (lowest := min(options.values)) < 0:
        raise ConfigError(f"{what}: expected values from 0, got {lowest}; say --ignore {lowest}")
    return np.array(options.values, np.uint64)


def _fitting_names(options: LabelOptions, n: int, found: str) -> tuple[str, ...]:
    if options.names and len(options.names) != n:
        raise ConfigError(
            f"classes: expected a name for each class, got {len(options.names)} ({listed(options.names)}), but {found}"
        )
    return options.names


def renumbered_ids(values: NDArray[Any], coding: LabelCoding) -> NDArray[np.uint64] | None:
    """Return the ids of a stack that become 1, 2, ..., in rising order; None where they are kept as they are.

    Those that uint16 holds are kept, but where the highest of them is needed for what means nothing.

    Args:
        values: the different values in the stack's labels.
        coding: what they mean.
    """
    if coding.kind != "instances":
        return None
    return _ids_to_renumber(without_ignored(values, coding.ignored).astype(np.uint64), coding.ignored)


def describe_renumbering(ids: NDArray[np.uint64]) -> Renumbering:
    """Return what is recorded of ids that were numbered anew."""
    return Renumbering("by value", ids.size, array_digest(ids))


def _ids_to_renumber(values: NDArray[np.uint64], ignored: Sequence[int]) -> NDArray[np.uint64] | None:
    ids = values[values > 0]
    return ids if ids.size and ids[-1] > MAX_LABEL_VALUE - bool(ignored) else None


def _binary_advice(values: Sequence[int]) -> str:
    """Return what to do with more values than a mask has."""
    kinds, near = "use --label-kind classes or instances", near_ends(values)
    if min(near) < 2 or values[-1] > MAX_GRAY:
        return kinds
    threshold = "threshold the mask (mask > 127) and save it without loss"
    if sum(near) == len(values):
        return f"{threshold}: JPEG makes such values of two"
    return f"if it was smoothed or saved as JPEG, {threshold}; else {kinds}"
