"""The plan of a build: every sample, known before any is rendered, and the record that the dataset will have.

Nothing is held in memory for a sample.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from augment.draw import draw_recipe
from augment.recipe import Recipe
from augment.seeding import Stream
from pipeline.errors import ConfigError, counted
from pipeline.plan.split import Assignment, SliceAddress, share_samples, split_fractions
from pipeline.plan.strategies import assign_slices
from pipeline.shards.config import RENDERER_VERSION, BuildConfig
from pipeline.shards.inputs import LabelInput, SourceReading, StackInput, require_inputs
from pipeline.shards.manifest import sample_id
from pipeline.shards.provenance import SourceFacts
from pipeline.shards.record import (
    ArraysRecord,
    ClassRecord,
    DatasetRecord,
    ManifestRecord,
    ShardRecord,
    SplitRecord,
    build_fingerprint,
    needed_schema,
)
from pipeline.source.stacks import Source

_RECIPE_STREAM = 0  # first part of the stream's key; splits have another
_MAX_REPLICATES = 10**7  # what the ids have room for


@dataclass(frozen=True, slots=True)
class PlannedSample:
    """One sample: which slice, which replicate of it, and where it will be stored."""

    split: str
    shard: str
    row: int
    stack: int
    z: int
    replicate: int

    @property
    def id(self) -> str:
        """The sample's name, of the same width whatever n is."""
        return sample_id(self.stack, self.z, self.replicate)


@dataclass(frozen=True, slots=True)
class PlannedShard:
    """A file of consecutive samples of one split."""

    file: str
    split: str
    first: int
    n: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What a build will make.

    Attributes:
        config: the options.
        name: the dataset's name.
        fingerprint: digest of all that decides the dataset's bytes.
        slice_sizes: (height, width) of the slices of each stack, in pixels.
        n_channels: of every image.
        assignment: the split of every slice.
        counts: samples in each split.
    """

    config: BuildConfig
    name: str
    fingerprint: str
    slice_sizes: tuple[tuple[int, int], ...]
    n_channels: int
    assignment: Assignment
    counts: dict[str, int]

    def shards(self) -> Iterator[PlannedShard]:
        """Yield the shards, split by split, in the order in which they are made."""
        for split, count in self.counts.items():
            for index, first in enumerate(range(0, count, self.config.shard_size)):
                n = min(self.config.shard_size, count - first)
                yield PlannedShard(f"{split}-{index:05d}.h5", split, first, n)

    def samples(self, shard: PlannedShard) -> list[PlannedSample]:
        """Return the shard's samples in row order: sample k of a split takes slice k mod S, replicate k // S."""
        slices = self.assignment.slices(shard.split)
        return [self._sample(shard, slices, row) for row in range(shard.n)]

    def recipe(self, sample: PlannedSample) -> Recipe:
        """Return the sample's recipe, which depends on the seed, its slice and replicate, and the ranges alone."""
        stream = Stream(self.config.seed, (_RECIPE_STREAM, sample.stack, sample.z, sample.replicate))
        return draw_recipe(
            self.config.ranges,
            stream,
            window=self.config.size,
            slice_size=self.slice_sizes[sample.stack],
            n_channels=self.n_channels,
        )

    @staticmethod
    def _sample(shard: PlannedShard, slices: tuple[SliceAddress, ...], row: int) -> PlannedSample:
        replicate, index = divmod(shard.first + row, len(slices))
        return PlannedSample(shard.split, shard.file, row, slices[index].stack, slices[index].z, replicate)


def make_plan(source: Source, config: BuildConfig) -> Plan:
    """Return the plan of a build.

    Raises:
        ConfigError: a split would be empty, the ids have no room for so many samples, the same picture would be in
            two splits, or the margin needs a value that labels have.
    """
    plan = plan_from_inputs(config, source.name, source.inputs, source.facts, source.reading)
    if config.margin != "shared" and source.coding.full:
        raise ConfigError(
            f"margin {config.margin}: it needs the id {np.iinfo(source.coding.dtype).max} for itself, an object has "
            "it; give that object another id, or use margin shared"
        )
    _require_distinct(source, plan.assignment)
    return plan


