"""What the values in a label stack mean: two classes, several, or the ids of single objects."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ConfigError, SourceError, counted
from pipeline.shards.config import LABEL_KINDS, LabelKind
from pipeline.shards.provenance import MAX_LABEL_VALUE

AUTO = "auto"

_MAX_DETECTED_CLASSES = 32  # more different values than this are taken for the ids of objects
_MAX_CLASSES = 256
_FEW = 4  # values
_MAX_WHOLE = 2.0**53  # floats above are all whole, whatever was meant
_MARK_ADVICE = (
    "an ignore value is not supported yet: set it to 0 in a copy, which leaves all other ids as they are, or cut "
    "images and labels to what is annotated"
)
MAX_GRAY = 255
NEAR = 16  # gray levels by which a picture saved with losses usually misses


@dataclass(frozen=True, slots=True)
class LabelCoding:
    """How label values are stored in shards.

    Attributes:
        kind: what the values mean.
        values: the value that each class index stands for, in rising order; empty for instances, whose ids are kept.
        names: what each class is called; empty where that is not known.
        colors: the colour of each class, as `#rrggbb`; empty where labels were no colours.
        ignored: the values that mean nothing, in rising order.
    """

    kind: LabelKind
    values: tuple[int, ...]
    names: tuple[str, ...] = ()
    colors: tuple[str, ...] = ()
    ignored: tuple[int, ...] = ()

    @property
    def background(self) -> int:
        """The value that shows nothing: the lowest class, or 0 of instances."""
        return self.values[0] if self.values else 0

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of labels as they are stored: uint8 class indices or uint16 ids."""
        return np.dtype(np.uint16 if self.kind == "instances" else np.uint8)

    def encode(self, label: NDArray[Any]) -> NDArray[Any]:
        """Return a label as it is stored: class indices, or ids as they are."""
        if self.kind == "instances":
            return label.astype(np.uint16, copy=False)
        if len(self.values) <= _FEW:  # many times faster than by a table
            indices = np.zeros(label.shape, np.uint8)
            for index, value in enumerate(self.values[1:], start=1):
                indices += np.multiply(label == value, np.uint8(index))
            return indices
        index_of_value = np.zeros(MAX_LABEL_VALUE + 1, np.uint8)
        index_of_value[list(self.values)] = np.arange(len(self.values))
        return index_of_value[label.astype(np.uint16, copy=False)]


def label_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype in which labels of `dtype` are digested and recorded: their own, but uint16 for floats.

    No record has room for labels of floats, so that the whole numbers that they hold stand for them.
    """
    return np.dtype(np.uint16) if dtype.kind == "f" else dtype.newbyteorder("=")


def as_labels(label: NDArray[Any]) -> NDArray[Any]:
    """Return labels in C order and of `label_dtype`; floats must be whole numbers, see `are_labels`."""
    with np.errstate(invalid="ignore"):
        return np.ascontiguousarray(label, label_dtype(label.dtype))


def are_labels(label: NDArray[Any]) -> bool:
    """Return whether an array (Y, X) holds whole numbers from 0 to 65535 alone, as integers or as floats."""
    if label.dtype.kind not in "buif":
        return False
    lowest, highest = label.min().item(), label.max().item()
    if not (lowest >= 0 and highest <= MAX_LABEL_VALUE):  # NaN is neither
        return False
    return label.dtype.kind != "f" or bool((label == np.floor(label)).all())


def label_fault(slices: Iterable[NDArray[Any]], where: str) -> SourceError:
    """Return what to say of a stack of which some slice `are_labels` refuses; it is read through for that.

    Args:
        slices: (Y, X) each.
        where: what to call the labels.
    """
    expected = f"{where}: expected labels as whole numbers from 0 to {MAX_LABEL_VALUE}"
    n_below: list[int] = []  # pixels of each slice
    below, above = np.zeros(0, np.int64), np.zeros(0, np.uint64)  # the different values below and above 0
    for z, label in enumerate(slices):
        if label.dtype.kind not in "buif":
            return SourceError(f"{expected}, got {label.dtype.name}; save them as uint8 or uint16")
        if label.dtype.kind == "f" and (odd := label[~_are_whole(label.astype(np.float64))]).size:
            return SourceError(
                f"{expected}, found {odd[0]} in slice {z} ({label.dtype.name}); threshold them if they are "
                "probabilities, and resize labels without interpolation"
            )
        n_below.append(int(np.count_nonzero(label < 0)))
        if n_below[-1]:
            below = np.union1d(below, label[label < 0].astype(np.int64))
        if above.size <= MAX_LABEL_VALUE:  # their number does not matter beyond that
            above = np.union1d(above, label[label > 0].astype(np.uint64))
    if below.size:
        n_slices = f"{np.count_nonzero(n_below)} of {counted(len(n_below), 'slice')}"
        is_mark = below.size <= _FEW
        values = _listed(below.tolist()) if is_mark else f"{below[0]} to {below[-1]}"
        advice = (
            _MARK_ADVICE if is_mark else "if they are unsigned numbers that were read as signed, save them as uint16"
        )
        return SourceError(f"{expected}, found {values} in {sum(n_below):,} pixels of {n_slices}; {advice}")
    if above.size > MAX_LABEL_VALUE:
        return SourceError(
            f"{expected}, found more different ones than that; cut the stack into stacks of their own, and renumber "
            "the ids of each from 1"
        )
    return SourceError(
        f"{expected}, found {above.size} ids or classes up to {above[-1]}; renumber them 1 to {above.size} and keep 0 "
        "(in Python: skimage.segmentation.relabel_sequential)"
    )


def values_in(label: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which of the values 0 to 65535 a label (Y, X) holds; it is one that `are_labels` accepts."""
    present = np.zeros(MAX_LABEL_VALUE + 1, np.bool_)
    others = label.ravel()
    for _ in range(_FEW):  # faster than by a table, where there are but a few
        if others.size:
            present[int(others[0])] = True
            others = others[others != others[0]]
    present[others.astype(np.uint16, copy=False)] = True
    return present


