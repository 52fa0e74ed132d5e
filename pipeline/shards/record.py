"""dataset.json as a type: what a dataset says about itself, parsed and validated once, where it is read."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias, TypeVar, get_args

import msgspec
import numpy as np

from pipeline.errors import AugpipeError, ConfigError, DatasetError
from pipeline.shards.config import RENDERER_VERSION, BuildConfig, LabelKind, SplitStrategy
from pipeline.shards.context import channel_names
from pipeline.shards.digest import SHA256, bytes_digest, canonical_json, parse_json
from pipeline.shards.inputs import (
    MAX_LABEL_VALUE,
    SourceReading,
    StackInput,
    known_values,
    require_inputs,
)
from pipeline.shards.provenance import SourceFacts

DatasetSchema: TypeAlias = Literal["augpipe/dataset/1", "augpipe/dataset/2"]
DATASET_SCHEMAS: tuple[DatasetSchema, ...] = get_args(DatasetSchema)
SHARD_SCHEMA = "augpipe/shard/1"
DATASET_FILE, BUILD_INFO_FILE = "dataset.json", "build-info.json"
MANIFEST_FILE: Literal["manifest.jsonl"] = "manifest.jsonl"

WEIGHT_DTYPE, MASK_DTYPE = np.dtype("float16"), np.dtype("uint8")
# What is stored of every sample, in the order of its digests, and what the shards call it.
STORED_NAMES: Mapping[str, str] = {"image": "images", "label": "labels", "weights": "weights", "mask": "masks"}
SHARD_FILE = re.compile(r"(train|val|test)-[0-9]{5,9}\.h5")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")  # of a dataset
_MAX_WINDOW_PX = 1 << 16
_FIRST_IMAGE_KEYS = {"sha256", "shape", "dtype"}
_FIRST_LABEL_KEYS = {*_FIRST_IMAGE_KEYS, "kind", "values"}


class Recorded(Protocol):
    """What can be written as JSON."""

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON values."""


Record = TypeVar("Record", bound=Recorded)


@dataclass(frozen=True, slots=True)
class ShardRecord:
    """One shard file: its samples, its bytes, the digest of its bytes, and that of its arrays' digests."""

    file: str
    split: str
    n: int
    bytes: int
    sha256: str
    content_sha256: str

    def __post_init__(self) -> None:
        match = SHARD_FILE.fullmatch(self.file)
        if not match or match[1] != self.split:
            raise ConfigError(f"shard {self.file!r}: not the name of a shard of split {self.split!r}")
        if min(self.n, self.bytes) < 1 or not all(map(SHA256.fullmatch, (self.sha256, self.content_sha256))):
            raise ConfigError(f"shard {self.file}: n, bytes or a digest is out of range")


@dataclass(frozen=True, slots=True)
class ManifestRecord:
    """The manifest's file, its size in bytes, and the digest of its bytes."""

    file: Literal["manifest.jsonl"]
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class ArraysRecord:
    """The arrays of every shard.

    Attributes:
        window: (height, width) of a sample, in pixels.
        images: their dtype.
        labels: their dtype.
        weights: their dtype; None where there are none.
        channels: what the channels of images (h, w, C) are called; None where images are (h, w).
        ignore: the value of label pixels that mean nothing; None where all mean something.
        masks: the splits that hold masks: which pixels of a sample count; None where there are none.
    """

    window: tuple[int, int]
    images: Literal["uint8", "uint16", "int16", "float32"]
    labels: Literal["uint8", "uint16", "uint32"]
    weights: Literal["float16"] | None = None
    channels: tuple[str, ...] | None = None
    ignore: int | None = None
    masks: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if not all(1 < side <= _MAX_WINDOW_PX for side in self.window):
            raise ConfigError(f"window {self.window} is out of range")


@dataclass(frozen=True, slots=True)
class ClassRecord:
    """A class: its index in the shards' labels, its value in the source's, and its name and colour where known.

    Instances have classes where these have names: background and the one that all objects are of.
    """

    index: int
    value: int
    name: str | None = None
    color: str | None = None


