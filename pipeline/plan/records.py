"""The two records of a finished dataset: dataset.json, which defines it, and build-info.json, which may differ."""

import os
import platform
import time
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from pipeline.plan.samples import Plan
from pipeline.shards.config import RENDERER_VERSION
from pipeline.shards.record import DATASET_SCHEMA, MANIFEST_FILE, WEIGHT_DTYPE, ShardRecord
from pipeline.source.labels import LabelCoding
from pipeline.source.stacks import Source, SourceFile

_LIBRARIES = ("augpipe", "numpy", "numba", "llvmlite", "h5py", "imagecodecs", "tifffile", "joblib", "scipy")


def describe_dataset(
    plan: Plan, source: Source, shards: list[ShardRecord], *, manifest_bytes: int, manifest_sha256: str
) -> dict[str, Any]:
    """Return dataset.json: the same for every build of the same fingerprint."""
    return {
        **describe_plan(plan, source.inputs, source.facts),
        "manifest": {"file": MANIFEST_FILE, "bytes": manifest_bytes, "sha256": manifest_sha256},
        "shards": [asdict(shard) for shard in shards],
    }


def describe_plan(plan: Plan, inputs: list[dict[str, Any]], facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of dataset.json that follows from the options and from what is recorded of the inputs."""
    kind = LabelCoding(inputs[0]["labels"]["kind"], tuple(inputs[0]["labels"]["values"]))
    return {
        "label_kind": kind.kind,
        "classes": [{"index": index, "value": value} for index, value in enumerate(kind.values)],
        "schema": DATASET_SCHEMA,
        "name": plan.name,
        "fingerprint": plan.fingerprint,
        "renderer": RENDERER_VERSION,
        "config": plan.config.to_json(),
        "inputs": inputs,
        "source": dict(facts),
        "split": {
            "strategy": plan.config.split,
            "independent": plan.config.independent,
            "gap": None if plan.config.independent else plan.assignment.gap,
            "slices": plan.assignment.to_json(),
            "samples": plan.counts,
        },
        "arrays": {
            "window": list(plan.config.size),
            "images": inputs[0]["images"]["dtype"],
            "labels": kind.dtype.name,
            **({"weights": WEIGHT_DTYPE.name} if plan.config.weighted else {}),
        },
    }


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
