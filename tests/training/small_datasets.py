"""The small worlds that the training tests share: twelve tiny slices, datasets made of them, and faults to plant."""

import hashlib
import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.build.builder import build_dataset
from pipeline.shards.config import BuildConfig
from pipeline.shards.digest import canonical_json
from pipeline.source.combining import make_source
from pipeline.source.phantom import make_phantom

WINDOW = (108, 108)  # passes whole through valid networks of depth 1 and 2, and through padded ones
OPTIONS = {"n": 24, "size": WINDOW, "gap": 1, "test": 0.25, "shard_size": 8}
# 24 samples of 12 slices: train 0..7 (18 samples in shards of 8, 8 and 2), 8 unused, test 9..11 (6 samples);
# with val=0.2: train 0..4 (13 samples), val 6..7 (5 samples).


@cache
def phantom_stack() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return twelve slices of 128 x 120 and their labels, 0 and 255; read-only, because it is shared."""
    stack = make_phantom((12, 128, 120), seed=7)
    for pixels in stack:
        pixels.flags.writeable = False
    return stack


def build_phantom(
    out: Path, *, images: NDArray[Any] | None = None, labels: NDArray[Any] | None = None, **changes: Any
) -> Path:
    """Build the small dataset, of the phantom or with other images or labels, and return its folder."""
    gray, cells = phantom_stack()
    source = make_source(gray if images is None else images, cells if labels is None else labels, name="phantom")
    return build_dataset(source, BuildConfig(**{**OPTIONS, **changes}), out=out, jobs=1).out


def read_rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "manifest.jsonl").read_bytes().splitlines()]


def write_rows(folder: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Replace the manifest, and record its digest in dataset.json, as someone would who falsifies it with care."""
    data = b"".join(map(canonical_json, rows))
    (folder / "manifest.jsonl").write_bytes(data)
    values = json.loads((folder / "dataset.json").read_bytes())
    values["manifest"] |= {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (folder / "dataset.json").write_bytes(canonical_json(values))
