"""What a dataset is, and what one of its samples is: as lines for people and as JSON for programs."""

import re
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigError, DatasetError
from pipeline.look.fact_sheet import SPLIT_SIGNS, dataset_sheet, sample_sheet
from pipeline.look.recipe_statistics import Drawn, measure_recipes
from pipeline.shards.dataset import Dataset, open_dataset
from pipeline.shards.manifest import ManifestRow

_NEAR_SLICES = 3  # a sample of another slice is only worth naming if that is so near
_ADDRESS = re.compile(r"\D*(\d{1,9})\D+(\d{1,9})\D+(\d{1,9})\D*")


def dataset_lines(dataset: Dataset | Path | str) -> list[str]:
    """Return what a dataset is, as lines of text.

    Raises:
        DatasetError: the dataset cannot be read.
    """
    return dataset_sheet(dataset_json(dataset))


def dataset_json(dataset: Dataset | Path | str, drawn: Drawn | None = None) -> dict[str, Any]:
    """Return what a dataset is, as plain JSON values: all that `dataset_lines` tells, and the whole of it.

    Args:
        dataset: its folder, or the dataset, opened.
        drawn: what its recipes drew, where the manifest has been read already.

    Raises:
        DatasetError: the dataset cannot be read.
    """
    dataset = open_dataset(dataset)
    record = dataset.record
    values = record.to_json()
    slices = {name: record.split.slices.get(name, ()) for name in SPLIT_SIGNS}
    return {
        "schema": "augpipe/show-dataset/1",
        "dataset": str(dataset.folder),
        "dataset_sha256": dataset.digest,
        "fingerprint": record.fingerprint,
        "name": record.name,
        **{key: values[key] for key in ("renderer", "config", "inputs", "source", "label_kind", "classes", "arrays")},
        "split": {
            "strategy": record.split.strategy,
            "independent": record.split.independent,
            "gap": record.split.gap,
            "pictures": _pictures(dataset),
            "slices": {name: sum(len(stack.z) for stack in stacks) for name, stacks in slices.items()},
            "samples": {split: sum(shard.n for shard in record.split_shards(split)) for split in record.splits},
        },
        "drawn": (drawn or measure_recipes(row.recipe for row in dataset.rows())).to_json(),
        "shards": len(record.shards),
        "bytes": {"shards": sum(shard.bytes for shard in record.shards), "manifest": record.manifest.bytes},
    }


def sample_lines(dataset: Dataset | Path | str, sample_id: str) -> list[str]:
    """Return what a sample is, as lines of text.

    Raises:
        ConfigError: there is no sample of that id.
        DatasetError: the dataset cannot be read.
    """
    return sample_sheet(sample_json(dataset, sample_id))


def sample_json(dataset: Dataset | Path | str, sample_id: str) -> dict[str, Any]:
    """Return what a sample is, as plain JSON values: its manifest row, and which dataset it belongs to.

    Raises:
        ConfigError: there is no sample of that id.
        DatasetError: the dataset cannot be read.
    """
    dataset = open_dataset(dataset)
    row = _find_row(dataset, sample_id)
    return {
        **row.to_json(),
        "schema": "augpipe/show-sample/1",
        "dataset": str(dataset.folder),
        "dataset_sha256": dataset.digest,
        "name": dataset.name,
    }


def _pictures(dataset: Dataset) -> list[str]:
    """Return one text for each stack, one character a slice; a question mark where dataset.json says nothing.

    Raises:
        DatasetError: it names a slice that is not there.
    """
    pictures = [["?"] * stack.depth for stack in dataset.record.inputs]
    for name, sign in SPLIT_SIGNS.items():
        for stack in dataset.record.split.slices.get(name, ()):
            for z in stack.z:
                try:
                    pictures[stack.stack][z] = sign
                except IndexError as error:
                    text = f"{dataset.record_path}: {name} has slice {z} of stack {stack.stack}, which is not there"
                    raise DatasetError(text) from error
    return ["".join(picture) for picture in pictures]


def _find_row(dataset: Dataset, sample_id: str) -> ManifestRow:
    """Return the sample's row, or say which one may have been meant.

    Raises:
        ConfigError: there is none.
    """
    address = _ADDRESS.fullmatch(sample_id)
    stack, z, replicate = map(int, address.groups()) if address else (-1, 0, 0)
    nearest: tuple[int, int, str] | None = None
    for row in dataset.rows():
        if row.id == sample_id:
            return row
        distance = abs(row.z - z)
        if row.stack == stack and distance <= _NEAR_SLICES:
            found = distance, abs(row.replicate - replicate), row.id
            nearest = min(nearest or found, found)
    meant = f"did you mean {nearest[2]}? Ids" if nearest else "ids"
    raise ConfigError(
        f"{dataset.manifest_path}: holds no sample {sample_id!r:.60}; {meant} look like s000-z00000-r0000000"
    )
