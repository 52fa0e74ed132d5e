"""croissant.json passes MLCommons' own validator without a word, and its records load without a network."""

import json
import logging
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_worlds import digests, read_rows, small_config, small_source, small_stack

from pipeline.audit.auditing import audit_dataset
from pipeline.build.builder import build_dataset
from pipeline.card.contents import describe_card, gather_rows
from pipeline.card.folder import card_files, write_card
from pipeline.files import write_content
from pipeline.shards.dataset import open_dataset
from pipeline.shards.digest import canonical_json, file_digest
from pipeline.source.combining import combine, make_source
from pipeline.source.phantom import make_phantom
from pipeline.source.stacks import RawStack, Source

mlcroissant = pytest.importorskip("mlcroissant")


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def complaints(path: Path, caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what mlcroissant says against a file: errors, warnings, and what it only logs."""
    caplog.clear()
    its_own = logging.getLogger("absl")  # does not pass on what it is told
    its_own.addHandler(caplog.handler)
    try:
        issues = mlcroissant.Dataset(path).metadata.ctx.issues
    except mlcroissant.ValidationError as error:
        return [str(error)]
    finally:
        its_own.removeHandler(caplog.handler)
    logged = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    return [*map(str, issues.errors), *map(str, issues.warnings), *logged]


def test_the_validator_has_nothing_to_say(carded: Path) -> None:
    """As its users run it: the command exits with 0 for warnings too, so its lines count."""
    code = "import runpy; runpy.run_module('mlcroissant.scripts.validate', run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-c", code, f"--jsonld={carded / 'card' / 'croissant.json'}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = (done.stdout + done.stderr).splitlines()
    assert [line for line in lines if "Done." not in line] == []


@pytest.mark.usefixtures("no_network")
def test_neither_in_the_folder_nor_as_published(
    carded: Path, built: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert complaints(carded / "card" / "croissant.json", caplog) == []
    published = tmp_path / "published"
    published.mkdir()
    dataset = open_dataset(built)
    with gather_rows(dataset) as rows:
        report = audit_dataset(dataset, gap=1, allow_unknown=True, jobs=1, on_row=rows.add)
        card = describe_card(dataset, report, rows, licence="CC0-1.0")
        for name, content in card_files(card, url="https://example.org/set").items():
            write_content(published / name, content)
    assert complaints(published / "croissant.json", caplog) == []
    assert len(json.loads((published / "croissant.json").read_bytes())["license"]) == 2
    assert len(list(mlcroissant.Dataset(published / "croissant.json").records("samples"))) == 12


def several_stacks() -> Source:
    stacks = [RawStack(*make_phantom((6, 64, 72), seed=seed)) for seed in (1, 2, 3)]
    return combine(stacks, name="three")


def ids_and_floats() -> Source:
    images, _ = small_stack()
    labels = np.zeros(images.shape, np.uint16)
    for k in range(40):
        labels[:, k : k + 1, :20] = 1000 + k
    facts = {
        "title": 'a "quoted" title, ünï {brace & \\_',
        "licence": "CC-BY-4.0",
        "url": "https://example.org/s?a=b&c",
    }
    return make_source(images.astype(np.float32) / 7, labels, name="ids", facts=facts)


WORLDS: dict[str, tuple[Callable[[], Source], dict[str, Any]]] = {
    "weights": (small_source, {"weights": "unet2015"}),
    "validation": (lambda: small_source(name="v"), {"val": 0.2, "n": 20}),
    "stacks": (several_stacks, {"split": "stack", "test": 0.4}),
    "training alone": (small_source, {"test": 0.0}),
    "a fold": (small_source, {"split": "kfold", "folds": 3, "fold": 1}),
    "fields of view": (small_source, {"independent": True, "split": "random"}),
    "ids and floats": (ids_and_floats, {}),
}


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("world", WORLDS)
def test_every_kind_of_dataset_is_described(tmp_path: Path, caplog: pytest.LogCaptureFixture, world: str) -> None:
    make, changes = WORLDS[world]
    out = build_dataset(make(), small_config(**changes), out=tmp_path / "d", jobs=1).out
    card = write_card(out, gap=1, allow_unknown=True, jobs=1)
    path = out / "card" / "croissant.json"
    assert complaints(path, caplog) == []
    values = json.loads(path.read_bytes())
    assert values["citeAs"].count("{") == values["citeAs"].count("}") == 3  # BibTeX counts them
    assert values["rai:dataLimitations"][0] == f"Audit: {card.report.verdict}."
    assert values["creator"]["name"].startswith("not named")
    dataset = mlcroissant.Dataset(path)
    records = list(dataset.records("samples"))
    assert len(records) == card.record.n
    splits = {str(record["splits/name"]) for record in dataset.records("splits")}
    assert splits == {record["samples/split"].decode() for record in records} == set(card.record.splits)
    assert ("samples/weights_sha256" in records[0]) == card.record.has_weights


@pytest.mark.parametrize(
    "fault",
    [
        lambda values: values.pop("license"),
        lambda values: values["distribution"][0].pop("sha256"),
        lambda values: values["recordSet"][1]["field"][0]["source"]["fileObject"].update({"@id": "none.csv"}),
        lambda values: values["@context"].pop("citeAs"),
        lambda values: values.update({"conformsTo": "http://mlcommons.org/croissant/9"}),
    ],
    ids=["licence", "digest", "source", "context", "version"],
)
def test_the_validator_would_say_it(
    carded: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, fault: Callable[[dict[str, Any]], Any]
) -> None:
    """A check that finds no planted fault proves nothing."""
    values = json.loads((carded / "card" / "croissant.json").read_bytes())
    fault(values)
    path = tmp_path / "croissant.json"
    path.write_bytes(canonical_json(values))
    shutil.copy(carded / "card" / "index.csv", tmp_path)
    assert complaints(path, caplog)


@pytest.mark.usefixtures("no_network")
def test_records_load_without_a_network(carded: Path) -> None:
    before = digests(carded)
    dataset = mlcroissant.Dataset(carded / "card" / "croissant.json")
    records = list(dataset.records("samples"))
    assert len(records) == 12
    for record, row in zip(records, read_rows(carded), strict=True):
        plain = {
            name.removeprefix("samples/"): value.decode() if isinstance(value, bytes) else value
            for name, value in record.items()
        }
        for name in ("id", "split", "shard", "row", "stack", "z", "replicate", "image_sha256", "label_sha256"):
            assert plain[name] == row[name]
        assert plain["source_sha256"] == row["source_sha256"]
        assert plain["angle_deg"] == row["recipe"]["angle_deg"]
        assert plain["flip"] is row["recipe"]["flip"]
    splits = list(dataset.records("splits"))
    assert [str(split["splits/name"]) for split in splits] == ["train", "test"]
    assert digests(carded) == before


def test_files_are_described_by_digest_and_size(carded: Path) -> None:
    values = json.loads((carded / "card" / "croissant.json").read_bytes())
    files = {file["@id"]: file for file in values["distribution"]}
    data = {path.name for path in carded.iterdir() if path.suffix in {".h5", ".json", ".jsonl"}} - {"build-info.json"}
    assert set(files) == data | {"index.csv"}
    for file in files.values():
        path = carded / "card" / file["contentUrl"]
        assert file["sha256"] == file_digest(path)
        assert file["contentSize"] == f"{path.stat().st_size} B"


def test_it_tells_what_it_was_made_from_and_by(carded: Path) -> None:
    values = json.loads((carded / "card" / "croissant.json").read_bytes())
    dataset = json.loads((carded / "dataset.json").read_bytes())
    assert values["conformsTo"] == ["http://mlcommons.org/croissant/1.1", "http://mlcommons.org/croissant/RAI/1.0"]
    [stack] = values["prov:wasDerivedFrom"]
    assert dataset["inputs"][0]["images"]["sha256"] in stack["prov:value"]
    assert dataset["inputs"][0]["labels"]["sha256"] in stack["prov:value"]
    assert dataset["fingerprint"] in values["prov:wasGeneratedBy"]["prov:value"]
    assert any("the same stack" in line for line in values["rai:dataLimitations"])
    assert values["url"].startswith("ni:///sha-256;")
    assert [each["@id"] for each in values["recordSet"]] == ["splits", "samples"]
