"""The command line parses, calls one function, prints; a failure is one line, the right exit code, and no remains."""

import io
import json
import os
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
import tifffile
from small_worlds import OPTIONS, build_small, names, run_python, small_stack, write_folder

from pipeline.cli import cli
from pipeline.digest import canonical_json
from pipeline.tiff import write_stack

Run = Callable[..., Any]
ROOT = Path(__file__).parents[2]


def commands(group: click.Group = cli, prefix: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for name, command in sorted(group.commands.items()):
        if isinstance(command, click.Group):
            yield from commands(command, (*prefix, name))
        yield (*prefix, name), command


COMMANDS = dict(commands())


def test_the_installed_command_is_this_one() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["scripts"]["augpipe"] == "pipeline.cli:run"


@pytest.mark.parametrize("path", [(), *COMMANDS], ids=" ".join)
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_is_there_and_exits_0(augpipe: Run, path: tuple[str, ...], flag: str) -> None:
    code, out, err = augpipe(*path, flag)
    assert (code, err) == (0, "")
    assert out.startswith("Usage: augpipe")


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_and_option_has_help(path: tuple[str, ...]) -> None:
    command = COMMANDS[path]
    assert command.help
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, parameter.name


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_can_be_quiet_and_write_a_report(path: tuple[str, ...]) -> None:
    """DESIGN: --json FILE everywhere."""
    command = COMMANDS[path]
    if not isinstance(command, click.Group):
        assert {"quiet", "json_file"} <= {parameter.name for parameter in command.params}


def test_help_lists_options_under_headings(augpipe: Run) -> None:
    out = augpipe("build", "--help").out
    for heading in ("Source:", "Dataset:", "Split:", "Augmentation:", "Running:", "Output:"):
        assert f"\n{heading}\n" in out


def test_the_version_is_told(augpipe: Run) -> None:
    assert augpipe("--version").code == 0


# Bad input: what is wrong -> (arguments, exit code, words)


def write_inputs(place: Path) -> None:
    images, labels = small_stack()
    write_folder(place / "good", images, labels)
    write_folder(place / "mismatch", images, labels[:5])
    write_folder(place / "blank", images, np.zeros_like(labels))
    write_folder(place / "cut", images, labels)
    cut = place / "cut" / "train-volume.tif"
    os.truncate(cut, cut.stat().st_size // 2)
    write_folder(place / "halfempty", images, labels)
    (place / "halfempty" / "train-labels.tif").unlink()
    tifffile.imwrite(place / "colour.tif", np.zeros((64, 72, 3), np.uint8), photometric="rgb")
    write_stack(place / "labels.tif", labels)
    (place / "file").write_text("a file")
    (place / "others").mkdir()
    (place / "others" / "thesis.txt").write_text("precious")
    build_small(place / "another", seed=9)


BAD: dict[str, tuple[tuple[str, ...], int, str]] = {
    "no folder": (("none",), 2, "none: expected a folder with train-volume.tif and train-labels.tif, found nothing"),
    "a file for a folder": (("file",), 2, "name single files with --images and --labels"),
    "no labels": (("halfempty",), 2, "train-labels.tif is missing"),
    "no such images": (("--images", "none.tif", "--labels", "labels.tif"), 2, "none.tif: expected a TIFF file"),
    "images without labels": (("--images", "labels.tif"), 2, "both --images and --labels"),
    "folder and files": (("good", "--images", "a", "--labels", "b"), 2, "either a SOURCE folder, or both"),
    "fewer labels": (("mismatch",), 2, "expected a label for every image slice"),
    "nothing annotated": (("blank",), 3, "nothing is annotated"),
    "cut short": (("cut",), 3, "cut/train-volume.tif"),
    "colour": (("--images", "colour.tif", "--labels", "labels.tif"), 3, "expected gray pixels, found RGB"),
    "no TIFF": (("--images", "file", "--labels", "labels.tif"), 3, "not a readable TIFF"),
    "empty split": (("good", "--gap", "9"), 2, "no slice of 12 is left for train"),
    "empty val": (("good", "--val", "0.5", "--test", "0.4", "--gap", "3"), 2, "use a smaller gap or other fractions"),
    "too few samples": (("good", "--n", "1"), 2, "at least one sample for each of train, test, got 1"),
    "no samples": (("good", "--n", "0"), 2, "n: expected a whole number from 1"),
    "not a number": (("good", "--n", "many"), 2, "'many' is not a valid integer"),
    "fractions": (("good", "--test", "0.6", "--val", "0.4"), 2, "leaves nothing to train on"),
    "NaN": (("good", "--test", "nan"), 2, "test: expected a fraction"),
    "negative seed": (("good", "--seed", "-1"), 2, "seed: expected"),
    "size": (("good", "--size", "40x"), 2, "expected one side like 700, or HEIGHTxWIDTH"),
    "size 1": (("good", "--size", "1"), 2, "size: expected a whole number from 2"),
    "zoom": (("good", "--zoom", "2", "1"), 2, "zoom: expected LOW <= HIGH"),
    "grid": (("good", "--grid", "1"), 2, "grid: expected 2 to"),
    "sigma": (("good", "--sigma", "nan"), 2, "sigma: expected"),
    "sigma that reaches too far": (("good", "--sigma", "1e7"), 2, "smaller window, shift or sigma"),
    "sigma beyond float32": (("good", "--sigma", "1e300"), 2, ""),
    "shift that reaches too far": (("good", "--shift", "1e7"), 2, "smaller window, shift or sigma"),
    "shift beyond float32": (("good", "--shift", "1e300"), 2, ""),
    "no jobs": (("good", "--jobs", "0"), 2, "jobs"),
    "unknown option": (("good", "--more"), 2, "--more"),
    "two folders": (("good", "good"), 2, "unexpected extra argument"),
    "out below a file": (("good", "--out", "file/d"), 3, "cannot be written"),
    "out is a file": (("good", "--out", "file"), 2, "will not be touched"),
    "out is a folder": (("good", "--out", "others"), 2, "will not be touched"),
    "out is another dataset": (("good", "--out", "another"), 2, "choose another --out, or --overwrite it"),
    "a name that is no text": (("good", "--name", "\udcff"), 2, "name"),
    "a name that is a path": (("good", "--name", "../../x"), 2, "name"),
}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("inputs")
    write_inputs(place)
    return place


def contents(folder: Path) -> dict[str, bytes | None]:
    return {str(path): path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob("*"))}


@pytest.mark.parametrize("case", BAD)
@pytest.mark.filterwarnings("ignore:overflow encountered")
def test_bad_input_is_one_line_and_leaves_nothing(
    inputs: Path, augpipe: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, case: str
) -> None:
    arguments, expected, words = BAD[case]
    work = tmp_path / "deep" / "work"
    work.mkdir(parents=True)
    for path in inputs.iterdir():
        (work / path.name).symlink_to(path)
    monkeypatch.chdir(work)
    given = ("--n", "12", "--size", "40x36", "--gap", "1", "--test", "0.25")
    before, listing = contents(inputs), names(tmp_path)
    # Options given later win over the same ones given earlier.
    code, _, err = augpipe("build", *given, *(() if "--out" in arguments else ("--out", "d")), *arguments)
    assert code == expected
    assert len(err.splitlines()) == 1
    assert err.startswith("augpipe: ")
    assert words in err
    assert contents(inputs) == before
    assert names(tmp_path) == listing


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "Usage"),
        (("bake",), "No such command 'bake'"),
        (("verify",), "Missing argument 'DATASET'"),
        (("phantom",), "Missing argument 'OUT'"),
    ],
)
def test_wrong_use_is_told(augpipe: Run, arguments: tuple[str, ...], words: str) -> None:
    code, out, err = augpipe(*arguments)
    assert code == 2
    assert words in out + err


