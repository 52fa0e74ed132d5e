"""The values that labels hold, as they are in their files: whole numbers of any size, and what else is refused."""

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import SourceError, counted
from pipeline.shards.inputs import MAX_LABEL_VALUE

FEW = 4  # values
_MAX_WHOLE = 2.0**53  # floats above are all whole, whatever was meant


def label_dtype(labels: Iterable[NDArray[Any]], dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype in which labels are digested and recorded: their own, but uint16 for floats, int64 if need be.

    No record has room for labels of floats, so that the whole numbers that they hold stand for them. Floats are read
    through for that, up to the first that uint16 does not hold.

    Args:
        labels: (Y, X) each.
        dtype: of all of them.
    """
    if dtype.kind != "f":
        return dtype.newbyteorder("=")
    fit = all(0 <= label.min().item() <= label.max().item() <= MAX_LABEL_VALUE for label in labels)  # NaN does not
    return np.dtype(np.uint16 if fit else np.int64)


def as_labels(label: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return labels in C order and of `label_dtype`; floats must be whole numbers, see `are_labels`."""
    with np.errstate(invalid="ignore"):
        return np.ascontiguousarray(label, dtype)


def are_labels(label: NDArray[Any]) -> bool:
    """Return whether an array (Y, X) holds whole numbers alone, as integers or as floats."""
    if label.dtype.kind == "f":
        return bool(_are_whole(label).all())
    return label.dtype.kind in "bui"


def values_in(label: NDArray[Any]) -> NDArray[Any]:
    """Return the different values in a label (Y, X) of integers, in rising order: uint64, or int64 where it is signed.

    So the values of labels with and without a sign are never compared as floats, which confuse large numbers.
    """
    pixels, wide = label.ravel(), np.int64 if label.dtype.kind == "i" else np.uint64
    firsts = pixels[run_starts(pixels)]
    if firsts.min() < 0 or firsts.max() > MAX_LABEL_VALUE:
        return np.unique(firsts).astype(wide)
    present = np.zeros(MAX_LABEL_VALUE + 1, np.bool_)
    present[firsts.astype(np.uint16, copy=False)] = True
    return np.flatnonzero(present).astype(wide)


def run_starts(pixels: NDArray[Any]) -> NDArray[np.intp]:
    """Return where runs of one value begin in a line of pixels; those of labels are few."""
    return np.flatnonzero(np.concatenate(([True], pixels[1:] != pixels[:-1])))


def label_fault(slices: Iterable[NDArray[Any]], where: str, ignored: Collection[int] = ()) -> SourceError:
    """Return what to say of a stack with values that cannot be labels; it is read through for that.

    Args:
        slices: (Y, X) each; some of them is none that `are_labels`, or has a value below 0 that is not ignored.
        where: what to call the labels.
        ignored: the values that may be below 0.
    """
    expected = f"{where}: expected labels as whole numbers from 0"
    n_below: list[int] = []  # pixels of each slice
    below = np.zeros(0, np.int64)  # the different values
    for z, label in enumerate(slices):
        if label.dtype.kind not in "buif":
            return SourceError(f"{expected}, got {label.dtype.name}; save them as uint8 or uint16")
        if label.dtype.kind == "f" and (odd := label[~_are_whole(label)]).size:
            advice = (
                "give these pixels a number of their own, such as -1, and say --ignore -1 if nobody annotated them"
                if np.isnan(odd).all()
                else "threshold them if they are probabilities, and resize labels without interpolation"
            )
            return SourceError(f"{expected}, found {odd[0]} in slice {z} ({label.dtype.name}); {advice}")
        odd = label[label < 0].astype(np.int64)
        odd = odd[~is_one_of(odd, ignored)]
        n_below.append(odd.size)
        below = np.union1d(below, odd)
    n_slices = f"{np.count_nonzero(n_below)} of {counted(len(n_below), 'slice')}"
    is_mark = below.size <= FEW
    values = listed(below.tolist()) if is_mark else f"{below[0]} to {below[-1]}"
    options = " ".join(f"--ignore {value}" for value in below.tolist())
    advice = (
        f"if that marks what nobody annotated, say {options}, and those pixels count for nothing"
        if is_mark
        else "if they are unsigned numbers that were read as signed, save them as uint16"
    )
    return SourceError(f"{expected}, found {values} in {sum(n_below):,} pixels of {n_slices}; {advice}")


def is_one_of(label: NDArray[Any], values: Iterable[int]) -> NDArray[np.bool_]:
    """Return where a label has one of a few values, which its dtype may not be able to hold."""
    found = np.zeros(label.shape, np.bool_)
    for value in values:
        found |= label == value
    return found


def as_hex(value: int) -> str:
    """Return a colour 0xRRGGBB as `#rrggbb`."""
    return f"#{value:06x}"


def listed(values: Sequence[object]) -> str:
    """Return the first few values in words."""
    return ", ".join(map(str, values[:5])) + (", ..." if len(values) > 5 else "")


def _are_whole(numbers: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which floats are whole, and not so large that a float cannot tell."""
    with np.errstate(over="ignore"):
        whole: NDArray[np.bool_] = (np.abs(numbers) < _MAX_WHOLE) & (numbers == np.floor(numbers))
    return whole
