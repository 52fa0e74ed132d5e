"""The lock files in manifests/: reference datasets that come back byte for byte, and do not leak."""

import json
from pathlib import Path

import jsonschema
import pytest

from pipeline.audit.split_checks import split_check
from pipeline.build.rebuild import rebuild_dataset
from pipeline.shards.dataset import open_dataset
from pipeline.shards.digest import file_digest
from pipeline.shards.manifest import read_manifest
from pipeline.verify.verification import verify_records

ROOT = Path(__file__).parents[3]
MANIFESTS = ROOT / "manifests"
ISBI = Path(__file__).parents[4] / "shared" / "data" / "isbi2012"
LOCKS = sorted(path.parent for path in MANIFESTS.glob("*/dataset.json"))
isbi = [pytest.mark.isbi, pytest.mark.skipif(not ISBI.is_dir(), reason="../shared/data/isbi2012 is not there")]


def test_the_reference_datasets_are_these() -> None:
    assert [lock.name for lock in LOCKS] == [
        "isbi2012-n300-seed0",
        "isbi2012-original-n300-seed0",
        "phantom-n300-seed0",
    ]
    presets = [json.loads((lock / "dataset.json").read_bytes())["config"]["ranges"] for lock in LOCKS]
    assert presets[0]["rotate_deg"] == presets[2]["rotate_deg"] == [0.0, 360.0]
    assert presets[1]["rotate_deg"] == [0.0, 0.0]
    assert presets[1]["extent"] == "padded"
    described = (MANIFESTS / "README.md").read_text(encoding="utf-8")
    for lock in LOCKS:
        assert f"| `{lock.name}` |" in described
        assert file_digest(lock / "dataset.json") in described


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_a_lock_is_two_records_that_agree_and_no_pixels(lock: Path) -> None:
    assert {path.name for path in lock.iterdir()} == {"dataset.json", "manifest.jsonl"}
    assert verify_records(lock).findings == ()
    schema = json.loads((MANIFESTS / "dataset.schema.json").read_bytes())
    values = json.loads((lock / "dataset.json").read_bytes())
    jsonschema.validate(values, schema)
    assert (values["config"]["n"], values["config"]["seed"]) == (300, 0)
    assert sum(1 for _ in read_manifest(lock / "manifest.jsonl")) == 300


def test_none_of_them_leaks() -> None:
    """`augpipe split-check manifests/*/manifest.jsonl`."""
    report = split_check([lock / "manifest.jsonl" for lock in LOCKS])
    assert report.exit_code == 0
    assert (report.findings, report.coverage.total) == ((), 900)


@pytest.mark.slow
@pytest.mark.parametrize(
    "lock",
    [pytest.param(lock, marks=isbi * lock.name.startswith("isbi")) for lock in LOCKS],
    ids=lambda lock: lock.name,
)
def test_a_lock_gives_its_dataset(tmp_path: Path, lock: Path) -> None:
    source = ISBI if lock.name.startswith("isbi") else None
    out = rebuild_dataset(lock, tmp_path / "d", source_folder=source).out
    for name in ("dataset.json", "manifest.jsonl"):
        assert (out / name).read_bytes() == (lock / name).read_bytes()
    shards = open_dataset(lock).record.shards
    assert len(shards) == 5
    for shard in shards:
        assert file_digest(out / shard.file) == shard.sha256
