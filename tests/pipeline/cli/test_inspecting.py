"""Looking at a dataset."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_worlds import contents, edit_record, names

from pipeline.shards.digest import canonical_json

Run = Callable[..., Any]


def test_a_dataset_and_its_samples_are_shown(built: Path, augpipe: Run) -> None:
    sample = json.loads((built / "manifest.jsonl").read_text().splitlines()[0])["id"]
    whole, one = augpipe("show", built), augpipe("show", built, sample)
    assert (whole.code, whole.err, one.code, one.err) == (0, "", 0, "")
    assert "small" in whole.out
    assert sample in one.out
    assert augpipe("show", built, "--quiet") == (0, "", "")
    for arguments in ((), (sample,)):
        report = augpipe("show", built, *arguments, "--json", "-").out
        assert report.encode() == canonical_json(json.loads(report))
    code, _, err = augpipe("show", built, "s000-z9999-r000000")
    assert code == 2
    assert len(err.splitlines()) == 1


def test_samples_are_drawn(tmp_path: Path, built: Path, augpipe: Run) -> None:
    before = contents(built)
    code, out, err = augpipe("preview", built, "--out", tmp_path / "a.png", "--samples", 1)
    assert (code, out, err) == (0, f"{tmp_path / 'a.png'}\n", "")
    code, out, _ = augpipe("preview", built, "--out", tmp_path / "b.png", "--json", "-")
    report = json.loads(out)
    assert code == 0
    assert out.encode() == canonical_json(report)
    assert (report["schema"], report["file"]) == ("augpipe/preview-report/1", str(tmp_path / "b.png"))
    assert len(report["samples"]) == 6
    assert (tmp_path / "a.png").stat().st_size < (tmp_path / "b.png").stat().st_size
    assert augpipe("preview", built, "--out", tmp_path / "b.png", "--quiet") == (0, "", "")
    assert contents(built) == before


def test_a_preview_without_its_source_says_so(tmp_path: Path, dataset: Path, folder: Path, augpipe: Run) -> None:
    (dataset / "build-info.json").unlink()
    note, drawn = augpipe("preview", dataset, "--out", tmp_path / "a.png").out.splitlines()
    assert note.startswith("source: not at hand")
    assert drawn == str(tmp_path / "a.png")
    assert augpipe("preview", dataset, "--out", tmp_path / "a.png", "--source", folder) == (0, f"{drawn}\n", "")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--samples", "0"), 2, "of each split, got 0"),
        (("--samples", "-1"), 2, "of each split, got -1"),
        (("--source", "none"), 2, "none: expected a folder"),
        (("--out", "none/p.png"), 3, "none/p.png: cannot be written"),
    ],
)
def test_a_preview_that_cannot_be_made_leaves_nothing(
    tmp_path: Path, built: Path, augpipe: Run, monkeypatch: pytest.MonkeyPatch, arguments: Any, code: int, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    before = contents(built)
    result = augpipe("preview", built, *(() if "--out" in arguments else ("--out", "p.png")), *arguments)
    assert result.code == code
    assert len(result.err.splitlines()) == 1
    assert words in result.err
    assert names(tmp_path) == []
    assert contents(built) == before


@pytest.mark.parametrize("command", ["show", "preview", "verify"])
def test_what_is_no_dataset_is_refused(tmp_path: Path, dataset: Path, augpipe: Run, command: str) -> None:
    edit_record(dataset, lambda values: values.pop("shards"))
    for place in (tmp_path / "none", tmp_path, dataset):
        code, _, err = augpipe(command, place)
        assert code in {2, 3}
        assert len(err.splitlines()) == 1
        assert str(place) in err


def test_a_preview_without_a_place_is_refused_before_the_work(
    tmp_path: Path, built: Path, augpipe: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr("pipeline.look.preview.draw_preview", never)
    assert augpipe("preview", built, "--out", tmp_path / "none" / "p.png").code == 3
