"""From stacks as they were found to a source: every slice is read once, checked, digested, and coded.

What is small is held in memory, what is large read again, and refused when it is another one then.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from augment.gray import IMAGE_DTYPES, as_renderable, renderable_dtype
from pipeline.errors import ConfigError, SourceError
from pipeline.shards.digest import StackDigest, array_digest
from pipeline.shards.provenance import GrayScaling, SourceReading, make_facts, require_channels
from pipeline.shards.record import NAME
from pipeline.source.gray_levels import ScaleGray, in_few_bits
from pipeline.source.known_stacks import recognise
from pipeline.source.label_colours import MAX_COLOURS, ColourLabels, colours_fault
from pipeline.source.label_notes import glimpse_places
from pipeline.source.label_values import are_labels, as_labels, label_dtype, label_fault, values_in
from pipeline.source.labels import (
    AUTO,
    DEFAULT_OPTIONS,
    LabelCoding,
    LabelOptions,
    choose_coding,
    describe_renumbering,
    renumbered_ids,
    without_ignored,
)
from pipeline.source.source_notes import source_notes
from pipeline.source.stacks import ObjectSlices, RawStack, Slices, Source, Stack

_ENCODED_ROWS = 256
_MAX_HELD_BYTES = 1 << 27  # 128 MiB: a larger stack is read again slice by slice

Convert: TypeAlias = Callable[[NDArray[Any]], NDArray[Any]]


def make_source(
    images: Slices,
    labels: Slices,
    *,
    name: str,
    label_kind: str = AUTO,
    channels: Sequence[str] = (),
    label_options: LabelOptions = DEFAULT_OPTIONS,
    scale_gray: ScaleGray | None = None,
    facts: Mapping[str, Any] | None = None,
) -> Source:
    """Return the source that two arrays make: images (Z, Y, X) or, of several channels, (Z, Y, X, C), labels (Z, Y, X).

    Args:
        images: uint8, uint16, int16 or float32 gray levels; float16 and float64 become float32, int8 int16, bits 0 and
            255, and integers of 32 and 64 bits 16 where these hold all levels.
        labels: whole numbers, as integers or as floats; none below 0, but for those that are ignored.
        name: what to call it, unless its pixels are known under another name.
        label_kind: binary, classes, instances, or `auto` to tell by the number of different values.
        channels: what the channels are called, 2 to 32; by default red, green and blue for three, else their numbers.
        label_options: what else is to be made of the labels.
        scale_gray: how to scale the gray levels, if at all.
        facts: title, specimen, licence, citation, voxel_size_nm and url, where known.

    Raises:
        ConfigError: the two do not belong together, or the name is invalid.
        SourceError: pixels or labels of a kind that cannot be used.
    """
    raw = RawStack(images, labels, names=(name,), channels=tuple(channels) or channel_names(images.shape[3:]))
    return combine(
        [raw], name=name, label_kind=label_kind, label_options=label_options, scale_gray=scale_gray, facts=facts
    )


def combine(
    raw: Sequence[RawStack],
    *,
    name: str,
    label_kind: str = AUTO,
    label_options: LabelOptions = DEFAULT_OPTIONS,
    scale_gray: ScaleGray | None = None,
    reading: SourceReading | None = None,
    facts: Mapping[str, Any] | None = None,
) -> Source:
    """Return the source that several stacks make; every slice of them is read once, and checked.

    For the options, see `make_source`; `reading` is what was done to their pixels before.

    Raises:
        ConfigError: images and labels do not belong together, stacks differ in kind, or the name is invalid.
        SourceError: pixels or labels of a kind that cannot be used.
    """
    if not NAME.fullmatch(name):
        raise ConfigError(f"name: expected at most 80 letters, digits, dots, dashes and underscores, got {name!r:.100}")
    if label_options.are_colors:
        raw = [_with_colours(stack) for stack in raw]
    for stack in raw:
        _require_pair(stack)
    raw, scaling, level_notes = in_few_bits(raw, scale_gray)
    images = [_scan_images(stack, len(raw)) for stack in raw]
    labels = [_scan_labels(stack, len(raw), label_options) for stack in raw]
    _require_alike(raw, images)
    palette = _shared_palette(raw)
    where = raw[0].where[1] if len(raw) == 1 else f"{raw[0].where[1]} and {len(raw) - 1} more"
    if label_kind == AUTO and any(isinstance(stack.labels, ObjectSlices) for stack in raw):
        label_kind = "instances"
    coding = choose_coding([scan.values for scan in labels], label_kind, label_options, where)
    meant = [without_ignored(scan.values, coding.ignored).astype(np.uint64) for scan in labels]
    values = np.unique(np.concatenate(meant)).tolist()
    stacks = tuple(_stack(*parts, coding, label_options) for parts in zip(raw, images, labels, strict=True))
    recognised_name, recognised_facts = recognise([stack.identity for stack in stacks], name)
    known, own = recognised_facts.to_json(), make_facts(facts or {}).to_json()
    glimpses = [pair for one, other in zip(images, labels, strict=True) for pair in one.glimpse_with(other)]
    return Source(
        name=recognised_name,
        stacks=stacks,
        facts=make_facts({"title": name, **own, **known}),
        files=tuple(stack.files for stack in raw if stack.files),
        reading=_with_scaling(reading, scaling),
        notes=(
            *level_notes,
            *(
                f"source: {key} is {known[key]!r}, because these are its pixels; {value!r} is not used"
                for key, value in own.items()
                if known.get(key, value) != value
            ),
            *source_notes(
                raw,
                stacks,
                label_options,
                where=where,
                values=values,
                counts=sum((scan.counts for scan in labels), Counter()),
                glimpses=glimpses,
                palette=palette,
                kind_was_told=label_kind == AUTO,
            ),
        ),
    )


def _with_scaling(reading: SourceReading | None, scaling: GrayScaling | None) -> SourceReading | None:
    """Return what was done to pixels, with how they were scaled, if they were."""
    if scaling is None:
        return reading
    return SourceReading(scaling) if reading is None else replace(reading, scale_gray=scaling)


class RereadSlices:
    """Slices that are read each time they are needed, and refused when they are not what they were at first.

    Args:
        scan: how they were read first.
        encode: what turns a slice as it was scanned into one as it is used.
        dtype: of a slice as it is used.
    """

    def __init__(self, scan: "_Scan", encode: Convert, dtype: np.dtype[Any]) -> None:
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


class _Scan:
    """One pass over a stack: digests, gray levels or label values, and the slices themselves where they are few."""

    def __init__(
        self,
        source: Slices,
        where: str,
        convert: Convert,
        dtype: np.dtype[Any],
        *,
        n_stacks: int,
        labels: bool = False,
        options: LabelOptions = DEFAULT_OPTIONS,
    ) -> None:
        self.source, self.where, self.convert, self.dtype = source, where, convert, dtype
        is_small = math.prod(source.shape) * dtype.itemsize <= _MAX_HELD_BYTES
        self._held = np.empty(source.shape, dtype) if is_small else None
        self.slice_sha256: list[str] = []  # also of labels, where they will be read again
        self.ranges: list[tuple[float, float]] = []
        self.values: NDArray[Any] = np.zeros(0, np.int64 if dtype.kind == "i" else np.uint64)
        ignored = options.ignore
        self.counts: Counter[int] = Counter()  # pixels of ignored values and colours
        self.few_values: list[tuple[int, ...]] = []  # the first two of each slice of labels that are not ignored
        self.glimpses: list[NDArray[Any]] = []
        depth, height, width = source.shape[:3]
        glimpsed, step = glimpse_places(depth, height, width, n_stacks)
        digest = StackDigest(source.shape, dtype)
        for z, found in enumerate(source):
            if labels and not are_labels(found):
                raise label_fault(source, where, ignored)
            pixels = convert(found)
            digest.update(pixels)
            if labels:
                present = values_in(pixels)
                self.values = np.union1d(self.values, present)
                meant = without_ignored(present, ignored)
                if meant.size and meant[0] < 0:
                    raise label_fault(source, where, ignored)
                self.few_values.append(tuple(meant[:2].tolist()))
                if options.are_colors and self.values.size > MAX_COLOURS:
                    raise colours_fault(where, self.values.size, z)
                for value in present.tolist() if options.are_colors else ignored:
                    self.counts[value] += int(np.count_nonzero(pixels == value))
            else:
                if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
                    raise SourceError(f"{where}: slice {z} holds NaN or infinite pixels; replace them")
                self.ranges.append((float(pixels.min()), float(pixels.max())))
            if z in glimpsed:
                plane = pixels if pixels.ndim == 2 else pixels[..., 0]
                self.glimpses.append(plane[::step, ::step].copy())
            if self._held is not None:
                self._held[z] = pixels
            if self._held is None or not labels:
                self.slice_sha256.append(array_digest(pixels))
        self.sha256 = digest.hexdigest()

    def glimpse_with(self, other: "_Scan") -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
        """Yield the few pixels that were kept of some slices, each with those of another stack of the same shape."""
        return zip(self.glimpses, other.glimpses, strict=True)

    def slices(self, encode: Convert, dtype: np.dtype[Any]) -> Slices:
        """Return the slices, each as `encode` makes it."""
        return RereadSlices(self, encode, dtype) if self._held is None else encode(self._held)


def _scan_images(stack: RawStack, n_stacks: int) -> _Scan:
    dtype = _renderable_dtype(stack)
    return _Scan(stack.images, stack.where[0], as_renderable, dtype, n_stacks=n_stacks)


def _with_colours(stack: RawStack) -> RawStack:
    """Return a stack whose labels are colours, as numbers."""
    return replace(stack, labels=ColourLabels(stack.labels, stack.where[1], stack.palette), palette=None)


def _scan_labels(stack: RawStack, n_stacks: int, options: LabelOptions) -> _Scan:
    labels, where = stack.labels, stack.where[1]
    dtype = label_dtype(labels, labels.dtype)
    convert = partial(as_labels, dtype=dtype)
    return _Scan(labels, where, convert, dtype, n_stacks=n_stacks, labels=True, options=options)


def _stack(raw: RawStack, images: _Scan, labels: _Scan, coding: LabelCoding, options: LabelOptions) -> Stack:
    ids = renumbered_ids(labels.values, coding)
    unlabelled = frozenset(z for z, found in enumerate(labels.few_values) if found in ((), (coding.background,)))
    return Stack(
        images=images.slices(lambda pixels: pixels, images.dtype),
        labels=labels.slices(partial(_encode_rows, partial(coding.encode, ids=ids), coding.dtype), coding.dtype),
        images_sha256=images.sha256,
        labels_sha256=labels.sha256,
        label_dtype=labels.dtype.name,
        coding=coding,
        slice_sha256=tuple(images.slice_sha256),
        blank=frozenset(z for z, (low, high) in enumerate(images.ranges) if low == high),
        unlabelled=unlabelled,
        names=raw.names,
        label_names=raw.label_names,
        channels=raw.channels,
        groups=raw.groups,
        sequence=raw.sequence,
        boxes=raw.boxes,
        skipped=raw.skipped | (unlabelled if options.skip_unlabelled else frozenset()),
        renumbered=None if ids is None else describe_renumbering(ids),
    )


def channel_names(axis: Sequence[int]) -> tuple[str, ...]:
    """Return what to call channels that have no names: red, green and blue if they are three, else their numbers.

    Args:
        axis: the shape of the axis of channels, (C,); empty where there is none.
    """
    if not axis:
        return ()
    return ("red", "green", "blue") if axis[0] == 3 else tuple(map(str, range(axis[0])))


def _encode_rows(encode: Convert, dtype: np.dtype[Any], label: NDArray[Any]) -> NDArray[Any]:
    """Return a label as it is stored; a few rows at a time, because that takes several times their memory."""
    encoded = np.empty(label.shape, dtype)
    for top in range(0, len(label), _ENCODED_ROWS):
        encoded[top : top + _ENCODED_ROWS] = encode(label[top : top + _ENCODED_ROWS])
    return encoded


def _renderable_dtype(stack: RawStack) -> np.dtype[Any]:
    """Return the dtype that the images have once they can be rendered."""
    dtype = renderable_dtype(stack.images.dtype)
    if dtype.name not in IMAGE_DTYPES:
        raise SourceError(
            f"{stack.where[0]}: expected gray levels, whole or real numbers, got {dtype.name}; convert the stack (in "
            "ImageJ: Image > Type > 16-bit)"
        )
    return dtype


def _require_pair(stack: RawStack) -> None:
    images, labels = stack.images.shape, stack.labels.shape
    if len(images) not in (3, 4) or 0 in images:
        raise ConfigError(
            f"{stack.where[0]}: expected a stack of slices (Z, Y, X), or (Z, Y, X, C) of channels, got shape {images}"
        )
    if images[3:] != (len(stack.channels),) * (len(images) - 3):
        raise ConfigError(
            f"{stack.where[0]}: expected names of the {images[3]} channels in {images} (Z, Y, X, C), got "
            f"{', '.join(stack.channels) or 'none'}"
        )
    if stack.channels:
        require_channels(stack.channels)
    if images[:3] != labels:
        raise ConfigError(
            f"{stack.where[1]}: expected a label for every image slice, {images[:3]} (Z, Y, X), got {labels}; "
            f"does it belong to {stack.where[0]}?"
        )


def _shared_palette(raw: Sequence[RawStack]) -> NDArray[np.uint16] | None:
    """Return the one table of colours that labels are places in, if any are; one place must not have two colours."""
    found = [(stack.where[1], stack.palette) for stack in raw if stack.palette is not None]
    for where, palette in found:
        if not np.array_equal(palette, found[0][1]):
            raise ConfigError(
                f"{where}: its pixels stand for other colours than those of {found[0][0]}; save both as plain numbers "
                "that mean the same"
            )
    return found[0][1] if found else None


def _require_alike(raw: Sequence[RawStack], images: Sequence[_Scan]) -> None:
    """Refuse stacks that differ in dtype or channels, and one that is there twice: it would be in two splits."""
    first_of: dict[str, str] = {}
    for stack, scan in zip(raw, images, strict=True):
        if stack.channels != raw[0].channels:
            found, expected = (", ".join(each.channels) or "gray, without channels" for each in (stack, raw[0]))
            raise ConfigError(
                f"{scan.where}: has the channels {found}, but {images[0].where} has {expected}; all stacks of a "
                "dataset have the same: choose them with --channel, or build a dataset of each"
            )
        if scan.dtype != images[0].dtype:
            raise ConfigError(
                f"{scan.where}: {scan.dtype.name} pixels, but {images[0].where} has {images[0].dtype.name}; all stacks "
                "of a dataset have the same dtype: convert one of them"
            )
        if scan.sha256 in first_of:
            raise ConfigError(f"{scan.where}: holds the same images as {first_of[scan.sha256]}; name every stack once")
        first_of[scan.sha256] = scan.where
