"""The command line parses, calls one function, prints; a failure is one line, the right exit code, and no remains."""

import io
import json
import os
import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
import tifffile
from small_worlds import OPTIONS, build_small, edit_record, names, run_python, small_stack, write_folder

from augment.ranges import PRESETS, AugmentRanges, preset_ranges
from pipeline.cli import cli, main
from pipeline.shards.config import DEFAULT_FOLDS, ENGINES, STRATEGIES, WEIGHTS, BuildConfig
from pipeline.shards.digest import canonical_json
from pipeline.source.labels import AUTO, LABEL_KINDS
from pipeline.source.tiff import write_stack

Run = Callable[..., Any]
ROOT = Path(__file__).parents[3]


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
    lines = augpipe("build", "--help").out.splitlines()
    headings = [line for line in lines if line.endswith(":") and not line.startswith(" ")]
    assert headings == [
        "Source:",
        "Dataset:",
        "Split:",
        "Augmentation:",
        "Running:",
        "Config file:",
        "Output:",
    ]
    assert all(line.split()[0].startswith("-") for line in lines[lines.index("Output:") + 1 :])


@pytest.mark.parametrize("path", [(), *COMMANDS], ids=" ".join)
def test_help_fits_a_wide_terminal_and_keeps_its_tables(
    augpipe: Run, monkeypatch: pytest.MonkeyPatch, path: tuple[str, ...]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    lines = augpipe(*path, "--help").out.splitlines()
    assert max(map(len, lines)) <= 110
    assert not any("\\b" in line or "\b" in line for line in lines)
    assert len([line for line in lines if "augpipe" in line]) == len([line for line in lines if is_example(line)])


def is_example(line: str) -> bool:
    """Tell a line that begins as a user would type it; click joins lines that are not marked as a table."""
    return line.removeprefix("Usage: ").strip().startswith("augpipe") and line.count("augpipe") == 1


def test_examples_in_the_help_fit_80_columns() -> None:
    helps = [(command.help or "").splitlines() for command in (cli, *COMMANDS.values())]
    examples = [line.strip() for lines in helps for line in lines if line.strip().startswith("augpipe")]
    assert len(examples) > 5
    assert max(map(len, examples)) <= 78


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_is_in_the_list_with_its_whole_line(
    augpipe: Run, monkeypatch: pytest.MonkeyPatch, path: tuple[str, ...]
) -> None:
    monkeypatch.setenv("COLUMNS", "110")
    first = (COMMANDS[path].help or "").strip().split("\n\n")[0]
    assert f" {path[-1]} " in augpipe("--help").out
    assert " ".join(first.split()) in augpipe("--help").out


def test_the_defaults_in_the_help_are_those_of_the_library(augpipe: Run) -> None:
    """They are told in words, because None stands for what the preset or the strategy decides."""
    out = " ".join(augpipe("build", "--help").out.partition("Source:")[2].split())
    config = BuildConfig()
    ranges = preset_ranges("unet2015")
    assert ranges == config.ranges
    defaults = {
        "--n": config.n,
        "--seed": config.seed,
        "--size": config.size[0],
        "--shard-size": config.shard_size,
        "--split": config.split,
        "--test": config.test,
        "--val": config.val,
        "--gap": config.gap,
        "--folds": DEFAULT_FOLDS,
        "--fold": config.fold,
        "--engine": config.engine,
        "--weights": config.weights,
        "--preset": "unet2015",
        "--rotate": "{:g} to {:g} degrees".format(*ranges.rotate_deg),
        "--flip": "no-flip",
        "--zoom": "{:g} {:g}".format(*ranges.zoom),
        "--gain": "{:g} {:g}".format(*ranges.gain),
        "--bias": "{:g} {:g}".format(*ranges.bias),
        "--shift": "to every corner of the slice",
        "--grid": ranges.grid_points,
        "--sigma": ranges.sigma_px,
        "--extent": ranges.extent,
    }
    assert (config.size[0], ranges.flip, ranges.shift_px) == (config.size[1], False, None)
    for name, value in defaults.items():
        _, _, told = out.partition(f" {name} ")
        assert told.partition("[default: ")[2].startswith(f"{value}]"), name


def test_choices_and_presets_in_the_help_are_those_of_the_library(augpipe: Run) -> None:
    choices = {
        parameter.name: parameter.type.choices
        for parameter in COMMANDS["build",].params
        if isinstance(parameter.type, click.Choice)
    }
    assert choices == {
        "split": STRATEGIES,
        "engine": ENGINES,
        "weights": WEIGHTS,
        "preset": PRESETS,
        "extent": ("window", "padded"),
        "label_kind": (AUTO, *LABEL_KINDS),
    }
    out = " ".join(augpipe("build", "--help").out.split())
    for name in PRESETS:
        assert name in out
    for strategy in STRATEGIES:
        assert f"({strategy})" in out


def test_help_needs_click_alone(tmp_path: Path) -> None:
    """Help and shell completion must be there at once."""
    code = "import sys\nfrom pipeline.cli import main\nmain(['build', '--help'])\nprint(*sys.modules, file=sys.stderr)"
    loaded = set(run_python(code, cwd=tmp_path).stderr.split())
    assert "click" in loaded
    assert not loaded & {
        "numpy",
        "tomllib",
        "difflib",
        "h5py",
        "pipeline.shards.config",
        "pipeline.shards.provenance",
        "augment.ranges",
    }


def test_the_command_runs_as_a_module(tmp_path: Path) -> None:
    code = "import runpy, sys\nsys.argv[0] = 'augpipe'\nrunpy.run_module('pipeline.cli', run_name='__main__')"
    result = run_python(code, "--help", cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("Usage: augpipe")


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
    "unlike counts": (("--images", "a", "--images", "b", "--labels", "c"), 2, "got 2 --images and 1 --labels"),
    "no such images": (("--images", "none.tif", "--labels", "labels.tif"), 2, "none.tif: expected a TIFF file"),
    "images without labels": (("--images", "labels.tif"), 2, "both --images and --labels"),
    "folder and files": (("good", "--images", "a", "--labels", "b"), 2, "either a SOURCE folder, or both"),
    "fewer labels": (("mismatch",), 2, "expected a label for every image slice"),
    "nothing annotated": (("blank",), 3, "nothing is annotated"),
    "cut short": (("cut",), 3, "cut/train-volume.tif"),
    "colour": (("--images", "colour.tif", "--labels", "labels.tif"), 3, "expected gray pixels, found RGB"),
    "no TIFF": (("--images", "file", "--labels", "labels.tif"), 3, "not a TIFF file"),
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
    "gain": (("good", "--gain", "0", "1"), 2, "gain: expected more than 0"),
    "bias": (("good", "--bias", "1", "nan"), 2, "bias: expected LOW <= HIGH"),
    "preset": (("good", "--preset", "weak"), 2, "'weak' is not one of"),
    "label kind": (("good", "--label-kind", "objects"), 2, "'objects' is not one of"),
    "labels of another kind": (("mismatch", "--label-kind", "binary"), 2, "expected a label for every image slice"),
    "strategy": (("good", "--split", "blocks"), 2, "'blocks' is not one of"),
    "test with kfold": (("good", "--split", "kfold"), 2, "--test: it goes with split block, random or stack, not"),
    "explicit without a file": (("good", "--split", "explicit"), 2, "--split: explicit needs a --split-file"),
    "file and another strategy": (("good", "--split", "stack", "--split-file", "file"), 2, "leave out --split"),
    "test with a file": (("good", "--split-file", "file"), 2, "the split file says which slices to test on"),
    "folds with block": (("good", "--folds", "4"), 2, "--folds: it goes with split kfold, not with block: add --split"),
    "fold with random": (
        ("good", "--split", "random", "--fold", "0"),
        2,
        "--fold: it goes with split kfold or explicit",
    ),
    "gap with stack": (("good", "--split", "stack"), 2, "--gap: it goes with split block, random or kfold"),
    "gap without neighbours": (("good", "--independent"), 2, "--gap: slices that are independent have no neighbours"),
    "a phantom of classes": (
        ("--label-kind", "classes"),
        2,
        "label-kind: the labels of the built-in phantom are binary",
    ),
    "a phantom without neighbours": (("--independent", "--gap", "0"), 2, "independent: the slices of the built-in"),
    "no config": (("good", "--config", "none.toml"), 2, "none.toml: expected a TOML file with options"),
    "size of thousands of digits": (("good", "--size", "9" * 5000), 2, "expected one side like 700"),
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
        (("--zoom", "2", "1"), "zoom: expected LOW <= HIGH"),
        (("--preset", "strong", "--gain", "-1", "1"), "gain: expected more than 0"),
        (("--grid", "1"), "grid: expected 2 to 64"),
        (("--split", "kfold", "--folds", "1"), "--folds: expected 2 or more, got 1"),
        (("--split", "kfold", "--folds", "0"), "--folds: expected 2 or more, got 0"),
        (("--split", "kfold", "--fold", "5"), "fold: expected a whole number from 0 to 4, got 5"),
        (("--split", "kfold", "--fold", "-1"), "--fold: expected 0 or more, got -1"),
        (("--split-file", "none.json", "--fold", "-1"), "--fold: expected 0 or more, got -1"),
        (("--split-file", "none.json", "--val", "0.1"), "--val: it goes with split block, random, kfold or stack"),
        (("--split-file", "none.json", "--folds", "3"), "--folds: it goes with split kfold, not with explicit"),
        (("--split-file", "none.json", "--gap", "1"), "--gap: it goes with split block, random or kfold, not with"),
        (
            ("--split-file", "none.json"),
            "--split-file: expected a file that says where every slice goes, found no none",
        ),
        (("--n", "0"), "n: expected a whole number from 1"),
    ],
)
def test_options_are_refused_before_anything_is_read(
    tmp_path: Path, augpipe: Run, arguments: tuple[str, ...], words: str
) -> None:
    """A large stack takes minutes to read; here it is not even there."""
    code, out, err = augpipe("build", tmp_path / "none", *arguments)
    assert (code, out) == (2, "")
    assert words in err
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("bake",), "No such command 'bake'"),
        (("verify",), "Missing argument 'DATASET'"),
        (("phantom",), "Missing argument 'OUT'"),
        (("show",), "Missing argument 'DATASET'"),
        (("preview",), "Missing argument 'DATASET'"),
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
    assert "small: 12 slices of 64 x 72 uint8, binary labels: 0 -> 0, 255 -> 1" in out
    assert "TTTTTTTT.EEE  (T train 8, E test 3, . unused 1)" in out
    assert "9 train, 3 test, 40 x 36 px" in out
    assert f"augpipe audit {tmp_path / 'd'} --gap 1" in out
    assert out.splitlines()[-1] == "built"


