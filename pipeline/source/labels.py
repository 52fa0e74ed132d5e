"""What the values in a label stack mean: two classes, several, or the ids of single objects."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ConfigError, SourceError
from pipeline.shards.config import LABEL_KINDS, LabelKind
from pipeline.shards.provenance import MAX_LABEL_VALUE

AUTO = "auto"

_MAX_DETECTED_CLASSES = 32  # more different values than this are taken for the ids of objects
_MAX_CLASSES = 256
_FEW = 4  # values


@dataclass(frozen=True, slots=True)
class LabelCoding:
    """How label values are stored in shards.

    Attributes:
        kind: what the values mean.
        values: the value that each class index stands for, in rising order; empty for instances, whose ids are kept.
    """

    kind: LabelKind
    values: tuple[int, ...]

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


def values_in(label: NDArray[Any], where: str) -> NDArray[np.bool_]:
    """Return which of the values 0 to 65535 a label (Y, X) holds.

    Raises:
        SourceError: it holds others.
    """
    if label.dtype.kind not in "bui" or int(label.min()) < 0 or int(label.max()) > MAX_LABEL_VALUE:
        raise SourceError(
            f"{where}: expected labels as whole numbers from 0 to {MAX_LABEL_VALUE}, got {label.dtype.name} "
            f"from {label.min()} to {label.max()}; save the class of each pixel, such as 0 and 255"
        )
    present = np.zeros(MAX_LABEL_VALUE + 1, np.bool_)
    others = label.ravel()
    for _ in range(_FEW):  # faster than by a table, where there are but a few
        if others.size:
            present[int(others[0])] = True
            others = others[others != others[0]]
    present[others.astype(np.uint16, copy=False)] = True
    return present


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
        raise ConfigError(f"label-kind: binary labels have 2 values, {found}; use --label-kind classes or instances")
    if kind == "classes" and len(values) > _MAX_CLASSES:
        raise ConfigError(f"label-kind: expected at most {_MAX_CLASSES} classes, {found}; use --label-kind instances")
    return LabelCoding(cast(LabelKind, kind), () if kind == "instances" else values)


def _listed(values: Sequence[int]) -> str:
    return ", ".join(map(str, values[:5])) + (", ..." if len(values) > 5 else "")