@dataclass(frozen=True, slots=True)
class StackSlices:
    """Slices of one stack."""

    stack: int
    z: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SplitRecord:
    """How slices were assigned.

    Attributes:
        strategy: the configuration's.
        independent: the slices are fields of view without neighbours.
        gap: the fewest slices between two splits of a stack; None where no stack is in two splits.
        slices: those of each split, and of none, as `unused`.
        samples: how many each split has.
    """

    strategy: SplitStrategy
    independent: bool
    gap: int | None
    slices: dict[str, tuple[StackSlices, ...]]
    samples: dict[str, int]


@dataclass(frozen=True, slots=True)
class DatasetRecord:
    """The whole of dataset.json; manifests/README.md describes every field."""

    schema: DatasetSchema
    name: str
    fingerprint: str
    renderer: int
    config: BuildConfig
    inputs: tuple[StackInput, ...]
    source: SourceFacts
    split: SplitRecord
    label_kind: LabelKind
    classes: tuple[ClassRecord, ...]
    arrays: ArraysRecord
    manifest: ManifestRecord
    shards: tuple[ShardRecord, ...]
    reading: SourceReading | None = None

    def __post_init__(self) -> None:
        if self.schema != (needed := needed_schema(self.config, self.inputs, self.reading)):
            raise ConfigError(f"expected schema {needed} for what it holds, got {self.schema}")
        if not NAME.fullmatch(self.name):
            raise ConfigError(f"expected the name of a dataset, got {self.name!a:.80}")
        require_inputs(self.inputs)
        names = channel_names(self.inputs[0].images.channels, self.config.context)
        if self.config.context and self.arrays.channels != names:
            raise ConfigError(f"expected the channels {names!r:.80} of context {self.config.context}")
        self.source.require_recorded(len(self.inputs))
        files = {shard.file for shard in self.shards}
        if not files or len(files) != len(self.shards):
            raise ConfigError("expected at least one shard, and each of them once")

    @property
    def n(self) -> int:
        """Samples in all splits."""
        return sum(shard.n for shard in self.shards)

    @property
    def window(self) -> tuple[int, int]:
        """(height, width) of every sample, in pixels."""
        return self.arrays.window

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Of every image: (height, width), or (height, width, channels) where there are several."""
        return self.window if self.arrays.channels is None else (*self.window, len(self.arrays.channels))

    @property
    def image_dtype(self) -> np.dtype[Any]:
        """Of every image."""
        return np.dtype(self.arrays.images)

    @property
    def label_dtype(self) -> np.dtype[Any]:
        """Of every label."""
        return np.dtype(self.arrays.labels)

    @property
    def has_weights(self) -> bool:
        """Whether the weight of every pixel is stored, as WEIGHT_DTYPE."""
        return self.arrays.weights is not None

    def has_masks(self, split: str) -> bool:
        """Return whether it is stored which pixels of a split's samples count, as MASK_DTYPE."""
        return split in (self.arrays.masks or ())

    def array_names(self, split: str) -> tuple[str, ...]:
        """Return what is stored of every sample of a split, in the order of their digests."""
        others = {"weights": self.has_weights, "mask": self.has_masks(split)}
        return ("image", "label", *(name for name, is_there in others.items() if is_there))

    @property
    def n_groups(self) -> int:
        """How many groups slices belong to; 0 where none are recorded."""
        used = (
            group
            for stack in self.inputs
            for z, group in enumerate(stack.groups or ())
            if z not in (stack.skipped or ())
        )
        return len(set(used))

    @property
    def n_skipped(self) -> int:
        """How many slices no split may have."""
        return sum(len(stack.skipped or ()) for stack in self.inputs)

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that have samples, in the order of their shards."""
        return tuple(dict.fromkeys(shard.split for shard in self.shards))

    def split_shards(self, split: str) -> tuple[ShardRecord, ...]:
        """Return the shards of one split."""
        return tuple(shard for shard in self.shards if shard.split == split)

    def to_json(self) -> dict[str, Any]:
        """Return the record as plain JSON values; what a dataset does not have, such as weights, has no key."""
        values: dict[str, Any] = msgspec.to_builtins(self)
        values |= {
            "config": self.config.to_json(),
            "source": self.source.to_json(),
            "inputs": [stack.to_json() for stack in self.inputs],
            "classes": list(map(known_values, self.classes)),
            "arrays": known_values(self.arrays),
        }
        reading = values.pop("reading")
        return {**values, "reading": known_values(self.reading)} if reading else values


def needed_schema(config: BuildConfig, inputs: Sequence[StackInput], reading: SourceReading | None) -> DatasetSchema:
    """Return the version of the format that says all there is to say: the first, unless something needs the second."""
    ranges = config.ranges
    of_ranges = ranges.per_channel or bool(ranges.operations or ranges.probability)
    of_config = (
        config.margin != "shared" or of_ranges or config.looks_at_labels or config.context > 0 or bool(config.plain)
    )
    return DATASET_SCHEMAS[of_config or reading is not None or any(map(_is_new, inputs))]


def _is_new(stack: StackInput) -> bool:
    """Return whether the first version of the format has no words for a stack."""
    values = stack.to_json()
    others = values.keys() - {"images", "labels"}
    in_images, in_labels = values["images"].keys() - _FIRST_IMAGE_KEYS, values["labels"].keys() - _FIRST_LABEL_KEYS
    odd_values = any(not 0 <= value <= MAX_LABEL_VALUE for value in stack.labels.values)
    return bool(others or in_images or in_labels or odd_values)


def build_fingerprint(
    config: BuildConfig,
    name: str,
    inputs: Sequence[StackInput],
    facts: SourceFacts,
    reading: SourceReading | None = None,
) -> str:
    """Return the digest of all that decides a dataset's bytes; never of jobs, paths, times or versions."""
    values = {
        "config": config.to_json(),
        "name": name,
        "inputs": [stack.to_json() for stack in inputs],
        "source": facts.to_json(),
    }
    if reading is not None:
        values["reading"] = reading.to_json()
    return bytes_digest(canonical_json({**values, "renderer": RENDERER_VERSION}))


