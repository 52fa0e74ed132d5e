"""The plan of a build: every sample, known before any is rendered, and the record that the dataset will have.

Nothing is held in memory for a sample.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from augment.draw import look_at
from augment.operations.drawing import draw_sample
from augment.plain import tile_recipe
from augment.recipe import MAX_ATTEMPTS, Recipe
from augment.seeding import Stream
from pipeline.errors import ConfigError
from pipeline.plan.focusing import Focusing, focus_samples
from pipeline.plan.places import SourcePlaces
from pipeline.plan.requirements import (
    require_colors,
    require_context,
    require_distinct,
    require_engine,
    require_foreground,
    require_labels,
    way_out,
)
from pipeline.plan.shown import shown_slices
from pipeline.plan.split import Assignment, SliceAddress, share_samples, split_fractions
from pipeline.plan.strategies import assign_slices
from pipeline.plan.tiles import count_plain_samples, place_tiles
from pipeline.shards.config import RENDERER_VERSION, BuildConfig
from pipeline.shards.context import channel_names, neighbours
from pipeline.shards.inputs import LabelInput, SourceReading, StackInput, require_inputs
from pipeline.shards.manifest import MAX_REPLICATES, sample_id
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

_PLACE_STREAM = 2  # first part of the stream's key; splits have 1, and what a recipe is drawn from all others
_TRAIN = "train"  # the split whose samples labels may decide on: scores on chosen windows would be biased


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

    @property
    def address(self) -> SliceAddress:
        """The slice."""
        return SliceAddress(self.stack, self.z)


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
        inputs: the stacks.
        n_channels: of every slice.
        assignment: the split of every slice.
        shown: which split's samples show it, as their own slice or beside that.
        counts: samples in each split.
        focusing: which training samples show a place; None where windows lie anywhere.
        places: those of every slice, where the source is at hand.
    """

    config: BuildConfig
    name: str
    fingerprint: str
    inputs: tuple[StackInput, ...]
    n_channels: int
    assignment: Assignment
    shown: Assignment
    counts: dict[str, int]
    focusing: Focusing | None = None
    places: SourcePlaces | None = field(default=None, compare=False)

    @property
    def n(self) -> int:
        """Samples in all splits, those of plain ones too."""
        return sum(self.counts.values())

    def shards(self) -> Iterator[PlannedShard]:
        """Yield the shards, split by split, in the order in which they are made."""
        for split, count in self.counts.items():
            for index, first in enumerate(range(0, count, self.config.shard_size)):
                n = min(self.config.shard_size, count - first)
                yield PlannedShard(f"{split}-{index:05d}.h5", split, first, n)

    def samples(self, shard: PlannedShard) -> list[PlannedSample]:
        """Return the shard's samples in row order: sample k of a split takes slice k mod S, replicate k // S.

        Those of a plain split are the tiles of its slices, slice by slice; then the replicate is the tile's number.
        """
        slices = self.assignment.slices(shard.split)
        positions = range(shard.first, shard.first + shard.n)
        if shard.split in self.config.plain:
            places = list(place_tiles(slices, [stack.slice_size for stack in self.inputs], self.config.size, positions))
        else:
            places = [(slices[k % len(slices)], k // len(slices)) for k in positions]
        return [
            PlannedSample(shard.split, shard.file, row, address.stack, address.z, replicate)
            for row, (address, replicate) in enumerate(places)
        ]

    def context(self, sample: PlannedSample) -> tuple[int, ...]:
        """Return the slices of its stack that the sample shows beside its own, in the order of the channels."""
        return neighbours(self.inputs[sample.stack], sample.z, self.config.context)

    @property
    def channels(self) -> tuple[str, ...] | None:
        """What the channels of every image are called; None where images are (h, w)."""
        return channel_names(self.inputs[0].images.channels, self.config.context)

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Of every image: (height, width), or (height, width, channels)."""
        return self.config.size if self.channels is None else (*self.config.size, len(self.channels))

    def recipe(self, sample: PlannedSample, attempt: int = 0) -> Recipe:
        """Return the sample's recipe, which depends on the seed, its slice and replicate, the ranges and its place.

        Args:
            sample: the sample. One that shows a place needs `places`.
            attempt: how many recipes were drawn for it before.

        Raises:
            ConfigError: it shows a place, and none are known.
        """
        if sample.split in self.config.plain:
            return self._tile(sample)
        key = (sample.stack, sample.z, sample.replicate, *((attempt,) if attempt else ()))
        recipe = self._draw(key)
        if self._shows_place(sample):
            if self.places is None:
                raise ConfigError(f"focus {self.config.focus}: the labels are needed, and the plan has none")
            place = self.places.of_slice(*key[:2]).draw(Stream(self.config.seed, (_PLACE_STREAM, *key)))
            return recipe if place is None else look_at(recipe, place, self.inputs[sample.stack].slice_size)
        return recipe

    def recipe_again(self, sample: PlannedSample, recorded: Recipe) -> Recipe:
        """Return what the recipe must be that was recorded, as far as that is known without the source.

        Where the labels decide them, its place and its attempt are believed.
        """
        if sample.split in self.config.plain:
            return self._tile(sample)
        key = (sample.stack, sample.z, sample.replicate)
        attempt, place, size = recorded.attempt, recorded.place, self.inputs[sample.stack].slice_size
        recipe = self._draw((*key, attempt) if attempt and self.n_attempts(sample) > 1 else key)
        is_on_slice = place is not None and all(at < side for at, side in zip(place, size, strict=True))
        return look_at(recipe, place, size) if place and is_on_slice and self._shows_place(sample) else recipe

    def n_attempts(self, sample: PlannedSample) -> int:
        """Return how many recipes may be drawn for a sample, until one shows enough foreground."""
        return MAX_ATTEMPTS if self.config.min_foreground and sample.split == _TRAIN else 1

    def _tile(self, sample: PlannedSample) -> Recipe:
        return tile_recipe(self.inputs[sample.stack].slice_size, self.config.size, sample.replicate)

    def _draw(self, key: tuple[int, ...]) -> Recipe:
        stack, _, _, *attempt = key
        recipe = draw_sample(
            self.config.ranges,
            lambda first: Stream(self.config.seed, (first, *key)),
            window=self.config.size,
            slice_size=self.inputs[stack].slice_size,
            n_channels=self.n_channels,
        )
        return replace(recipe, attempt=attempt[0]) if attempt else recipe

    def _shows_place(self, sample: PlannedSample) -> bool:
        if self.focusing is None or sample.split != _TRAIN:
            return False
        return self.focusing.takes(sample.address, sample.replicate)


def make_plan(source: Source, config: BuildConfig) -> Plan:
    """Return the plan of a build.

    Raises:
        ConfigError: a split would be empty, the ids have no room for so many samples, the same picture would be in
            two splits, the margin needs a value that labels have, or no training sample can show foreground.
    """
    plan = plan_from_inputs(config, source.name, source.inputs, source.facts, source.reading)
    if config.takes_highest and source.coding.full:
        raise ConfigError(
            f"{config.takes_highest}: it needs the id {np.iinfo(source.coding.dtype).max} for itself, an object has "
            f"it; give that object another id, or {way_out(config)}"
        )
    require_distinct(source, plan.shown)
    require_foreground(source, config, plan.assignment.slices(_TRAIN))
    return with_places(plan, source)


def with_places(plan: Plan, source: Source) -> Plan:
    """Return a plan that draws places on the slices of its source, if it draws any."""
    return plan if plan.focusing is None else replace(plan, places=SourcePlaces(source, plan.config.focus))


def plan_from_inputs(
    config: BuildConfig,
    name: str,
    inputs: Sequence[StackInput],
    facts: SourceFacts,
    reading: SourceReading | None = None,
) -> Plan:
    """Return the plan of a build, from what dataset.json records of its source: no pixels are needed.

    Raises:
        ConfigError: a split would be empty, the ids have no room for so many stacks, slices or samples, the margin or
            the focus goes with other labels, or the margin with another engine, or there is no such context.
    """
    require_inputs(inputs)
    n_channels = len(inputs[0].images.channels or ("gray",))
    if config.ranges.per_channel and n_channels == 1:
        raise ConfigError("per-channel: the images have one channel, so that it would change nothing; leave it out")
    require_labels(config, inputs[0].labels)
    require_colors(config, inputs[0].images)
    require_engine(config)
    assignment = assign_slices(config, inputs)
    require_context(config, inputs, assignment)
    counts = share_samples(config.n, split_fractions(config, assignment))
    replicates = max(-(-count // len(assignment.slices(split))) for split, count in counts.items())
    if replicates > MAX_REPLICATES:
        raise ConfigError(f"n: ids have room for {MAX_REPLICATES} samples a slice; this build needs {replicates}")
    counts |= count_plain_samples(config, assignment, [stack.slice_size for stack in inputs], counts)
    return Plan(
        config=config,
        name=name,
        fingerprint=build_fingerprint(config, name, inputs, facts, reading),
        inputs=tuple(inputs),
        n_channels=n_channels,
        assignment=assignment,
        shown=shown_slices(assignment, inputs, config.context),
        counts=counts,
        focusing=None if config.focus == "uniform" else focus_samples(config.focus_share, assignment.slices(_TRAIN)),
    )


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
            gap=None if config.independent else plan.shown.gap,
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
            channels=plan.channels,
            ignore=ignore,
            masks=tuple(split for split in plan.counts if config.has_masks(split)) or None,
        ),
        manifest=manifest,
        shards=tuple(shards),
        reading=reading,
    )


def stored_labels(config: BuildConfig, inputs: Sequence[StackInput]) -> tuple[np.dtype[Any], int | None]:
    """Return the dtype of labels in the shards, and the value of pixels that mean nothing; None where all do."""
    dtype = max((np.dtype(stack.labels.stored_dtype) for stack in inputs), key=lambda dtype: dtype.itemsize)
    has_ignored = config.marks_ignored or any(stack.labels.ignored for stack in inputs)
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
