"""A command parses each line of the manifest once, and a check of records holds none of them."""

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_worlds import OPTIONS, small_config, small_source

import pipeline.shards.manifest
from pipeline import audit_dataset, build_dataset, split_check, verify_dataset
from pipeline.look.fact_sheet import show_dataset

N_SAMPLES = 12


@pytest.fixture
def n_parsed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many lines were parsed, as a list of one number."""
    count, parse = [0], pipeline.shards.manifest.parse_line

    def counted(line: bytes, *, where: str) -> Any:
        count[0] += 1
        return parse(line, where=where)

    monkeypatch.setattr("pipeline.shards.manifest.parse_line", counted)
    return count


@pytest.mark.parametrize(
    "command",
    [
        ("verify",),
        ("verify", "--replay"),
        ("show",),
        ("preview", "--out", "p.png"),
        ("audit", "--gap", "1"),
        ("audit", "--gap", "1", "--manifest-only"),
        ("audit", "--gap", "1", "--pictures", "pictures"),
        ("card", "--gap", "1"),
    ],
    ids=" ".join,
)
def test_a_command_reads_the_manifest_once(
    dataset: Path, augpipe: Callable[..., Any], n_parsed: list[int], monkeypatch: pytest.MonkeyPatch, command: Any
) -> None:
    monkeypatch.chdir(dataset.parent)
    augpipe(command[0], dataset, *command[1:])
    assert n_parsed == [N_SAMPLES]


def test_so_do_rebuilding_and_building_what_is_there(
    dataset: Path, folder: Path, augpipe: Callable[..., Any], n_parsed: list[int], tmp_path: Path
) -> None:
    assert augpipe("rebuild", dataset, "--source", folder, "--out", tmp_path / "again", "--quiet").code == 0
    assert n_parsed == [N_SAMPLES]
    assert augpipe("build", folder, "--out", dataset, *OPTIONS, "--quiet").code == 0
    assert n_parsed == [2 * N_SAMPLES]


def test_so_do_an_audit_without_its_source_and_a_split_check(dataset: Path, n_parsed: list[int]) -> None:
    (dataset / "build-info.json").unlink()
    audit_dataset(dataset, gap=1, jobs=2)
    assert n_parsed == [N_SAMPLES]
    split_check([dataset / "manifest.jsonl"], gap=1)
    assert n_parsed == [2 * N_SAMPLES]


@pytest.mark.parametrize("look", [verify_dataset, lambda out: show_dataset(out).lines()], ids=["verify", "show"])
def test_memory_does_not_grow_with_the_number_of_samples(tmp_path: Path, look: Callable[[Path], Any]) -> None:
    peaks = []
    for n in (400, 2000):
        out = tmp_path / str(n)
        build_dataset(small_source(), small_config(n=n, size=(4, 4), shard_size=64), out=out, jobs=2)
        look(out)  # what is imported and cached at first is not counted
        tracemalloc.start()
        look(out)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0] + 100_000
