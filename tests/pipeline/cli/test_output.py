"""What commands print, and where: lines for people, reports for programs."""

import io
import json
import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from small_worlds import OPTIONS, contents, small_stack, write_folder

from pipeline.cli import cli
from pipeline.cli.output import Output
from pipeline.shards.digest import canonical_json

Run = Callable[..., Any]
SMALL = " ".join(OPTIONS)
TRANSCRIPT = (
    f"build small --out d {SMALL} --dry-run",
    f"build small --out d {SMALL}",
    f"build small --out d {SMALL} --json -",
    "build small --n 12 --size 70 --split random --gap 0 --dry-run",
    "build small --n 12 --size 70 --label-kind instances --independent --margin shared --dry-run",
    "build small --n 12 --size 64 --label-kind instances --split random --gap 3 --dry-run",
    "verify d --replay",
    "verify d --json -",
    "verify cut --json -",
    "rebuild lock --source small --out e",
    "rebuild lock --source small --out e --json -",
    "preview d --out d.png --samples 1",
    "preview d --out d.png --samples 1 --json -",
    "phantom p",
    "phantom p",
    "phantom q --json -",
    "build --n 4 --size 40 --name foo --dry-run",
)


def transcript(augpipe: Run, place: Path) -> str:
    """Return what the commands print, standard error marked with !, without what another run or machine may change."""
    write_folder(place / "small", *small_stack())
    text = ""
    for command in TRANSCRIPT:
        if command.startswith("verify cut"):
            shutil.copytree("d", "cut")
            (place / "cut" / "test-00000.h5").unlink()
            (place / "lock").mkdir()
            for name in ("dataset.json", "manifest.jsonl"):
                shutil.copy(place / "d" / name, place / "lock")
        code, out, err = augpipe(*command.split())
        text += f"$ augpipe {command}\n{out}{''.join(f'! {line}' for line in err.splitlines(True))}"
        text += f"(exit status {code})\n" if code else ""
    changing = {
        r"in [\d.]+ s, \d+ samples/s": "in S s, R samples/s",
        r'"seconds":[\d.]+': '"seconds":S',
        r'"bytes":\d+': '"bytes":B',
        r"\b[0-9a-f]{64}\b": "SHA256",
    }
    for pattern, mark in changing.items():
        text = re.sub(pattern, mark, text)
    return text


def test_the_commands_print_what_is_on_file(tmp_path: Path, augpipe: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Word for word: lines for people, reports for programs, and on which of the two streams they are."""
    monkeypatch.chdir(tmp_path)
    assert transcript(augpipe, tmp_path) == Path(__file__).with_name("transcript.txt").read_text(encoding="utf-8")


def test_progress_goes_to_the_standard_error_of_the_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A notebook, a test or a service may have put another stream there since the module was loaded."""
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    Output(quiet=False, json_file=None).progress().note("hello")
    assert stream.getvalue() == "hello\n"
    Output(quiet=True, json_file=None).progress().note("hello")
    assert stream.getvalue() == "hello\n"


def test_quiet_prints_nothing(tmp_path: Path, folder: Path, augpipe: Run) -> None:
    command = ("build", folder, "--out", tmp_path / "d", *OPTIONS, "--quiet")
    assert augpipe(*command, "--dry-run") == (0, "", "")
    assert augpipe(*command) == (0, "", "")
    assert augpipe(*command) == (0, "", "")
    assert augpipe("verify", tmp_path / "d", "--replay", "--quiet") == (0, "", "")


def test_json_goes_to_a_file(tmp_path: Path, built: Path, augpipe: Run) -> None:
    code, out, _ = augpipe("verify", built, "--json", tmp_path / "report.json")
    assert code == 0
    assert "every digest holds" in out
    report = json.loads((tmp_path / "report.json").read_bytes())
    assert report["checked"] == 12
    assert report["dataset_sha256"] in out


def test_a_report_goes_into_a_pipe_and_through_a_link(tmp_path: Path, built: Path, augpipe: Run) -> None:
    """A pipe or a device must not be replaced by a file, nor a link by its target."""
    (tmp_path / "link").symlink_to("target")
    assert augpipe("verify", built, "--json", tmp_path / "link").code == 0
    assert (tmp_path / "link").is_symlink()
    assert json.loads((tmp_path / "target").read_bytes())["findings"] == []
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert augpipe("verify", built, "--json", tmp_path / "pipe").code == 0
        assert json.loads(os.read(reader, 1 << 16))["checked"] == 12
    finally:
        os.close(reader)


def test_a_build_is_foreseen_made_and_reused(
    tmp_path: Path, folder: Path, augpipe: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With --json -, standard output is one canonical object; a dry run writes nothing."""
    monkeypatch.chdir(tmp_path)
    outcomes = {"would build": ["--dry-run"], "built": [], "would reuse": ["--dry-run"], "reused": []}
    for outcome, more in outcomes.items():
        before = contents(tmp_path)
        code, out, _ = augpipe("build", folder, *OPTIONS, "--json", "-", *more)
        report = json.loads(out)
        assert (code, out.encode()) == (0, canonical_json(report))
        assert (report["outcome"], report["rendered"]) == (outcome, 12 if outcome == "built" else 0)
        assert (contents(tmp_path) == before) == (outcome != "built")
    other = ("--seed", 1, "--out", "datasets/small-n12-seed0", "--dry-run")
    assert augpipe("build", folder, *OPTIONS, *other).code == 2
    assert contents(tmp_path) == before


@pytest.mark.parametrize("name", ["audit", "build", "card", "verify"])
def test_a_report_without_a_place_is_refused_before_the_work(
    tmp_path: Path, built: Path, augpipe: Run, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr(cli.get_command(click.Context(cli), name), "callback", never)
    code, _, err = augpipe(name, built, "--json", tmp_path / "none" / "r.json")
    assert code == 3
    assert len(err.splitlines()) == 1
    assert str(tmp_path / "none") in err
