"""What a dataset is, and what one of its samples is: as lines for people and as JSON for programs."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigError, DatasetError
from pipeline.look.fact_sheet import SPLIT_SIGNS, dataset_sheet, sample_sheet
from pipeline.look.recipe_statistics import measure_recipes
from pipeline.shards.inputs import require_inputs
from pipeline.shards.manifest import ManifestRow, read_manifest
from pipeline.shards.record import DATASET_FILE, MANIFEST_FILE, DatasetRecord, read_record, require_plain_file

_NEAR_SLICES = 3  # a sample of another slice is only worth naming if that is so near
_ADDRESS = re.compile(r"\D*(\d{1,9})\D+(\d{1,9})\D+(\d{1,9})\D*")


def dataset_lines(folder: Path) -> list[str]:
    """Return what a dataset is, as lines of text.

    Raises:
        DatasetError: the dataset cannot be read.
    """
    record = read_record(folder)
    with _expected_fields(record):
        return dataset_sheet(_dataset_facts(record))


def dataset_json(folder: Path) -> dict[str, Any]:
    """Return what a dataset is, as plain JSON values: all that `dataset_lines` tells, and the whole of it.

    Raises:
        DatasetError: the dataset cannot be read.
    """
    record = read_record(folder)
    with _expected_fields(record):
        return _dataset_facts(record)


def sample_lines(folder: Path, sample_id: str) -> list[str]:
    """Return what a sample is, as lines of text.

    Raises:
        ConfigError: there is no sample of that id.
        DatasetError: the dataset cannot be read.
    """
    return sample_sheet(sample_json(folder, sample_id))


def sample_json(folder: Path, sample_id: str) -> dict[str, Any]:
    """Return what a sample is, as plain JSON values: its manifest row, and which dataset it belongs to.

    Raises:
        ConfigError: there is no sample of that id.
        DatasetError: the dataset cannot be read.
    """
    record = read_record(folder)
    row = _find_row(record, sample_id)
    return {
        **row.to_json(),
        "schema": "augpipe/show-sample/1",
        "dataset": str(record.folder),
        "dataset_sha256": record.sha256,
        "name": record.name,
    }


def _dataset_facts(record: DatasetRecord) -> dict[str, Any]:
    values = record.values
    require_inputs(values["inputs"])
    slices = {name: values["split"]["slices"].get(name, []) for name in SPLIT_SIGNS}
    depths = [stack["images"]["shape"][0] for stack in values["inputs"]]
    splits = dict.fromkeys(shard.split for shard in record.shards)
    return {
        "schema": "augpipe/show-dataset/1",
        "dataset": str(record.folder),
        "dataset_sha256": record.sha256,
        "fingerprint": record.fingerprint,
        "name": record.name,
        **{key: values[key] for key in ("renderer", "config", "inputs", "source", "label_kind", "classes", "arrays")},
        "split": {
            "strategy": values["split"]["strategy"],
            "independent": values["split"].get("independent", False),
            "gap": values["split"]["gap"],
            "pictures": _pictures(slices, depths),
            "slices": {name: sum(len(stack["z"]) for stack in stacks) for name, stacks in slices.items()},
            "samples": {split: sum(shard.n for shard in record.split_shards(split)) for split in splits},
        },
        "drawn": measure_recipes(row.recipe for row in _rows(record)).to_json(),
        "shards": len(record.shards),
        "bytes": {"shards": sum(shard.bytes for shard in record.shards), "manifest": record.manifest_bytes},
    }


def _pictures(slices: Mapping[str, list[dict[str, Any]]], depths: list[int]) -> list[str]:
    """Return one text for each stack, one character a slice."""
    pictures = [["?"] * depth for depth in depths]
    for name, stacks in slices.items():
        for stack in stacks:
            for z in stack["z"]:
                pictures[stack["stack"]][z] = SPLIT_SIGNS[name]
    return ["".join(picture) for picture in pictures]


def _rows(record: DatasetRecord) -> Iterator[ManifestRow]:
    """Yield the manifest's rows, which must be as many as the shards hold."""
    path = record.folder / MANIFEST_FILE
    require_plain_file(path)
    n = 0
    for row in read_manifest(path):
        n += 1
        yield row
    if n != record.n:
        raise DatasetError(f"{path}: expected {record.n} samples, as the shards hold, found {n}; run augpipe verify")


def _find_row(record: DatasetRecord, sample_id: str) -> ManifestRow:
    """Return the sample's row, or say which one may have been meant.

    Raises:
        ConfigError: there is none.
    """
    address = _ADDRESS.fullmatch(sample_id)
    stack, z, replicate = map(int, address.groups()) if address else (-1, 0, 0)
    nearest: tuple[int, int, str] | None = None
    for row in _rows(record):
        if row.id == sample_id:
            return row
        distance = abs(row.z - z)
        if row.stack == stack and distance <= _NEAR_SLICES:
            found = distance, abs(row.replicate - replicate), row.id
            nearest = min(nearest or found, found)
    meant = f"did you mean {nearest[2]}? Ids" if nearest else "ids"
    raise ConfigError(
        f"{record.folder / MANIFEST_FILE}: holds no sample {sample_id!r:.60}; {meant} look like s000-z00000-r0000000"
    )


@contextmanager
def _expected_fields(record: DatasetRecord) -> Iterator[None]:
    """Turn what reading a record of another making raises into one typed error."""
    try:
        yield
    except (ConfigError, LookupError, TypeError, ValueError, AttributeError) as error:
        path = record.folder / DATASET_FILE
        raise DatasetError(f"{path}: not a record of this version ({type(error).__name__}: {error})") from error
