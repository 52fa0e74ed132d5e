"""The annotated stacks that a build starts from: pixels, class indices, digests, and what is known about them."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from pipeline.shards.inputs import ImageInput, LabelInput, Renumbering, SourceReading, StackInput
from pipeline.shards.provenance import SourceFacts
from pipeline.source.labels import LabelCoding

_MAX_MEASURED_PX = 1 << 22


class Slices(Protocol):
    """What a stack of slices can do; an array (Z, Y, X) can do it too."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(Z, Y, X), or (Z, Y, X, C) for images of several channels."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of every slice."""

    def __len__(self) -> int: ...

    def __getitem__(self, z: int, /) -> NDArray[Any]:
        """Return slice z as (Y, X), or (Y, X, C)."""

    def __iter__(self) -> Iterator[NDArray[Any]]:
        """Yield the slices in order."""


@runtime_checkable
class ReadSlices(Protocol):
    """What slices know of how they were read."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What to say of that, once all slices have been read."""


@runtime_checkable
class ObjectSlices(Protocol):
    """Labels that are known to be ids of single objects, however few they are."""

    @property
    def values_are_objects(self) -> bool:
        """True: it is what tells them from other labels."""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """What pixels were read from, a file or a folder of pages, and the digest of its bytes at that time.

    Where the pixels of the same bytes depend on what decodes them, as those of JPEG do, `decoder` is its name and
    version. Where channels are in files or folders of their own, `further` are those of all but the first.
    """

    path: Path
    sha256: str
    decoder: str | None = None
    further: tuple["SourceFile", ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class RawStack:
    """Images and labels as they were found, to be checked and digested by `combine`.

    Attributes:
        images: (Z, Y, X) gray levels, or (Z, Y, X, C) of several channels.
        labels: (Z, Y, X) whole numbers, as integers or as floats.
        where: what to call the two in error messages.
        palette: the colours that the labels stand for, if they are places in a table: (3, N) from 0 to 65535.
        names: the name of every slice, or one for the whole stack, by which a split file may call them.
        files: where the two were read from, if from files.
        channels: what the channels of images (Z, Y, X, C) are called; empty for gray.
        groups: what each slice belongs to, if it is said.
        sequence: the place of each slice among those of all stacks; empty where every stack is a sequence by itself.
        boxes: for each slice, where in the source its first pixel was, if slices were cut into boxes.
        skipped: slices that no split may have, because nobody annotated them.
        label_names: what each name's label is called.
    """

    images: Slices
    labels: Slices
    where: tuple[str, str] = ("images", "labels")
    palette: NDArray[np.uint16] | None = None
    names: tuple[str, ...] = ()
    files: tuple[SourceFile, SourceFile] | None = None
    channels: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    sequence: tuple[int, ...] = ()
    boxes: tuple[tuple[int, int, int], ...] = ()
    skipped: frozenset[int] = frozenset()
    label_names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Stack:
    """One stack of slices with its labels.

    Attributes:
        images: (Z, Y, X), or (Z, Y, X, C) with channels; uint8, uint16, int16 or float32; `images[z]` is a slice.
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
        label_names: what each name's label is called, where that is known.
        channels: what the channels are called; empty for gray.
        groups: as in `RawStack`.
        sequence: likewise.
        boxes: likewise.
        skipped: slices that no split has.
        renumbered: how the ids of its labels were numbered anew, if they were.
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
    label_names: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    sequence: tuple[int, ...] = ()
    boxes: tuple[tuple[int, int, int], ...] = ()
    skipped: frozenset[int] = frozenset()
    renumbered: Renumbering | None = None

    @property
    def slice_size(self) -> tuple[int, int]:
        """(height, width) of a slice, in pixels."""
        return self.labels.shape[1], self.labels.shape[2]

    @property
    def identity(self) -> StackInput:
        """What identifies the stack's pixels."""
        depth, height, width = self.images.shape[:3]
        shape, coding = (depth, height, width), self.coding
        return StackInput(
            ImageInput(self.images_sha256, shape, self.images.dtype.name, self.channels or None),
            LabelInput(
                self.labels_sha256,
                shape,
                self.label_dtype,
                coding.kind,
                coding.values,
                names=coding.names or None,
                colors=coding.colors or None,
                ignored=coding.ignored or None,
                renumbered=self.renumbered,
            ),
            groups=self.groups or None,
            sequence=self.sequence or None,
            skipped=tuple(sorted(self.skipped)) or None,
            boxes=self.boxes or None,
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
        reading: what was done to the pixels of the files, if anything.
        independent: slices are fields of view without neighbours, as the layout of the files shows.
        films: every stack is a sequence of its own, as the layout shows: whole ones can be held out.
        options: how the files were read, as `read_pairs` takes it, where they do not say it themselves.
    """

    name: str
    stacks: tuple[Stack, ...]
    facts: SourceFacts
    files: tuple[tuple[SourceFile, SourceFile], ...] = ()
    notes: tuple[str, ...] = ()
    reading: SourceReading | None = None
    independent: bool = False
    films: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)

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

    @property
    def channel_axis(self) -> tuple[int, ...]:
        """The axis that channels add to the shape of an image: (C,), or none for gray."""
        return self.stacks[0].images.shape[3:]

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