def parse_record(data: bytes, *, where: Path | str) -> DatasetRecord:
    """Return what the bytes of a dataset.json say.

    Args:
        data: UTF-8 JSON.
        where: what to call them in error messages.

    Raises:
        DatasetError: they are not a record of this version, as augpipe writes it.
    """
    try:
        values = parse_json(data)
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{where}: not JSON ({error})") from error
    try:
        if isinstance(values, dict) and values.get("schema") not in DATASET_SCHEMAS:
            raise ConfigError(f"expected schema {' or '.join(DATASET_SCHEMAS)}, got {values.get('schema')!r:.80}")
        return convert(values, DatasetRecord)
    except (AugpipeError, RecursionError) as error:
        raise DatasetError(f"{where}: not a dataset record of this version ({error})") from error


def convert(values: Any, kind: type[Record]) -> Record:
    """Return plain JSON values as a type that has `to_json`, which must give the same values again.

    Raises:
        ConfigError: a value is of another type or out of range, or a key is unknown or missing.
    """
    try:
        converted = msgspec.convert(values, kind)
        require_same(values, converted.to_json())
    except (msgspec.ValidationError, OverflowError, ValueError) as error:
        raise ConfigError(str(error)) from error
    return converted


def require_same(read: Any, written: Any, at: str = "$") -> None:
    """Refuse JSON values that are not written again as they were read: a key is unknown or missing.

    Raises:
        ConfigError: the first place where they differ.
    """
    if isinstance(read, Mapping) and isinstance(written, Mapping):
        if odd := sorted(set(read) ^ set(written)):
            raise ConfigError(f"{'unknown' if odd[0] in read else 'missing'} key {odd[0]!r:.80} - at `{at}`")
        for key, value in written.items():
            require_same(read[key], value, f"{at}.{key}")
    elif isinstance(read, list) and isinstance(written, list | tuple) and len(read) == len(written):
        if canonical_json(read) != canonical_json(written):
            for index, (one, other) in enumerate(zip(read, written, strict=True)):
                require_same(one, other, f"{at}[{index}]")
    elif canonical_json(read) != canonical_json(written):
        raise ConfigError(f"{read!r:.80} is not written as augpipe writes it - at `{at}`")
