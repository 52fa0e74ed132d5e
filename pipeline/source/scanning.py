"""One pass over the slices of a stack: checked and digested, and held in memory where they are few.

What is large is read again when it is used, and refused when it is another one then.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from augment.gray import IMAGE_DTYPES, as_renderable, renderable_dtype
from pipeline.errors import SourceError
from pipeline.shards.digest import StackDigest, array_digest
from pipeline.source.label_colours import MAX_COLOURS, colours_fault
from pipeline.source.label_notes import glimpse_places
from pipeline.source.label_values import are_labels, as_labels, label_dtype, label_fault, values_in
from pipeline.source.labels import LabelOptions, without_ignored
from pipeline.source.stacks import RawStack, Slices

_ENCODED_ROWS = 256
_MAX_HELD_BYTES = 1 << 27  # 128 MiB: a larger stack is read again slice by slice

Convert: TypeAlias = Callable[[NDArray[Any]], NDArray[Any]]


class Scan:
    """One pass over a stack.

    Args:
        source: the slices.
        where: what to call them in error messages.
        convert: what turns a slice as it was found into one as it is digested.
        dtype: of a slice then.
        n_stacks: stacks in all, which share the few pixels that are kept to be looked at.
        digests_slices: whether the digest of every slice is needed in any case.

    Attributes:
        sha256: array digest of the stack.
        slice_sha256: that of every slice, where it is needed, or slices will be read again.
        glimpses: a few pixels of some slices.
    """

    def __init__(
        self, source: Slices, where: str, convert: Convert, dtype: np.dtype[Any], n_stacks: int, *, digests_slices: bool
    ) -> None:
        self.source, self.where, self.convert, self.dtype = source, where, convert, dtype
        is_small = math.prod(source.shape) * dtype.itemsize <= _MAX_HELD_BYTES
        self._held = np.empty(source.shape, dtype) if is_small else None
        self.slice_sha256: list[str] = []
        self.glimpses: list[NDArray[Any]] = []
        depth, height, width = source.shape[:3]
        glimpsed, step = glimpse_places(depth, height, width, n_stacks)
        digest = StackDigest(source.shape, dtype)
        for z, found in enumerate(source):
            self._require(found)
            pixels = convert(found)
            digest.update(pixels)
            self._look(z, pixels)
            if z in glimpsed:
                plane = pixels if pixels.ndim == 2 else pixels[..., 0]
                self.glimpses.append(plane[::step, ::step].copy())
            if self._held is not None:
                self._held[z] = pixels
            if self._held is None or digests_slices:
                self.slice_sha256.append(array_digest(pixels))
        self.sha256 = digest.hexdigest()

    def _require(self, found: NDArray[Any]) -> None:
        """Refuse a slice that cannot be converted."""

    def _look(self, z: int, pixels: NDArray[Any]) -> None:
        """Take in what is to be known of a slice, or refuse it."""

    def glimpse_with(self, other: "Scan") -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
        """Yield the few pixels that were kept of some slices, each with those of another stack of the same shape."""
        return zip(self.glimpses, other.glimpses, strict=True)

    def slices(self, encode: Convert, dtype: np.dtype[Any]) -> Slices:
        """Return the slices, each as `encode` makes it."""
        return RereadSlices(self, encode, dtype) if self._held is None else encode(self._held)


class ImageScan(Scan):
    """One pass over the images of a stack.

    Attributes:
        ranges: the lowest and the highest gray level of every slice.
        channel_ranges: those of every channel; empty where there is one.
        are_equal: whether all channels are equal in every pixel.

    Raises:
        SourceError: pixels that cannot be rendered.
    """

    def __init__(self, stack: RawStack, n_stacks: int) -> None:
        self.ranges: list[tuple[float, float]] = []
        self.channel_ranges: list[tuple[float, float]] = []
        self.are_equal = True
        dtype = renderable_dtype(stack.images.dtype)
        if dtype.name not in IMAGE_DTYPES:
            raise SourceError(
                f"{stack.where[0]}: expected gray levels, whole or real numbers, got {dtype.name}; convert the stack "
                "(in ImageJ: Image > Type > 16-bit)"
            )
        super().__init__(stack.images, stack.where[0], as_renderable, dtype, n_stacks, digests_slices=True)

    def _look(self, z: int, pixels: NDArray[Any]) -> None:
        if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
            raise SourceError(f"{self.where}: slice {z} holds NaN or infinite pixels; replace them")
        self.ranges.append((float(pixels.min()), float(pixels.max())))
        if pixels.ndim == 3:
            planes = [pixels[..., channel] for channel in range(pixels.shape[-1])]
            found = [(float(plane.min()), float(plane.max())) for plane in planes]
            before = self.channel_ranges or found
            self.channel_ranges = [(min(a, c), max(b, d)) for (a, b), (c, d) in zip(before, found, strict=True)]
            self.are_equal &= len(set(found)) == 1 and all(np.array_equal(plane, planes[0]) for plane in planes[1:])


class LabelScan(Scan):
    """One pass over the labels of a stack.

    Attributes:
        values: all values, in rising order.
        counts: pixels of each ignored value, and of each colour.
        few_values: the first three values of each slice that are not ignored.

    Raises:
        SourceError: they are no labels, or more colours than classes.
    """

    def __init__(self, stack: RawStack, n_stacks: int, options: LabelOptions) -> None:
        labels, where = stack.labels, stack.where[1]
        dtype = label_dtype(labels, labels.dtype)
        self._options = options
        self.values: NDArray[Any] = np.zeros(0, np.int64 if dtype.kind == "i" else np.uint64)
        self.counts: Counter[int] = Counter()
        self.few_values: list[tuple[int, ...]] = []
        super().__init__(labels, where, partial(as_labels, dtype=dtype), dtype, n_stacks, digests_slices=False)

    def _require(self, found: NDArray[Any]) -> None:
        if not are_labels(found):
            raise label_fault(self.source, self.where, self._options.ignore)

    def _look(self, z: int, pixels: NDArray[Any]) -> None:
        ignored, are_colors = self._options.ignore, self._options.are_colors
        present = values_in(pixels)
        self.values = _merged(self.values, present)
        meant = without_ignored(present, ignored)
        if meant.size and meant[0] < 0:
            raise label_fault(self.source, self.where, ignored)
        self.few_values.append(tuple(meant[:3].tolist()))
        if are_colors and self.values.size > MAX_COLOURS:
            raise colours_fault(self.where, self.values.size, z)
        for value in present.tolist() if are_colors else ignored:
            self.counts[value] += int(np.count_nonzero(pixels == value))


def _merged(known: NDArray[Any], present: NDArray[Any]) -> NDArray[Any]:
    """Return the values of two arrays, each in rising order; mostly they are the same, and nothing is to be done."""
    if not known.size or np.array_equal(known, present):
        return present.astype(known.dtype, copy=False)
    return np.union1d(known, present)


class RereadSlices:
    """Slices that are read each time they are needed, and refused when they are not what they were at first.

    Args:
        scan: how they were read first.
        encode: what turns a slice as it was scanned into one as it is used.
        dtype: of a slice as it is used.
    """

    def __init__(self, scan: Scan, encode: Convert, dtype: np.dtype[Any]) -> None:
        self._scan, self._encode = scan, encode
        self.dtype, self.shape = dtype, scan.source.shape

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, z: int) -> NDArray[Any]:
        """Return slice z.

        Raises:
            SourceError: it cannot be read any more, or is another one now.
        """
        pixels = self._scan.convert(self._scan.source[z])
        if array_digest(pixels) != self._scan.slice_sha256[z]:
            raise SourceError(f"{self._scan.where}: slice {z} changed while it was being used; build again")
        return self._encode(pixels)

    def __iter__(self) -> Iterator[NDArray[Any]]:
        """Yield the slices."""
        return (self[z] for z in range(len(self)))


def encode_rows(encode: Convert, dtype: np.dtype[Any], label: NDArray[Any]) -> NDArray[Any]:
    """Return a label as it is stored; a few rows at a time, because that takes several times their memory."""
    encoded = np.empty(label.shape, dtype)
    for top in range(0, len(label), _ENCODED_ROWS):
        encoded[top : top + _ENCODED_ROWS] = encode(label[top : top + _ENCODED_ROWS])
    return encoded
