"""dataset/2: written only where something needs it, read again as it was written, and described by the JSON schema."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from augment.operations import OPERATIONS, Operation
from augment.ranges import AugmentRanges
from pipeline.errors import DatasetError
from pipeline.plan.plan import describe_dataset, plan_from_inputs
from pipeline.shards.config import BuildConfig
from pipeline.shards.digest import canonical_json
from pipeline.shards.inputs import (
    GrayScaling,
    ImageInput,
    LabelInput,
    Renumbering,
    SourceReading,
    StackInput,
)
from pipeline.shards.provenance import SourceFacts
from pipeline.shards.record import DatasetRecord, ManifestRecord, ShardRecord, parse_record


def off_and_on(kind: type[Operation]) -> tuple[float, float]:
    """Return a range of strengths, one end of which changes nothing."""
    far = kind.limits[0] if kind.limits[0] < kind.off else kind.limits[1]
    low, high = sorted((kind.off, (kind.off + far) / 2))
    return low, high


SCHEMA = jsonschema.Draft202012Validator(
    json.loads((Path(__file__).parents[3] / "manifests" / "dataset.schema.json").read_bytes())
)
DIGEST, SHAPE = "0" * 64, (4, 9, 8)
IMAGES = ImageInput(DIGEST, SHAPE, "uint8")
CLASSES = LabelInput(DIGEST, SHAPE, "uint8", "classes", (0, 7, 9))
IDS = LabelInput(DIGEST, SHAPE, "int64", "instances", ())
FIRST = StackInput(IMAGES, CLASSES)
IN_COLOUR = StackInput(replace(IMAGES, channels=("red", "green", "blue")), CLASSES)
CONFIG = BuildConfig(n=4, size=(6, 6), test=0.25, gap=0)
NEW: dict[str, dict[str, Any]] = {
    "channels": {"stack": StackInput(replace(IMAGES, channels=("red", "green")), CLASSES)},
    "names": {"stack": StackInput(IMAGES, replace(CLASSES, names=("background", "cell", "border")))},
    "names of instances": {"stack": StackInput(IMAGES, replace(IDS, names=("background", "cell")))},
    "colors": {"stack": StackInput(IMAGES, replace(CLASSES, colors=("#000000", "#00ff00", "#0000ff")))},
    "ignored": {"stack": StackInput(IMAGES, replace(CLASSES, ignored=(-1, 255)))},
    "values": {"stack": StackInput(IMAGES, replace(CLASSES, values=(0, 255, 0xFF0000)))},
    "renumbered": {"stack": StackInput(IMAGES, replace(IDS, renumbered=Renumbering("by value", 70000, DIGEST)))},
    "groups": {"stack": replace(FIRST, groups=("a", "a", "b", "c"))},
    "sequence": {"stack": replace(FIRST, sequence=(3, 0, 1, 2))},
    "skipped": {"stack": replace(FIRST, skipped=(2,))},
    "boxes": {"stack": replace(FIRST, boxes=((0, 0, 0), (0, 0, 8), (0, 9, 0), (0, 9, 8)))},
    "margin": {"config": replace(CONFIG, margin="ignore")},
    "focus": {"config": replace(CONFIG, focus="class", focus_share=1)},
    "min_foreground": {"config": replace(CONFIG, min_foreground=0.25)},
    "margin with masks": {"config": replace(CONFIG, margin="mask")},
    "plain": {"config": replace(CONFIG, plain=("test",))},
    "context": {"config": replace(CONFIG, context=1)},
    **{
        name: {"config": replace(CONFIG, ranges=AugmentRanges(**{name: off_and_on(kind)}, probability={name: 0.5}))}
        | ({"stack": IN_COLOUR} if name in ("color", "stain") else {})
        for name, kind in OPERATIONS.items()
    },
    "scale_gray": {"reading": SourceReading(scale_gray=GrayScaling((1.0, 99.0), 12.5, 4000.0, 8))},
    "pixel_size_nm": {"reading": SourceReading(pixel_size_nm=4.5)},
}


def record(
    stack: StackInput = FIRST, config: BuildConfig = CONFIG, reading: SourceReading | None = None
) -> DatasetRecord:
    facts = SourceFacts(title="x")
    plan = plan_from_inputs(config, "x", [stack], facts, reading)
    shards = [ShardRecord(shard.file, shard.split, shard.n, 100, DIGEST, DIGEST) for shard in plan.shards()]
    manifest = ManifestRecord("manifest.jsonl", 100, DIGEST)
    return describe_dataset(plan, [stack], facts, manifest, shards, reading)


@pytest.mark.parametrize("parts", NEW.values(), ids=NEW)
def test_what_is_new_makes_a_record_of_the_second_version_that_is_read_as_it_was_written(parts: dict[str, Any]) -> None:
    made = record(**parts)
    assert (made.schema, record().schema) == ("augpipe/dataset/2", "augpipe/dataset/1")
    assert made.fingerprint != record().fingerprint
    written = canonical_json(made.to_json())
    SCHEMA.validate(json.loads(written))
    assert parse_record(written, where="x") == made
    as_first = {**made.to_json(), "schema": "augpipe/dataset/1"}
    assert not SCHEMA.is_valid(json.loads(canonical_json(as_first)))
    with pytest.raises(DatasetError, match="expected schema augpipe/dataset/2 for what it holds"):
        parse_record(canonical_json(as_first), where="x")


def test_the_second_version_is_not_written_without_need() -> None:
    with pytest.raises(DatasetError, match="expected schema augpipe/dataset/1 for what it holds"):
        parse_record(canonical_json({**record().to_json(), "schema": "augpipe/dataset/2"}), where="x")


def test_arrays_say_what_follows_from_the_inputs() -> None:
    assert record(**NEW["channels"]).image_shape == (6, 6, 2)
    assert record(**NEW["channels"]).arrays.channels == ("red", "green")
    assert record(**NEW["ignored"]).arrays.ignore == 255
    assert record(**NEW["renumbered"]).arrays.labels == "uint32"
    assert [each.name for each in record(**NEW["names"]).classes] == ["background", "cell", "border"]
