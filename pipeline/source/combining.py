"""From stacks as they were found to a source: every slice is read once, checked, digested, and coded.

What is small is held in memory, what is large read again, and refused when it is another one then.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ConfigError
from pipeline.shards.inputs import GrayScaling, SourceReading, require_channels
from pipeline.shards.provenance import make_facts
from pipeline.shards.record import NAME
from pipeline.source.gray_levels import ScaleGray, in_few_bits
from pipeline.source.known_stacks import recognise
from pipeline.source.label_colours import ColourLabels
from pipeline.source.labels import (
    AUTO,
    DEFAULT_OPTIONS,
    LabelCoding,
    LabelOptions,
    choose_coding,
    describe_renumbering,
    renumbered_ids,
    require_one_mask,
    without_ignored,
)
from pipeline.source.scanning import ImageScan, LabelScan, encode_rows
from pipeline.source.source_notes import channel_notes, source_notes
from pipeline.source.stacks import ObjectSlices, RawStack, Slices, Source, Stack


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
    images = [ImageScan(stack, len(raw)) for stack in raw]
    labels = [LabelScan(stack, len(raw), label_options) for stack in raw]
    _require_alike(raw, images)
    palette = _shared_palette(raw)
    where = raw[0].where[1] if len(raw) == 1 else f"{raw[0].where[1]} and {len(raw) - 1} more"
    if label_kind == AUTO and any(isinstance(stack.labels, ObjectSlices) for stack in raw):
        label_kind = "instances"
    if label_kind in (AUTO, "binary") and not (label_options.names or label_options.values or label_options.are_colors):
        require_one_mask((values for scan in labels for values in scan.few_values), where)
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
            *channel_notes(
                raw[0].where[0],
                raw[0].channels,
                [scan.channel_ranges for scan in images],
                are_equal=all(scan.are_equal for scan in images),
            ),
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


def _with_colours(stack: RawStack) -> RawStack:
    """Return a stack whose labels are colours, as numbers."""
    return replace(stack, labels=ColourLabels(stack.labels, stack.where[1], stack.palette), palette=None)


def _stack(raw: RawStack, images: ImageScan, labels: LabelScan, coding: LabelCoding, options: LabelOptions) -> Stack:
    ids = renumbered_ids(labels.values, coding)
    unlabelled = frozenset(z for z, found in enumerate(labels.few_values) if found in ((), (coding.background,)))
    return Stack(
        images=images.slices(lambda pixels: pixels, images.dtype),
        labels=labels.slices(partial(encode_rows, partial(coding.encode, ids=ids), coding.dtype), coding.dtype),
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


def _require_alike(raw: Sequence[RawStack], images: Sequence[ImageScan]) -> None:
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
