"""dataset.json, the record that defines a finished dataset."""

from collections.abc import Sequence

from pipeline.plan.samples import Plan
from pipeline.shards.config import RENDERER_VERSION
from pipeline.shards.facts import SourceFacts
from pipeline.shards.inputs import StackInput
from pipeline.shards.record import (
    ArraysRecord,
    ClassRecord,
    DatasetRecord,
    ManifestRecord,
    ShardRecord,
    SplitRecord,
)


def describe_dataset(
    plan: Plan,
    inputs: Sequence[StackInput],
    facts: SourceFacts,
    manifest: ManifestRecord,
    shards: Sequence[ShardRecord],
) -> DatasetRecord:
    """Return dataset.json: the same for every build of the same fingerprint.

    Args:
        plan: what was made.
        inputs: what it was made from.
        facts: what is known about that.
        manifest: the manifest's file.
        shards: the shard files.
    """
    config, labels = plan.config, inputs[0].labels
    return DatasetRecord(
        schema="augpipe/dataset/1",
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
        classes=tuple(ClassRecord(index, value) for index, value in enumerate(labels.values)),
        arrays=ArraysRecord(
            window=config.size,
            images=inputs[0].images.dtype,  # type: ignore[arg-type]  # one of those that can be rendered
            labels="uint16" if labels.kind == "instances" else "uint8",
            weights="float16" if config.weighted else None,
        ),
        manifest=manifest,
        shards=tuple(shards),
    )