def test_progress_goes_to_the_standard_error_of_the_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A notebook, a test or a service may have put another stream there since the module was loaded."""
    from pipeline.cli.progress import choose_progress

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
    assert "name: phantom, because these are its pixels; the name foo is not used" in out
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


# What the options ask for


def recorded(augpipe: Run, out: Path, *arguments: object) -> dict[str, Any]:
    """Return the record of a dataset built with these arguments."""
    command = ("build", "--n", 12, "--size", "40x36", "--jobs", 1, "--out", out, *arguments)
    code, _, err = augpipe(*command)
    assert (code, err) == (0, "")
    return dict(json.loads((out / "dataset.json").read_bytes()))


def letters(record: dict[str, Any], depths: tuple[int, ...]) -> list[str]:
    """Return the split as it is drawn: one text a stack, one character a slice."""
    drawn = [["?"] * depth for depth in depths]
    for split, letter in {"train": "T", "val": "V", "test": "E", "unused": "."}.items():
        for stack in record["split"]["slices"].get(split, []):
            for z in stack["z"]:
                drawn[stack["stack"]][z] = letter
    return ["".join(stack) for stack in drawn]


@pytest.fixture
def pairs(tmp_path: Path) -> list[str]:
    """The arguments for three stacks of 12, 8 and 6 slices."""
    arguments = []
    for k, depth in enumerate((12, 8, 6)):
        images, labels = (np.roll(stack[:depth], k, axis=1) for stack in small_stack())
        write_stack(tmp_path / f"{k}.tif", images)
        write_stack(tmp_path / f"{k}-labels.tif", labels)
        arguments += ["--images", str(tmp_path / f"{k}.tif"), "--labels", str(tmp_path / f"{k}-labels.tif")]
    return arguments


def test_several_stacks_are_one_source(tmp_path: Path, pairs: list[str], augpipe: Run) -> None:
    record = recorded(augpipe, tmp_path / "d", *pairs, "--split", "stack", "--test", "0.3")
    assert letters(record, (12, 8, 6)) == ["T" * 12, "T" * 8, "E" * 6]
    assert [stack["images"]["shape"][0] for stack in record["inputs"]] == [12, 8, 6]


def test_images_go_with_labels_in_the_order_given(tmp_path: Path, pairs: list[str], augpipe: Run) -> None:
    first, second = pairs[:4], pairs[4:8]
    there = [*first[:2], *second[:2], *first[2:], *second[2:]]
    lines = augpipe("build", *there, "--n", 12, "--size", 40, "--gap", 1, "--dry-run").out.splitlines()
    assert lines[:2] == [f"source: {tmp_path / f'{k}.tif'} with {tmp_path / f'{k}-labels.tif'}" for k in (0, 1)]
    crossed = [*first[:2], *second[:2], *second[2:], *first[2:]]
    code, _, err = augpipe("build", *crossed, "--n", 12, "--size", 40, "--gap", 1, "--dry-run")
    assert code == 2
    assert "expected a label for every image slice" in err


def test_a_folder_of_pages_is_a_stack(tmp_path: Path, folder: Path, augpipe: Run) -> None:
    for name, stack in zip(("raw", "seg"), small_stack(), strict=True):
        (tmp_path / name).mkdir()
        for z, page in enumerate(stack):
            tifffile.imwrite(tmp_path / name / f"page{z:02}.tif", page)
    pages = ("--images", tmp_path / "raw", "--labels", tmp_path / "seg")
    as_pages = recorded(augpipe, tmp_path / "a", *pages, "--gap", 1)
    as_stack = recorded(augpipe, tmp_path / "b", folder, "--gap", 1)
    assert as_pages["inputs"] == as_stack["inputs"]


def test_every_fold_holds_out_other_slices(tmp_path: Path, folder: Path, augpipe: Run) -> None:
    kfold = ("--split", "kfold", "--folds", 3, "--gap", 1)
    drawn = [
        letters(recorded(augpipe, tmp_path / str(fold), folder, *kfold, "--fold", fold), (12,))[0] for fold in range(3)
    ]
    assert drawn == ["EEEE.TTTTTTT", "TTT.EEEE.TTT", "TTTTTTT.EEEE"]
    default = recorded(augpipe, tmp_path / "default", folder, "--split", "kfold", "--gap", 1)
    assert (default["config"]["folds"], default["config"]["fold"]) == (5, 0)


def test_a_split_file_says_it_all(tmp_path: Path, folder: Path, augpipe: Run) -> None:
    (tmp_path / "split.json").write_text('["TTTTTT.VV.EE"]')
    for k, more in enumerate(((), ("--split", "explicit"))):
        record = recorded(augpipe, tmp_path / str(k), folder, "--split-file", tmp_path / "split.json", *more)
        assert letters(record, (12,)) == ["TTTTTT.VV.EE"]
        assert record["split"]["strategy"] == "explicit"


def test_a_fold_of_an_nnunet_split_can_be_chosen(tmp_path: Path, pairs: list[str], augpipe: Run) -> None:
    folds = [{"train": ["0", "1"], "val": ["2"]}, {"train": ["1", "2"], "val": ["0"]}]
    (tmp_path / "splits_final.json").write_text(json.dumps(folds))
    file = ("--split-file", tmp_path / "splits_final.json")
    drawn = [
        letters(recorded(augpipe, tmp_path / f"d{fold}", *pairs, *file, "--fold", fold), (12, 8, 6)) for fold in (0, 1)
    ]
    assert drawn == [["T" * 12, "T" * 8, "V" * 6], ["V" * 12, "T" * 8, "T" * 6]]
    code, _, err = augpipe("build", *pairs, *file, "--fold", 2, "--dry-run", "--quiet")
    assert code == 2
    assert "fold: expected 0 to 1" in err


@pytest.mark.parametrize("text", ["", "{}", '["TTTE"]', '["TTTTTTTTTTTx"]', '["TTTTTTTTTTTT"]'])
def test_a_split_file_that_does_not_fit_leaves_nothing(tmp_path: Path, folder: Path, augpipe: Run, text: str) -> None:
    (tmp_path / "split.json").write_text(text)
    code, _, err = augpipe(
        "build", folder, "--n", 12, "--size", 40, "--out", tmp_path / "d", "--split-file", tmp_path / "split.json"
    )
    assert code == 2
    assert len(err.splitlines()) == 1
    assert names(tmp_path) == ["split.json"]


def test_independent_slices_have_no_gap(tmp_path: Path, folder: Path, augpipe: Run) -> None:
    record = recorded(augpipe, tmp_path / "d", folder, "--independent")
    assert letters(record, (12,)) == ["TTTTTTTTTTEE"]
    assert record["config"]["independent"] is True


def test_a_nothing_that_changes_nothing_is_no_mistake(
    tmp_path: Path, folder: Path, pairs: list[str], augpipe: Run
) -> None:
    """A gap of 0 between stacks and no val beside a split file say only what is so anyway."""
    stacks = (*pairs, "--split", "stack")
    (tmp_path / "split.json").write_text('["TTTTTTTT.EEE"]')
    file = (folder, "--split-file", tmp_path / "split.json")
    same = recorded(augpipe, tmp_path / "a", *stacks), recorded(augpipe, tmp_path / "b", *stacks, "--gap", 0)
    assert same[0] == same[1]
    same = recorded(augpipe, tmp_path / "c", *file), recorded(augpipe, tmp_path / "d", *file, "--val", 0, "--gap", 0)
    assert same[0] == same[1]


def test_the_kind_of_labels_can_be_told(tmp_path: Path, folder: Path, augpipe: Run) -> None:
    kinds = {
        kind: recorded(augpipe, tmp_path / kind, folder, "--gap", 1, "--label-kind", kind)["label_kind"]
        for kind in ("auto", "binary", "classes", "instances")
    }
    assert kinds == {"auto": "binary", "binary": "binary", "classes": "classes", "instances": "instances"}


@pytest.mark.parametrize(
    ("kind", "size", "told"), [("instances", 70, True), ("instances", 64, False), ("auto", 70, False)]
)
def test_objects_that_are_mirrored_are_told_of(
    tmp_path: Path, folder: Path, augpipe: Run, kind: str, size: int, told: bool
) -> None:
    options = ("--n", 2, "--size", size, "--gap", 1, "--label-kind", kind, "--dry-run")
    code, out, _ = augpipe("build", folder, "--out", tmp_path / "d", *options)
    assert code == 0
    assert ("an object at an edge is one with its mirror image" in out) == told


# The slices are 64 x 72 px, larger than the window: shifts reach every corner.
STRONG = preset_ranges("strong", gray_span=float(np.ptp(small_stack()[0])), covered=False)


@pytest.mark.parametrize(
    ("arguments", "ranges"),
    [
        ((), preset_ranges("unet2015")),
        (("--preset", "unet2015"), preset_ranges("unet2015")),
        (("--preset", "original"), preset_ranges("original")),
        (("--preset", "original", "--rotate"), replace(preset_ranges("original"), rotate_deg=(0.0, 360.0))),
        (("--preset", "strong", "--no-rotate"), replace(STRONG, rotate_deg=(0.0, 0.0))),
        (("--preset", "strong"), STRONG),
        (("--preset", "strong", "--no-flip", "--zoom", "1", "2"), replace(STRONG, flip=False, zoom=(1.0, 2.0))),
        (("--preset", "strong", "--shift", "3", "--bias", "-1", "1"), replace(STRONG, shift_px=3.0, bias=(-1.0, 1.0))),
        (("--preset", "strong", "--gain", "1", "1"), replace(STRONG, gain=(1.0, 1.0))),
        (("--preset", "original", "--extent", "window"), replace(preset_ranges("original"), extent="window")),
        (("--grid", "5", "--sigma", "0", "--flip"), AugmentRanges(grid_points=5, sigma_px=0.0, flip=True)),
    ],
)
def test_options_stand_in_the_place_of_the_presets_own(
    tmp_path: Path, folder: Path, augpipe: Run, arguments: tuple[str, ...], ranges: AugmentRanges
) -> None:
    config = BuildConfig.from_json(recorded(augpipe, tmp_path / "d", folder, "--gap", 1, *arguments)["config"])
    assert config.ranges == ranges


def test_the_strong_preset_measures_a_bias_in_the_sources_own_gray_levels(tmp_path: Path, augpipe: Run) -> None:
    images, labels = small_stack()
    dim = write_folder(tmp_path / "dim", images.astype(np.uint16) * 10 + 7, labels)
    ranges = recorded(augpipe, tmp_path / "d", dim, "--gap", 1, "--preset", "strong")["config"]["ranges"]
    assert ranges["bias"] == list(preset_ranges("strong", gray_span=10 * float(np.ptp(images))).bias)


def test_the_strong_preset_shifts_as_far_as_the_slices_need(tmp_path: Path, folder: Path, augpipe: Run) -> None:
    """A window smaller than a slice along one axis alone does not cover it: 64 x 72 px here."""
    shifts = {}
    for size in ("64x72", "65x73", "64x71", "63x90", "40x36"):
        command = ("--gap", 1, "--preset", "strong", "--size", size)
        shifts[size] = recorded(augpipe, tmp_path / size, folder, *command)["config"]["ranges"]["shift_px"]
    assert shifts == {"64x72": 32.0, "65x73": 32.0, "64x71": None, "63x90": None, "40x36": None}


def test_what_a_source_has_to_tell_is_told_before_anything_is_built(
    tmp_path: Path, augpipe: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Facts that are known by the pixels are not replaced by those of a file, and that must not go unnoticed."""
    monkeypatch.chdir(tmp_path)
    assert augpipe("phantom", "p").code == 0
    (tmp_path / "set.toml").write_text('folder = "p"\nn = 4\nsize = 40\n[source]\nlicence = "CC0"\n')
    lines = augpipe("build", "--config", "set.toml", "--dry-run").out.splitlines()
    assert lines[:3] == [
        "config: set.toml",
        "source: p",
        "source: licence is 'MIT', because these are its pixels; 'CC0' is not used",
    ]


