"""The two records of a finished dataset: dataset.json, which defines it, and build-info.json, which may differ."""

import os
import platform
import time
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

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
from pipeline.source.stacks import Source, SourceFile

_LIBRARIES = ("augpipe", "numpy", "numba", "llvmlite", "h5py", "imagecodecs", "tifffile", "joblib", "scipy")


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


def describe_build(source: Source, *, jobs: int, seconds: float) -> dict[str, Any]:
    """Return build-info.json: all that may differ between two equal builds."""
    return {
        "schema": "augpipe/build-info/1",
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "seconds": round(seconds, 3),
        "jobs": jobs,
        "cores": os.cpu_count(),
        "host": {"machine": platform.machine(), "system": platform.platform(), "python": platform.python_version()},
        "versions": {name: _version(name) for name in _LIBRARIES},
        "inputs": [{"images": _file(images), "labels": _file(labels)} for images, labels in source.files],
    }


def _file(file: SourceFile) -> dict[str, str]:
    return {"path": str(file.path), "sha256": file.sha256}


def _version(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None
