"""The annotated stacks that a build starts from: pixels, class indices, digests, and what is known about them."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from augment.gray import IMAGE_DTYPES, as_renderable, renderable_dtype
from pipeline.errors import ConfigError, SourceError
from pipeline.shards.digest import StackDigest, array_digest
from pipeline.shards.provenance import ImageInput, LabelInput, SourceFacts, StackInput, make_facts
from pipeline.shards.record import NAME
from pipeline.source.known_stacks import recognise
from pipeline.source.label_notes import (
    MAX_OBJECT_SLICES,
    MIN_OBJECT_CLASSES,
    glimpse_places,
    label_notes,
    object_note,
    palette_note,
    shape_note,
)
from pipeline.source.labels import (
    AUTO,
    LabelCoding,
    are_labels,
    as_labels,
    choose_coding,
    label_dtype,
    label_fault,
    values_in,
)

_MAX_MEASURED_PX = 1 << 22
_MAX_HELD_BYTES = 1 << 27  # 128 MiB: a larger stack is read again slice by slice

Convert: TypeAlias = Callable[[NDArray[Any]], NDArray[Any]]


class Slices(Protocol):
    """What a stack of slices can do; an array (Z, Y, X) can do it too."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(Z, Y, X)."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of every slice."""

    def __len__(self) -> int: ...

    def __getitem__(self, z: int, /) -> NDArray[Any]:
        """Return slice z as (Y, X)."""

    def __iter__(self) -> Iterator[NDArray[Any]]:
        """Yield the slices in order."""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """What pixels were read from, a file or a folder of pages, and the digest of its bytes at that time."""

    path: Path
    sha256: str


@dataclass(frozen=True, slots=True, eq=False)
class RawStack:
    """Images and labels as they were found, to be checked and digested by `combine`.

    Attributes:
        images: (Z, Y, X) gray levels.
        labels: (Z, Y, X) whole numbers, as integers or as floats.
        where: what to call the two in error messages.
        palette: the colours that the labels stand for, if they are places in a table: (3, N) from 0 to 65535.
        names: the name of every slice, or one for the whole stack, by which a split file may call them.
        files: where the two were read from, if from files.
    """

    images: Slices
    labels: Slices
    where: tuple[str, str] = ("images", "labels")
    palette: NDArray[np.uint16] | None = None
    names: tuple[str, ...] = ()
    files: tuple[SourceFile, SourceFile] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Stack:
    """One stack of slices with its labels.

    Attributes:
        images: (Z, Y, X) uint8, uint16, int16 or float32; `images[z]` is a slice.
        labels: (Z, Y, X) uint8 class indices or uint16 ids; `labels[z]` belongs to `images[z]`.
        images_sha256: array digest of the images.
        labels_sha256: array digest of the labels as they were in the file, before they became indices; of whole
            numbers that were floats in the file, as uint16, because the record has no floats for labels.
        label_dtype: the labels' dtype in the file, or uint16 where that was a float.
        coding: what the stored labels mean.
        slice_sha256: array digest of every image slice.
        blank: slices of one gray level alone.
        unlabelled: slices whose label is background alone.
        names: the name of every slice, or one for the whole stack.
    """

    images: Slices
    labels: Slices
    images_sha256: str
    labels_sha256: str
    label_dtype: str
    coding: LabelCoding
    slice_sha256: tuple[str, ...]
    blank: frozenset[int]
    unlabelled: frozenset[int]
    names: tuple[str, ...]

    @property
    def slice_size(self) -> tuple[int, int]:
        """(height, width) of a slice, in pixels."""
        return self.images.shape[1], self.images.shape[2]

    @property
    def identity(self) -> StackInput:
        """What identifies the stack's pixels."""
        depth, height, width = self.images.shape
        shape, coding = (depth, height, width), self.coding
        return StackInput(
            ImageInput(self.images_sha256, shape, self.images.dtype.name),
            LabelInput(self.labels_sha256, shape, self.label_dtype, coding.kind, coding.values),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """All that a build starts from.

    Attributes:
        name: the dataset's name.
        stacks: the annotated stacks; stack i is the one that ids call `s00i`.
        facts: what is known about the specimen and its terms.
        files: where the pixels were read from, (images, labels) for each stack; empty for arrays and the phantom.
        notes: what the user should know before anything is built.
    """

    name: str
    stacks: tuple[Stack, ...]
    facts: SourceFacts
    files: tuple[tuple[SourceFile, SourceFile], ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def inputs(self) -> tuple[StackInput, ...]:
        """What identifies the pixels, for the fingerprint."""
        return tuple(stack.identity for stack in self.stacks)

    @property
    def coding(self) -> LabelCoding:
        """What the stored labels mean, the same for all stacks."""
        return self.stacks[0].coding

    @property
    def image_dtype(self) -> np.dtype[Any]:
        """Of the images of all stacks."""
        return self.stacks[0].images.dtype

    def gray_span(self) -> float:
        """Return the gray level that 99 % of the pixels are below, minus the one that 1 % are.

        So a stuck pixel does not count, nor does the empty field around a specimen.

        Up to about four million pixels of a regular grid are looked at.
        """
        n_pixels = sum(math.prod(stack.images.shape) for stack in self.stacks)
        step = max(1, math.ceil(math.sqrt(n_pixels / _MAX_MEASURED_PX)))
        pixels = [image[::step, ::step].ravel() for stack in self.stacks for image in stack.images]
        low, high = np.percentile(np.concatenate(pixels), (1, 99))
        return float(high) - float(low)

    @property
    def is_phantom(self) -> bool:
        """Whether pixels were made by augpipe itself."""
        return bool(self.facts.synthetic)


def make_source(
    images: Slices, labels: Slices, *, name: str, label_kind: str = AUTO, facts: Mapping[str, Any] | None = None
) -> Source:
    """Return the source that two (Z, Y, X) arrays make.

    Args:
        images: uint8, uint16, int16 or float32 gray levels; float16 becomes float32, int8 int16, and bits 0 and 255.
        labels: whole numbers from 0 to 65535, as integers or as floats.
        name: what to call it, unless its pixels are known under another name.
        label_kind: binary, classes, instances, or `auto` to tell by the number of different values.
        facts: title, specimen, licence, citation, voxel_size_nm and url, where known.

    Raises:
        ConfigError: the two do not belong together, or the name is invalid.
        SourceError: pixels or labels of a kind that cannot be used.
    """
    return combine([RawStack(images, labels, names=(name,))], name=name, label_kind=label_kind, facts=facts)


def combine(
    raw: Sequence[RawStack], *, name: str, label_kind: str = AUTO, facts: Mapping[str, Any] | None = None
) -> Source:
    """Return the source that several stacks make; every slice of them is read once, and checked.

    Raises:
        ConfigError: images and labels do not belong together, stacks differ in kind, or the name is invalid.
        SourceError: pixels or labels of a kind that cannot be used.
    """
    if not NAME.fullmatch(name):
        raise ConfigError(f"name: expected at most 80 letters, digits, dots, dashes and underscores, got {name!r:.100}")
    for stack in raw:
        _require_pair(stack)
    images = [_scan_images(stack, len(raw)) for stack in raw]
    labels = [_scan_labels(stack, len(raw)) for stack in raw]
    _require_alike(images)
    palette = _shared_palette(raw)
    where = raw[0].where[1] if len(raw) == 1 else f"{raw[0].where[1]} and {len(raw) - 1} more"
    present = np.logical_or.reduce([scan.values for scan in labels])
    coding = choose_coding(present, label_kind, where)
    stacks = tuple(_stack(*parts, coding) for parts in zip(raw, images, labels, strict=True))
    recognised_name, recognised_facts = recognise([stack.identity for stack in stacks], name)
    known, own = recognised_facts.to_json(), make_facts(facts or {}).to_json()
    glimpses = [pair for one, other in zip(images, labels, strict=True) for pair in one.glimpse_with(other)]
    return Source(
        name=recognised_name,
        stacks=stacks,
        facts=make_facts({"title": name, **own, **known}),
        files=tuple(stack.files for stack in raw if stack.files),
        notes=(
            *(
                f"source: {key} is {known[key]!r}, because these are its pixels; {value!r} is not used"
                for key, value in own.items()
                if known.get(key, value) != value
            ),
            *shape_note([(stack.where[0], stack.images.shape) for stack in raw]),
            *palette_note(where, palette, present),
            *label_notes(
                where, coding, present, [(len(each.unlabelled), len(each.labels)) for each in stacks], glimpses
            ),
            *(_object_note(where, stacks) if label_kind == AUTO else ()),
        ),
    )


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
        self, source: Slices, where: str, convert: Convert, dtype: np.dtype[Any], *, labels: bool, n_stacks: int
    ) -> None:
        self.source, self.where, self.convert, self.dtype = source, where, convert, dtype
        is_small = math.prod(source.shape) * dtype.itemsize <= _MAX_HELD_BYTES
        self._held = np.empty(source.shape, dtype) if is_small else None
        self.slice_sha256: list[str] = []  # also of labels, where they will be read again
        self.ranges: list[tuple[float, float]] = []
        self.values = np.zeros(1, np.bool_)
        self.only_values: list[int | None] = []  # of each slice of labels, if it has but one
        self.glimpses: list[NDArray[Any]] = []
        depth, height, width = source.shape
        glimpsed, step = glimpse_places(depth, height, width, n_stacks)
        digest = StackDigest(source.shape, dtype)
        for z, found in enumerate(source):
            if labels and not are_labels(found):
                raise label_fault(source, where)
            pixels = convert(found)
            digest.update(pixels)
            if labels:
                present = values_in(pixels)
                self.values = self.values | present
                self.only_values.append(int(present.argmax()) if np.count_nonzero(present) == 1 else None)
            else:
                if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
                    raise SourceError(f"{where}: slice {z} holds NaN or infinite pixels; replace them")
                self.ranges.append((float(pixels.min()), float(pixels.max())))
            if z in glimpsed:
                self.glimpses.append(pixels[::step, ::step].copy())
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
    return _Scan(stack.images, stack.where[0], as_renderable, dtype, labels=False, n_stacks=n_stacks)


def _scan_labels(stack: RawStack, n_stacks: int) -> _Scan:
    dtype = label_dtype(stack.labels.dtype)
    return _Scan(stack.labels, stack.where[1], as_labels, dtype, labels=True, n_stacks=n_stacks)


def _stack(raw: RawStack, images: _Scan, labels: _Scan, coding: LabelCoding) -> Stack:
    return Stack(
        images=images.slices(lambda pixels: pixels, images.dtype),
        labels=labels.slices(coding.encode, coding.dtype),
        images_sha256=images.sha256,
        labels_sha256=labels.sha256,
        label_dtype=labels.dtype.name,
        coding=coding,
        slice_sha256=tuple(images.slice_sha256),
        blank=frozenset(z for z, (low, high) in enumerate(images.ranges) if low == high),
        unlabelled=frozenset(z for z, value in enumerate(labels.only_values) if value == coding.background),
        names=raw.names,
    )


def _object_note(where: str, stacks: Sequence[Stack]) -> list[str]:
    """Return a note where classes look like single objects; a few labelled slices are looked at."""
    n_classes = len(stacks[0].coding.values)
    if n_classes < MIN_OBJECT_CLASSES:
        return []
    labelled = [(stack, z) for stack in stacks for z in range(len(stack.labels)) if z not in stack.unlabelled]
    n = min(len(labelled), MAX_OBJECT_SLICES)
    chosen = (labelled[index * len(labelled) // n] for index in range(n))
    return object_note(where, (stack.labels[z] for stack, z in chosen), n_classes)


def _renderable_dtype(stack: RawStack) -> np.dtype[Any]:
    """Return the dtype that the images have once they can be rendered."""
    dtype = renderable_dtype(stack.images.dtype)
    if dtype.name not in IMAGE_DTYPES:
        raise SourceError(
            f"{stack.where[0]}: expected {', '.join(IMAGE_DTYPES)}, int8, float16 or one-bit pixels, got {dtype.name}; "
            "convert the stack (in ImageJ: Image > Type > 16-bit)"
        )
    return dtype


def _require_pair(stack: RawStack) -> None:
    images, labels = stack.images.shape, stack.labels.shape
    if len(images) != 3 or 0 in images:
        raise ConfigError(f"{stack.where[0]}: expected a stack of slices (Z, Y, X), got shape {images}")
    if images != labels:
        raise ConfigError(
            f"{stack.where[1]}: expected a label for every image slice, {images} (Z, Y, X), got {labels}; "
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


def _require_alike(images: Sequence[_Scan]) -> None:
    """Refuse stacks that differ in dtype, and a stack that is there twice: it would be in two splits."""
    first_of: dict[str, str] = {}
    for scan in images:
        if scan.dtype != images[0].dtype:
            raise ConfigError(
                f"{scan.where}: {scan.dtype.name} pixels, but {images[0].where} has {images[0].dtype.name}; all stacks "
                "of a dataset have the same dtype: convert one of them"
            )
        if scan.sha256 in first_of:
            raise ConfigError(f"{scan.where}: holds the same images as {first_of[scan.sha256]}; name every stack once")
        first_of[scan.sha256] = scan.where