# Looking at a dataset


def test_a_dataset_is_shown(built: Path, augpipe: Run) -> None:
    code, out, err = augpipe("show", built)
    assert (code, err) == (0, "")
    assert "small" in out
    assert augpipe("show", built, "--quiet") == (0, "", "")
    code, out, _ = augpipe("show", built, "--json", "-")
    assert code == 0
    assert out.encode() == canonical_json(json.loads(out))


def test_a_sample_is_shown(built: Path, augpipe: Run) -> None:
    sample = json.loads((built / "manifest.jsonl").read_text().splitlines()[0])["id"]
    code, out, _ = augpipe("show", built, sample)
    assert code == 0
    assert sample in out
    assert out != augpipe("show", built).out
    code, out, _ = augpipe("show", built, sample, "--json", "-")
    assert code == 0
    assert sample in out
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
    code, out, _ = augpipe("preview", dataset, "--out", tmp_path / "a.png")
    assert code == 0
    assert out.startswith("source: not at hand, so its slices are not drawn (")
    code, out, _ = augpipe("preview", dataset, "--out", tmp_path / "a.png", "--source", folder)
    assert (code, out) == (0, f"{tmp_path / 'a.png'}\n")


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


def test_no_command_is_answered_with_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    captured = capsys.readouterr()
    assert captured.out.splitlines()[0].startswith("Usage: augpipe")
    assert not captured.err


@pytest.mark.parametrize(
    ("arguments", "work"),
    [
        (("audit", "--json", "none/r.json"), "pipeline.audit.auditing.audit_dataset"),
        (("card", "--json", "none/r.json"), "pipeline.card.folder.write_card"),
        (("verify", "--json", "none/r.json"), "pipeline.verify.verification.verify_dataset"),
        (("preview", "--out", "none/p.png"), "pipeline.look.preview.draw_preview"),
    ],
    ids=lambda each: each[0] if isinstance(each, tuple) else "",
)
def test_what_has_no_place_is_told_before_the_work(
    tmp_path: Path, built: Path, augpipe: Run, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], work: str
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(work, never)
    code, _, err = augpipe(arguments[0], built, *arguments[1:])
    assert code == 3
    assert len(err.splitlines()) == 1
    assert "cannot be written" in err