def near_ends(values: Sequence[int]) -> tuple[int, int]:
    """Return how many of the values lie close to 0, and how many to 255: a mask that was saved as JPEG has both."""
    return (
        sum(0 <= value <= NEAR for value in values),
        sum(MAX_GRAY - NEAR <= value <= MAX_GRAY for value in values),
    )


def choose_coding(present: NDArray[np.bool_], kind: str, where: str) -> LabelCoding:
    """Return how to store labels that hold these values.

    Args:
        present: for each value from 0 to 65535, whether any label holds it.
        kind: one of LABEL_KINDS, or `auto`: two values are binary, up to 32 are classes, more are instances.
        where: what to call the labels in error messages.

    Raises:
        ConfigError: there is no such kind, or the values are not of that kind.
        SourceError: nothing is annotated.
    """
    values = tuple(int(value) for value in np.flatnonzero(present))
    if len(values) < 2:
        raise SourceError(f"{where}: expected 2 or more label values, found {_listed(values)}; nothing is annotated")
    if kind not in (AUTO, *LABEL_KINDS):
        raise ConfigError(f"label-kind: expected {AUTO}, {', '.join(LABEL_KINDS)}, got {kind!r}")
    if kind == AUTO:
        kind = "binary" if len(values) == 2 else "classes" if len(values) <= _MAX_DETECTED_CLASSES else "instances"
    found = f"{where} has {len(values)} label values ({_listed(values)})"
    if kind == "binary" and len(values) != 2:
        raise ConfigError(f"label-kind: binary labels have 2 values, {found}; {_binary_advice(values)}")
    if kind == "classes" and len(values) > _MAX_CLASSES:
        raise ConfigError(f"label-kind: expected at most {_MAX_CLASSES} classes, {found}; use --label-kind instances")
    return LabelCoding(cast(LabelKind, kind), () if kind == "instances" else values)


def _are_whole(numbers: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which numbers are whole, and not so large that a float cannot tell."""
    whole: NDArray[np.bool_] = (np.abs(numbers) < _MAX_WHOLE) & (numbers == np.floor(numbers))
    return whole


def _binary_advice(values: Sequence[int]) -> str:
    """Return what to do with more values than a mask has."""
    kinds, near = "use --label-kind classes or instances", near_ends(values)
    if min(near) < 2 or values[-1] > MAX_GRAY:
        return kinds
    threshold = "threshold the mask (mask > 127) and save it without loss"
    if sum(near) == len(values):
        return f"{threshold}: JPEG makes such values of two"
    return f"if it was smoothed or saved as JPEG, {threshold}; else {kinds}"


def _listed(values: Sequence[int]) -> str:
    return ", ".join(map(str, values[:5])) + (", ..." if len(values) > 5 else "")