def test_no_traceback_reaches_the_terminal(tmp_path: Path) -> None:
    """As a user runs it: in a process of its own."""
    code = "from pipeline.cli import run\nrun()"
    result = run_python(code, "build", str(tmp_path / "none"), cwd=tmp_path)
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1
    assert names(tmp_path) == []


# What is printed


def test_a_build_tells_what_it_made_and_what_to_do_next(tmp_path: Path, folder: Path, augpipe: Run) -> None:
    code, out, err = augpipe("build", folder, "--out", tmp_path / "d", *OPTIONS)
    assert (code, err) == (0, "")
    assert "small: 12 slices of 64 x 72 uint8, labels 0 -> 0, 255 -> 1" in out
    assert "TTTTTTTT.EEE  (T train 8, E test 3, . unused 1)" in out
    assert "9 train, 3 test, 40 x 36 px" in out
    assert f"augpipe verify {tmp_path / 'd'} --replay" in out
    assert out.splitlines()[-1] == "built"


def test_progress_goes_to_the_standard_error_of_the_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A notebook, a test or a service may have put another stream there since the module was loaded."""
    from pipeline.progress import choose_progress

    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    choose_progress(quiet=False).note("hello")
    assert stream.getvalue() == "hello\n"


def test_quiet_prints_nothing(tmp_path: Path, folder: Path, augpipe: Run) -> None:
    command = ("build", folder, "--out", tmp_path / "d", *OPTIONS, "--quiet")
    assert augpipe(*command, "--dry-run") == (0, "", "")
    assert augpipe(*command) == (0, "", "")
    assert augpipe(*command) == (0, "", "")
    assert augpipe("verify", tmp_path / "d", "--replay", "--quiet") == (0, "", "")


def test_json_on_standard_output_is_one_canonical_object(tmp_path: Path, folder: Path, augpipe: Run) -> None:
    command = ("build", folder, "--out", tmp_path / "d", *OPTIONS, "--json", "-")
    for more, outcome in (
        (("--dry-run",), "would build"),
        ((), "built"),
        (("--dry-run",), "would reuse"),
        ((), "reused"),
    ):
        code, out, _ = augpipe(*command, *more)
        report = json.loads(out)
        assert code == 0
        assert out.encode() == canonical_json(report)
        assert report["schema"] == "augpipe/build-report/1"
        assert report["outcome"] == outcome
        assert report["samples"] == {"train": 9, "test": 3}
        assert report["rendered"] == (12 if outcome == "built" else 0)


def test_json_goes_to_a_file(tmp_path: Path, built: Path, augpipe: Run) -> None:
    code, out, _ = augpipe("verify", built, "--json", tmp_path / "report.json")
    assert code == 0
    assert "every digest holds" in out
    report = json.loads((tmp_path / "report.json").read_bytes())
    assert report["checked"] == 12
    assert report["dataset_sha256"] in out


def test_a_report_that_cannot_be_written_is_an_error(tmp_path: Path, built: Path, augpipe: Run) -> None:
    code, _, err = augpipe("verify", built, "--json", tmp_path / "none" / "report.json")
    assert code == 3
    assert len(err.splitlines()) == 1


def test_a_dry_run_writes_nothing_and_tells(
    tmp_path: Path, folder: Path, augpipe: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    command = ("build", folder, *OPTIONS)
    out = augpipe(*command, "--dry-run").out
    assert out.splitlines()[-1] == "would build: there is no such dataset yet"
    assert names(tmp_path) == []
    assert augpipe(*command).code == 0
    before = contents(tmp_path)
    assert augpipe(*command, "--dry-run").out.splitlines()[-1].startswith("would reuse: the same dataset is there")
    assert augpipe(*command, "--seed", 1, "--out", "datasets/small-n12-seed0", "--dry-run").code == 2
    assert contents(tmp_path) == before


def test_a_reused_dataset_is_said_to_be(tmp_path: Path, folder: Path, augpipe: Run) -> None:
    command = ("build", folder, "--out", tmp_path / "d", *OPTIONS)
    augpipe(*command)
    code, out, _ = augpipe(*command)
    assert code == 0
    assert out.splitlines()[-1] == "reused: the same dataset is there, and every digest holds"


def test_sizes_are_a_side_or_height_by_width(tmp_path: Path, folder: Path, augpipe: Run) -> None:
    command = ("build", folder, "--out", tmp_path / "d", *OPTIONS, "--dry-run", "--size")
    assert "40 x 40 px" in augpipe(*command, "40").out
    assert "40 x 36 px" in augpipe(*command, "40x36").out
    assert "40 x 36 px" in augpipe(*command, "40X36").out


def test_the_phantom_cannot_be_called_something_else(
    tmp_path: Path, augpipe: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, _ = augpipe("build", "--n", 4, "--size", 40, "--name", "foo", "--dry-run")
    assert code == 0
    assert "the built-in phantom, a synthetic stack, because there is no data/isbi2012" in out
    assert "name: phantom, because these are its pixels; --name foo is not used" in out
    assert "phantom (synthetic, no real tissue)" in out
    assert "datasets/phantom-n4-seed0" in out


def test_the_phantom_is_written_once(tmp_path: Path, augpipe: Run) -> None:
    code, out, _ = augpipe("phantom", tmp_path / "p")
    assert code == 0
    assert out.splitlines() == [str(tmp_path / "p" / name) for name in ("train-volume.tif", "train-labels.tif")]
    code, _, err = augpipe("phantom", tmp_path / "p")
    assert code == 2
    assert "is there already and will not be replaced" in err


@pytest.mark.skipif(os.name != "posix", reason="file names are bytes on POSIX alone")
def test_paths_that_are_no_text_work(tmp_path: Path, augpipe: Run) -> None:
    """Linux paths are bytes; someone's old disk holds Latin-1."""
    place = Path(os.fsdecode(os.fsencode(tmp_path) + b"/M\xfcller"))
    folder = write_folder(place / "small", *small_stack())
    code, _, err = augpipe("build", folder, "--out", place / "d", *OPTIONS)
    assert (code, err) == (0, "")
    assert augpipe("verify", place / "d", "--replay").code == 0
    assert augpipe("verify", place / "d", "--json", "-").code == 0


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


@pytest.mark.parametrize("out", [".", "/"])
def test_a_folder_that_cannot_be_made_is_refused(
    tmp_path: Path, folder: Path, augpipe: Run, monkeypatch: pytest.MonkeyPatch, out: str
) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    monkeypatch.chdir(tmp_path)
    code, _, err = augpipe("build", folder, "--out", out, *OPTIONS)
    assert code == 2
    assert len(err.splitlines()) == 1
    assert names(tmp_path) == ["mine.txt"]