def plan_from_inputs(
    config: BuildConfig,
    name: str,
    inputs: Sequence[StackInput],
    facts: SourceFacts,
    reading: SourceReading | None = None,
) -> Plan:
    """Return the plan of a build, from what dataset.json records of its source: no pixels are needed.

    Raises:
        ConfigError: a split would be empty, the ids have no room for so many stacks, slices or samples, or the margin
            goes with other labels or another engine.
    """
    require_inputs(inputs)
    n_channels = len(inputs[0].images.channels or ("gray",))
    if config.ranges.per_channel and n_channels == 1:
        raise ConfigError("per-channel: the images have one channel, so that it would change nothing; leave it out")
    _require_margin(config, inputs[0].labels)
    assignment = assign_slices(config, inputs)
    counts = share_samples(config.n, split_fractions(config, assignment))
    replicates = max(-(-count // len(assignment.slices(split))) for split, count in counts.items())
    if replicates > _MAX_REPLICATES:
        raise ConfigError(f"n: ids have room for {_MAX_REPLICATES} samples a slice; this build needs {replicates}")
    return Plan(
        config=config,
        name=name,
        fingerprint=build_fingerprint(config, name, inputs, facts, reading),
        slice_sizes=tuple(stack.slice_size for stack in inputs),
        n_channels=n_channels,
        assignment=assignment,
        counts=counts,
    )


def foreground_notes(source: Source, config: BuildConfig) -> list[str]:
    """Return a line for each split none of whose slices is labelled with anything but background.

    Raises:
        ConfigError: a split would be empty.
    """
    if not any(stack.unlabelled for stack in source.stacks):
        return []
    assignment = assign_slices(config, source.inputs)
    notes = []
    for split in assignment.splits:
        slices = assignment.slices(split)
        if all(address.z in source.stacks[address.stack].unlabelled for address in slices):
            notes.append(
                f"split: {source.coding.nothing} in the labels of {split} "
                f"({counted(len(slices), 'slice')}), so that its samples show no foreground; choose another --split, "
                "or a --split-file"
            )
    return notes


def describe_dataset(
    plan: Plan,
    inputs: Sequence[StackInput],
    facts: SourceFacts,
    manifest: ManifestRecord,
    shards: Sequence[ShardRecord],
    reading: SourceReading | None = None,
) -> DatasetRecord:
    """Return dataset.json: the same for every build of the same fingerprint.

    Args:
        plan: what was made.
        inputs: what it was made from.
        facts: what is known about that.
        manifest: the manifest's file.
        shards: the shard files.
        reading: what was done to its pixels before.
    """
    config, labels = plan.config, inputs[0].labels
    label_dtype, ignore = stored_labels(config, inputs)
    return DatasetRecord(
        schema=needed_schema(config, inputs, reading),
        name=plan.name,
        fingerprint=plan.fingerprint,
        renderer=RENDERER_VERSION,
        config=config,
        inputs=tuple(inputs),
        source=facts,
        split=SplitRecord(
            strategy=config.split,
            independent=config.independent,
            gap=None if config.independent else plan.assignment.gap,
            slices=plan.assignment.by_split(),
            samples=plan.counts,
        ),
        label_kind=labels.kind,
        classes=_classes(labels),
        arrays=ArraysRecord(
            window=config.size,
            images=inputs[0].images.dtype,  # type: ignore[arg-type]  # one of those that can be rendered
            labels=label_dtype.name,  # type: ignore[arg-type]  # one of those that are stored
            weights="float16" if config.weighted else None,
            channels=inputs[0].images.channels,
            ignore=ignore,
        ),
        manifest=manifest,
        shards=tuple(shards),
        reading=reading,
    )


def stored_labels(config: BuildConfig, inputs: Sequence[StackInput]) -> tuple[np.dtype[Any], int | None]:
    """Return the dtype of labels in the shards, and the value of pixels that mean nothing; None where all do."""
    dtype = max((np.dtype(stack.labels.stored_dtype) for stack in inputs), key=lambda dtype: dtype.itemsize)
    has_ignored = config.margin == "ignore" or any(stack.labels.ignored for stack in inputs)
    return dtype, int(np.iinfo(dtype).max) if has_ignored else None


def _classes(labels: LabelInput) -> tuple[ClassRecord, ...]:
    """Return the classes of labels; of instances, which are numbered one by one, only where they have names."""
    values = labels.values or ((0, 1) if labels.names else ())
    return tuple(
        ClassRecord(
            index, value, labels.names[index] if labels.names else None, labels.colors[index] if labels.colors else None
        )
        for index, value in enumerate(values)
    )


def _require_margin(config: BuildConfig, labels: LabelInput) -> None:
    """Refuse a margin that needs ids where there are none, or that the engine cannot make."""
    if config.margin == "own" and labels.kind != "instances":
        raise ConfigError(
            f"margin own: it numbers mirrored objects, and these labels are {labels.kind}; use margin shared, or ignore"
        )
    if config.margin == "ignore" and len(labels.values) > np.iinfo(labels.stored_dtype).max:
        raise ConfigError(
            f"margin ignore: {len(labels.values)} classes leave no value for what is ignored; use margin shared"
        )
    if config.margin != "shared" and config.engine == "staged":
        raise ConfigError(
            f"margin {config.margin}: the staged engine does not tell mirror images apart; use margin shared, or the "
            "fused engine"
        )


def _require_distinct(source: Source, assignment: Assignment) -> None:
    """Refuse the same picture in two splits under two numbers; slices of one gray level show no tissue."""
    first: dict[str, tuple[SliceAddress, str]] = {}
    for address, split in assignment:
        stack = source.stacks[address.stack]
        if split is None or address.z in stack.blank:
            continue
        earlier, earlier_split = first.setdefault(stack.slice_sha256[address.z], (address, split))
        if earlier_split != split:
            raise ConfigError(
                f"split {split}: slice {address.z} of stack {address.stack} is the same picture as slice {earlier.z} "
                f"of stack {earlier.stack}, which is in {earlier_split}; remove one of the two from the stack"
            )
