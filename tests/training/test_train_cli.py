"""`augtrain`: parses, calls one function, prints; a failure is one line and the right exit code."""

import itertools
import json
import os
import stat
import subprocess
import sys
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import click
import numpy as np
import pytest
from small_datasets import build_phantom, phantom_stack
from small_runs import COSINE, contents, copy_run, fit_small, network_bytes, noise, read_log

import training.trainer
from pipeline.shards import open_dataset
from pipeline.source.tiff import read_stack, write_stack
from training.cli import cli, main
from training.config import PRESETS, FitConfig
from training.fitting import bench_lines
from training.run_folder import read_run

ROOT = Path(__file__).parents[2]
COMMANDS = cli.commands
TINY = (
    "--set", "network.width=2", "--set", "network.depth=1", "--batch", "2", "--device", "cpu", "--threads", "1",
    "--no-pictures",
)  # fmt: skip
SHORT = ("--steps", "2", "--rounds", "1", *TINY)
SMALL = ("--set", "crop=64", "--precision", "fp32", *SHORT)


class Outcome(NamedTuple):
    """What a command left: its exit status and its lines."""

    code: int
    out: str
    err: str


Run = Callable[..., Outcome]


@pytest.fixture
def augtrain(capfd: pytest.CaptureFixture[str]) -> Run:
    """Run the command in this process."""

    def run(*arguments: object) -> Outcome:
        capfd.readouterr()
        code = main([str(argument) for argument in arguments])
        return Outcome(code, *capfd.readouterr())

    return run


@pytest.fixture(scope="module")
def run_folder(phantom_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small run; tests that write into it take a copy."""
    return fit_small(phantom_dataset, tmp_path_factory.mktemp("cli") / "run").folder


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The stack of the datasets and its labels, as files."""
    folder = tmp_path_factory.mktemp("stack")
    for name, pixels in zip(("images.tif", "labels.tif"), phantom_stack(), strict=True):
        write_stack(folder / name, pixels)
    return folder / "images.tif", folder / "labels.tif"


def run_python(code: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a few lines of Python in a fresh interpreter."""
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=cwd, capture_output=True, text=True, check=False
    )


# Help


def test_the_installed_command_is_this_one() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["scripts"]["augtrain"] == "training.start:run"


def test_the_help_is_this_text_however_wide_the_terminal_is(augtrain: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command and option with its default; what changes here changes for every user."""
    monkeypatch.setenv("COLUMNS", "200")
    pages = [augtrain(*path, "--help") for path in ((), *((name,) for name in COMMANDS))]
    assert {(page.code, page.err) for page in pages} == {(0, "")}
    text = "\n".join(page.out for page in pages) + "\n"
    assert text == Path(__file__).with_name("help.txt").read_text(encoding="utf-8")
    assert max(map(len, text.splitlines())) <= 80
    assert augtrain("fit", "-h") == augtrain("fit", "--help")


def test_every_command_and_option_has_help() -> None:
    for name, command in COMMANDS.items():
        assert command.help, name
        for parameter in command.params:
            assert not isinstance(parameter, click.Option) or parameter.help, (name, parameter.name)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_can_be_quiet_and_write_a_report(name: str) -> None:
    assert {"quiet", "json_file"} <= {parameter.name for parameter in COMMANDS[name].params}


def test_the_readme_names_every_command() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for name in COMMANDS:
        assert f"augtrain {name} " in readme, name


def test_help_loads_no_torch(tmp_path: Path) -> None:
    code = "import sys\nfrom training.cli import main\nmain(sys.argv[1:])\nprint(*sys.modules, file=sys.stderr)"
    for arguments in (["--help"], ["fit", "--help"], ["--version"]):
        result = run_python(code, *arguments, cwd=tmp_path)
        loaded = set(result.stderr.split())
        assert "click" in loaded
        assert not loaded & {"torch", "numba", "scipy", "matplotlib", "keras", "rich.progress"}, arguments


def test_the_command_runs_as_a_module(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "training.cli", "--help"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("Usage: augtrain")


def test_the_version_is_told(augtrain: Run) -> None:
    assert augtrain("--version").code == 0


# Refusals

BAD: dict[str, tuple[tuple[str, ...], int, str]] = {
    "no such command": (("train",), 2, "No such command 'train'"),
    "no dataset": (("fit",), 2, "Missing argument 'DATASET'"),
    "no out": (("fit", "d"), 2, "Missing option '--out'"),
    "no such dataset": (("fit", "none", "--out", "r"), 3, "none: expected the folder of a dataset, found nothing"),
    "no such preset": (("fit", "d", "--out", "r", "--preset", "huge"), 2, "'huge' is not one of 'paper'"),
    "no number": (("fit", "d", "--out", "r", "--batch", "many"), 2, "'many' is not a valid integer"),
    "no batch": (("fit", "d", "--out", "r", "--batch", "0"), 2, "batch: expected 1 to 4096, got 0"),
    "no such setting": (("fit", "d", "--out", "r", "--set", "colour=red"), 2, "there is no setting 'colour'"),
    "no value": (("fit", "d", "--out", "r", "--set", "batch"), 2, "batch: expected a value like 5, got ''"),
    "a bad choice": (
        ("fit", "d", "--out", "r", "--set", "optimizer=lion"),
        2,
        "expected one of sgd, adamw, got 'lion'",
    ),
    "too many rounds": (("fit", "d", "--out", "r", "--steps", "3"), 2, "at least one a round (10), got 3"),
    "no time": (("fit", "d", "--out", "r", "--minutes", "-1"), 2, "--minutes: expected a time above 0"),
    "two times": (("fit", "d", "--out", "r", "--minutes", "1", "--steps", "9"), 2, "--minutes and --steps: either"),
    "no such device": (("fit", "d", "--out", "r", "--device", "abacus"), 2, "--device: expected auto, cpu, cuda"),
    "no minute": (("fit", "d", "--out", "r", "--minutes", "0"), 2, "--minutes: expected a time above 0, got 0"),
    "no step": (("fit", "d", "--out", "r", "--steps", "0"), 2, "'--steps': 0 is not in the range x>=1"),
    "no thread": (("fit", "d", "--out", "r", "--threads", "0"), 2, "'--threads': 0 is not in the range x>=1"),
    "no sample": (("fit", "d", "--out", "r", "--n-train", "0"), 2, "'--n-train': 0 is not in the range x>=1"),
    "no round": (("fit", "d", "--out", "r", "--rounds", "0"), 2, "rounds: expected 1 to 1000000, got 0"),
    "two batches": (
        ("fit", "d", "--out", "r", "--batch", "2", "--set", "batch=3"),
        2,
        "batch: given as an option and with",
    ),
    "large crop": (("fit", "d", "--out", "r", "--set", "crop=256"), 2, "108 px; --set crop=96 does"),
    "odd crop": (("fit", "d", "--out", "r", "--set", "crop=100"), 2, "4 poolings; 96 px do, and 112 px (--set crop=N)"),
    "no run": (("resume", "none"), 3, "none: no run of augtrain fit here"),
    "a file for a run": (
        ("resume", "d/dataset.json"),
        3,
        "d/dataset.json: expected the folder of a run, found a file; name what augtrain fit got as --out",
    ),
    "no run to evaluate": (("evaluate", "none", "d"), 3, "no run of augtrain fit here"),
    "half a stack": (("evaluate", "none", "d", "--images", "a.tif"), 2, "--images and --labels belong together"),
    "no such split": (("evaluate", "run", "d", "--split", "exam"), 2, "exam"),
    "no such stack": (("predict", "run", "none.tif", "out.tif"), 2, "none.tif: expected a TIFF file, found nothing"),
    "no tile": (("predict", "run", "none.tif", "out.tif", "--tile", "0"), 2, "--tile: expected 10 px or more"),
    "a small tile": (("evaluate", "run", "d", "--tile", "7"), 2, "--tile: expected 10 px or more"),
    "a PNG": (("predict", "run", "none.tif", "out.png"), 2, "out.png: expected a name that ends in .tif or .tiff"),
    "no folder for the report": (
        ("fit", "d", "--out", "r", "--json", "no/a.json"),
        2,
        "--json: no is no folder; name another file for the report",
    ),
    "no prediction": (("score", "none.tif", "none.tif"), 2, "none.tif: expected a TIFF file, found nothing"),
    "no steps": (("bench", "d", "--steps", "0"), 2, "0 is not in the range x>=1"),
    "no dataset to bench": (("bench", "none"), 3, "none: expected the folder of a dataset, found nothing"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_leaves_nothing(
    augtrain: Run, phantom_dataset: Path, run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("d").symlink_to(phantom_dataset)
    Path("run").symlink_to(run_folder)
    before = contents(run_folder)
    arguments, code, words = BAD[case]
    outcome = augtrain(*arguments)
    assert outcome.code == code, outcome.err
    assert outcome.out == ""
    assert outcome.err.count("\n") == 1, outcome.err
    assert outcome.err.startswith("augtrain: ")
    assert words in outcome.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d", "run"]
    assert contents(run_folder) == before


def test_a_second_run_in_a_folder_is_refused(augtrain: Run, phantom_dataset: Path, run_folder: Path) -> None:
    before = contents(run_folder)
    code, out, err = augtrain("fit", phantom_dataset, "--out", run_folder, *SMALL)
    assert (code, out) == (2, "")
    words = f"holds a run already; go on with augtrain resume {run_folder}, or choose another --out"
    assert err == f"augtrain: {run_folder}: {words}\n"
    assert contents(run_folder) == before


def test_a_finished_run_says_that_it_is(augtrain: Run, run_folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert augtrain("resume", run_folder, "--no-pictures").code == 0
    told = [message for message in caplog.messages if message.startswith("finished ")]
    (line,) = told
    assert line.startswith(
        f"finished     {run_folder}: all its rounds are done, 2 of them; nothing was trained; for more"
    )


def test_a_folder_with_other_files_is_refused(augtrain: Run, phantom_dataset: Path, tmp_path: Path) -> None:
    """Also with hidden ones: a run's files must not mix with anybody's."""
    for name in ("notes.txt", ".hidden"):
        folder = tmp_path / name.strip(".")
        folder.mkdir()
        (folder / name).write_text("mine", encoding="utf-8")
        code, out, err = augtrain("fit", phantom_dataset, "--out", folder, *SMALL)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert f"expected an empty folder or nothing, found {name} in it; choose another --out" in err
        assert contents(folder) == {name: b"mine"}


def test_a_folder_that_is_empty_or_holds_an_unfinished_config_is_free(
    augtrain: Run, phantom_dataset: Path, tmp_path: Path
) -> None:
    """As a run leaves it that was killed before it began."""
    for name in ("empty", "killed"):
        (tmp_path / name).mkdir()
    (tmp_path / "killed" / ".config.json.tmp").write_text("{", encoding="utf-8")
    for name in ("empty", "killed"):
        assert augtrain("fit", phantom_dataset, "--out", tmp_path / name, *SMALL, "--quiet") == (0, "", "")
        assert ".config.json.tmp" not in contents(tmp_path / name)


def test_another_dataset_cannot_be_gone_on_with(augtrain: Run, run_folder: Path, tmp_path: Path) -> None:
    other = build_phantom(tmp_path / "other", seed=1)
    code, out, err = augtrain("resume", run_folder, "--dataset", other)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "expected the dataset with digest" in err


def test_a_loss_that_explodes_exits_3(
    augtrain: Run, phantom_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the ids of the batch."""
    out = tmp_path / "run"
    monkeypatch.setattr(training.trainer, "learning_rate", lambda *_: 1e30)
    options = ("--preset", "paper", *TINY, "--set", "network.width=4", "--set", "clip_norm=0", "--precision", "fp32")
    code, _, err = augtrain("fit", phantom_dataset, "--out", out, *options, "--steps", "8", "--rounds", "1", "--quiet")
    assert code == 3
    assert err.count("\n") == 1
    named = {word.strip(",;") for word in err.split()} & set(open_dataset(phantom_dataset)["train"].ids)
    assert 1 <= len(named) <= 2
    assert set(contents(out)) == {"config.json"}


@pytest.mark.parametrize(
    ("redirection", "code", "words"),
    [
        (">&-", 3, "augtrain: standard output is closed; send it to a file, or to /dev/null\n"),
        (">/dev/full", 3, "augtrain: No space left on device\n"),
        (">/dev/null 2>&-", 0, ""),
    ],
)
def test_a_stream_that_is_closed_or_full_is_one_line(tmp_path: Path, redirection: str, code: int, words: str) -> None:
    line = f"{sys.executable} -c 'from training.start import run; run()' --help {redirection}"
    result = subprocess.run(["sh", "-c", line], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (code, "", words)


def test_a_reader_who_leaves_changes_no_status(tmp_path: Path, stack: tuple[Path, Path]) -> None:
    """As `augtrain score a b | head -1` does; 1 is a finding, which augtrain never has."""
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-c", "from training.start import run; run()"]
    try:
        for words in (["--help"], ["score", str(stack[1]), str(stack[1]), "--json", "-"]):
            result = subprocess.run(
                [*command, *words], cwd=tmp_path, stdout=writer, stderr=subprocess.PIPE, text=True, check=False
            )
            assert (result.returncode, "Traceback" in result.stderr, "Broken" in result.stderr) == (0, False, False)
    finally:
        os.close(writer)


def test_ctrl_c_exits_130_and_the_run_goes_on(phantom_dataset: Path, tmp_path: Path, augtrain: Run) -> None:
    code = """
import os, signal, sys
import training.trainer
from training.start import run
signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs the tests may have it ignored
save = training.trainer.Trainer._save
def save_and_interrupt(*arguments, **keywords):
    save(*arguments, **keywords)
    os.kill(os.getpid(), signal.SIGINT)
training.trainer.Trainer._save = save_and_interrupt
run()
"""
    options = (*TINY, "--set", "crop=64", "--precision", "fp32", "--steps", "4", "--rounds", "2")
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    result = run_python(code, "fit", str(phantom_dataset), "--out", str(cut), *options, cwd=tmp_path)
    assert result.returncode == 130, result.stderr
    assert "Traceback" not in result.stderr
    assert result.stderr.splitlines()[-1] == "augtrain: interrupted; a run goes on with augtrain resume"
    assert len(read_log(cut)) == 1
    assert augtrain("resume", cut, "--no-pictures").code == 0
    assert augtrain("fit", phantom_dataset, "--out", whole, *options).code == 0
    assert network_bytes(cut) == network_bytes(whole)
    assert read_log(cut) == read_log(whole)


@pytest.mark.parametrize(
    ("module", "planted", "code", "words"),
    [
        ("click", "os.kill(os.getpid(), signal.SIGINT)", 130, "augtrain: interrupted"),
        ("training.cli", "os.kill(os.getpid(), signal.SIGINT)", 130, "augtrain: interrupted"),
        ("pipeline.shards", "os.kill(os.getpid(), signal.SIGINT)", 130, "augtrain: interrupted"),
        ("training.cli", "raise OSError(24, os.strerror(24), 'x.py')", 3, "augtrain: x.py: Too many open files"),
    ],
)
def test_what_fails_while_the_command_is_loading_is_one_line(
    tmp_path: Path, module: str, planted: str, code: int, words: str
) -> None:
    """As Ctrl-C does in the first second, or a limit on open files."""
    lines = f"""
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs the tests may have it ignored
class Planted:
    def find_spec(self, name, *_):
        if name == "{module}":
            {planted}
sys.meta_path.insert(0, Planted())
from training.start import run
run()
"""
    result = run_python(lines, "score", "none.tif", "none.tif", cwd=tmp_path)
    assert (result.returncode, result.stdout, result.stderr.lstrip()) == (code, "", f"{words}\n")


# fit and resume


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_trains_on_what_fits(augtrain: Run, phantom_dataset: Path, tmp_path: Path, name: str) -> None:
    """With its own optimiser, loss, schedule and network, only narrower."""
    narrow = ("--set", "network.last_up=4") if name == "release" else ()
    code, _, err = augtrain("fit", phantom_dataset, "--out", tmp_path / "run", "--preset", name, *SHORT, *narrow)
    assert code == 0, err
    config, expected = read_run(tmp_path / "run").config, PRESETS[name]
    for setting in ("optimizer", "learning_rate", "schedule", "stop_patience", "turns", "target", "channels_last"):
        assert getattr(config, setting) == getattr(expected, setting), setting
    for setting in ("outputs", "up", "init", "padding", "norm", "dropout", "up_relu"):
        assert getattr(config.network, setting) == getattr(expected.network, setting), setting


FLAGS: dict[str, tuple[tuple[str, ...], Callable[[FitConfig], Any], Any]] = {
    "n-train": (("--n-train", "3"), lambda config: config.n_train, 3),
    "rounds": (("--rounds", "2"), lambda config: config.rounds, 2),
    "steps": (("--steps", "3"), lambda config: config.steps, 3),
    "batch": (("--batch", "1"), lambda config: config.batch, 1),
    "seed": (("--seed", "5"), lambda config: config.seed, 5),
    "loss weights": (("--loss-weights", "unet2015"), lambda config: config.loss_weights, "unet2015"),
    "target": (("--target", "foreground"), lambda config: config.learn, "foreground"),
    "loss": (("--loss", "dice-ce"), lambda config: config.loss, "dice-ce"),
    "class weights": (("--class-weights", "1,3"), lambda config: config.class_weights, "1,3"),
    "loader": (("--loader", "lazy"), lambda config: config.loader, "lazy"),
    "bf16": (("--precision", "bf16"), lambda config: config.precision, "bf16"),
    "fp16": (("--precision", "fp16"), lambda config: config.precision, "fp16"),
    "channels last": (("--channels-last",), lambda config: config.channels_last, True),
    "channels first": (("--channels-first",), lambda config: config.channels_last, False),
    "threads": (("--threads", "2"), lambda config: config.threads, 2),
    "float": (("--set", "learning_rate=1"), lambda config: config.learning_rate, 1.0),
    "word": (("--set", "network.up=upsample"), lambda config: config.network.up, "upsample"),
    "truth": (("--set", "turns=false"), lambda config: config.turns, False),
    "network": (("--set", "network.dropout=0.25"), lambda config: config.network.dropout, 0.25),
}


@pytest.mark.parametrize("flag", FLAGS)
def test_every_flag_reaches_the_run(augtrain: Run, phantom_dataset: Path, tmp_path: Path, flag: str) -> None:
    options, read, expected = FLAGS[flag]
    code, _, err = augtrain("fit", phantom_dataset, "--out", tmp_path / "run", *SMALL, *options, "--quiet")
    assert (code, err) == (0, "")
    assert read(read_run(tmp_path / "run").config) == expected


def test_compile_reaches_the_run(
    augtrain: Run, phantom_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    monkeypatch.setattr(training.trainer.torch, "compile", lambda network: seen.append(network) or network)
    assert augtrain("fit", phantom_dataset, "--out", tmp_path / "run", *SMALL, "--compile").code == 0
    assert len(seen) == 1
    assert augtrain("fit", phantom_dataset, "--out", tmp_path / "other", *SMALL, "--no-compile").code == 0
    assert len(seen) == 1


@pytest.mark.usefixtures("ticking")
def test_minutes_are_fixed_as_steps(augtrain: Run, phantom_dataset: Path, tmp_path: Path) -> None:
    """By a clock by which everything takes a second: 0.95 of 36 s, less 21 to try and 4 to validate."""
    options = (*TINY, "--set", "crop=64", "--precision", "fp32", "--rounds", "1", "--minutes", "0.6")
    assert augtrain("fit", phantom_dataset, "--out", tmp_path / "run", *options).code == 0
    for _ in range(2):
        assert read_run(tmp_path / "run").config.steps == 9
        assert [row["step"] for row in read_log(tmp_path / "run")] == [9]
        assert augtrain("resume", tmp_path / "run", "--no-pictures").code == 0


def test_a_run_tells_its_rounds_and_what_comes_next(
    augtrain: Run, phantom_dataset: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """And in the log, how much of its samples is foreground, and where they are kept."""
    out = tmp_path / "my run"
    code, printed, _ = augtrain("fit", phantom_dataset, "--out", out, *SMALL, "--json", tmp_path / "report.json")
    assert code == 0
    lines = printed.splitlines()
    assert lines[0].startswith("round    1   step      2   loss ")
    command = f"augtrain evaluate '{out}' {phantom_dataset} --split test"
    assert lines[1:] == [f"run          {out}", f"next         {command}"]
    assert caplog.messages[0].endswith(" of the pixels of 12 training samples")
    assert caplog.messages[1].startswith("loader: host, 12 samples")
    report = json.loads((tmp_path / "report.json").read_bytes())
    assert report["dataset"] == open_dataset(phantom_dataset).digest
    assert FitConfig.from_dict(report["config"]) == read_run(out).config


def test_pictures_are_drawn_unless_told_otherwise(augtrain: Run, phantom_dataset: Path, tmp_path: Path) -> None:
    options = tuple(option for option in SMALL if option != "--no-pictures")
    assert augtrain("fit", phantom_dataset, "--out", tmp_path / "run", *options).code == 0
    assert {"curves.png", "samples.png"} <= set(contents(tmp_path / "run"))


# evaluate, predict, score, bench

KEYS = {
    "pixel_error", "misclassified", "iou_cell", "iou_membrane", "v_rand", "v_info", "warping_error",
    "adapted_rand_error", "pixel_error_threshold", "v_rand_threshold", "v_info_threshold", "warping_error_threshold",
    "n", "mean_dice",
}  # fmt: skip


@pytest.mark.parametrize("whole", [False, True], ids=["samples", "slices"])
def test_evaluate(
    augtrain: Run, phantom_dataset: Path, run_folder: Path, stack: tuple[Path, Path], tmp_path: Path, whole: bool
) -> None:
    run = copy_run(run_folder, tmp_path / "run")
    files = ("--images", stack[0], "--labels", stack[1]) if whole else ()
    code, out, err = augtrain("evaluate", run, phantom_dataset, "--split", "test", *files, "--tta", "--json", "-")
    assert code == 0, err
    report = json.loads(out)
    assert set(report) == KEYS | {"split", "shown", "n", "trained_on", "intervals"}
    assert report["n"] == (3 if whole else 6)
    lines = err.splitlines()
    for key in ("pixel_error", "iou_cell", "v_rand", "warping_error"):
        assert any(line.startswith(f"{key} ") and f"{report[key]:.5f}" in line for line in lines), key
    picture = run / f"thresholds-test-{'slices' if whole else 'samples'}.png"
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_every_score_is_told_with_its_class_threshold_and_pooling(
    augtrain: Run, stack: tuple[Path, Path], tmp_path: Path
) -> None:
    """The report's own table mixes definitions."""
    write_stack(tmp_path / "probability.tif", (phantom_stack()[0] / 255).astype(np.float32))
    code, out, _ = augtrain("score", tmp_path / "probability.tif", stack[1], "--json", tmp_path / "report.json")
    assert code == 0
    report = json.loads((tmp_path / "report.json").read_bytes())
    assert set(report) == KEYS | {"label_kind", "prediction"}
    told = dict(line.split(maxsplit=1) for line in out.splitlines())
    for key in sorted(KEYS - {"n"}):
        if key.endswith("_threshold"):
            assert told[key.removesuffix("_threshold")].endswith(f"({report[key]:.1f})"), key
        else:
            assert told[key].startswith(f"{report[key]:.5f} "), key
            assert "pooled" in told[key] or "mean of slices" in told[key], key
            assert "0.5" in told[key] or "threshold" in told[key], key
    assert told["scored"] == "12 slices"


def test_predict(augtrain: Run, run_folder: Path, tmp_path: Path) -> None:
    write_stack(tmp_path / "stack.tif", noise((2, 30, 40)))
    code, out, err = augtrain("predict", run_folder, tmp_path / "stack.tif", tmp_path / "out.tif", "--tile", "16")
    assert (code, out, err) == (0, f"predicted    2 slices of 30 x 40 px: {tmp_path / 'out.tif'}\n", "")
    plain = read_stack(tmp_path / "out.tif")
    assert (plain.shape, plain.dtype) == ((2, 30, 40), np.float32)
    report = tmp_path / "report.json"
    again = ("predict", run_folder, tmp_path / "stack.tif", tmp_path / "out.tif", "--tta", "--quiet", "--json", report)
    code, out, err = augtrain(*again)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "out.tif: is there already; name another file for the prediction, or --overwrite it" in err
    assert np.array_equal(read_stack(tmp_path / "out.tif"), plain)
    code, out, _ = augtrain(*again, "--overwrite")
    assert (code, out) == (0, "")
    assert json.loads(report.read_bytes()) == {
        "out": str(tmp_path / "out.tif"), "shape": [2, 30, 40], "tile": 512, "tta": True,
    }  # fmt: skip
    assert not np.array_equal(read_stack(tmp_path / "out.tif"), plain)


def test_bench(augtrain: Run, phantom_dataset: Path) -> None:
    settings = (
        f"--set={name}" for name in ("network.width=2", "network.depth=1", "crop=64", "threads=1", "device=cpu")
    )
    code, out, err = augtrain("bench", phantom_dataset, "--steps", "1", *settings, "--json", "-")
    assert code == 0, err
    report = json.loads(out)
    expected = bench_lines(report)
    assert set(expected) <= set(err.splitlines())  # JSON has sorted the loaders
    assert err.splitlines()[-1] == expected[-1]


@pytest.mark.parametrize(("share", "limit"), [(0.5, "loading: "), (0.9, "computing: "), (1.02, "computing: ")])
def test_a_benchmark_is_told_with_units_and_ends_with_what_limits(share: float, limit: str) -> None:
    report = {
        "device": "cuda", "batch": 8, "loaders": {"host": 900.5, "lazy": 80.0, "copy": 1000.0}, "train_real": 12.5,
        "train_synthetic": 13.0, "real_of_synthetic": share, "peak_memory_mb": 512.0, "peak_device_memory_mb": 99.5,
    }  # fmt: skip
    *lines, last = bench_lines(report)
    assert lines == [
        "computes on             cuda, 8 samples a step",
        "loads, host             900.5 samples/s",
        "loads, lazy             80.0 samples/s",
        "copies arrays           1000.0 samples/s, for comparison",
        "trains                  12.5 samples/s",
        "trains, loading none    13.0 samples/s, on one batch again and again",
        "memory                  512.0 MB at most",
        "memory of the device    99.5 MB at most",
    ]
    assert last.startswith(f"limited by              {limit}")
    assert f"{share:.1%}" in last


def test_a_report_replaces_nothing_but_a_report(
    augtrain: Run, run_folder: Path, stack: tuple[Path, Path], tmp_path: Path
) -> None:
    """Not the labels, not a folder, and not what the command has just made."""
    (tmp_path / "labels.tif").write_bytes(stack[1].read_bytes())
    for name in ("labels.tif", "."):
        code, out, err = augtrain("score", stack[1], stack[1], "--json", tmp_path / name)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert err.startswith("augtrain: --json: ")
    assert (tmp_path / "labels.tif").read_bytes() == stack[1].read_bytes()
    for _ in range(2):
        assert augtrain("score", stack[1], stack[1], "--quiet", "--json", tmp_path / "a.json").code == 0
    write_stack(tmp_path / "stack.tif", noise((1, 30, 40)))
    out_file = tmp_path / "out.tif"
    assert augtrain("predict", run_folder, tmp_path / "stack.tif", out_file, "--json", out_file).code == 2
    assert read_stack(out_file).shape == (1, 30, 40)


@pytest.mark.parametrize(
    "error",
    [MemoryError(), RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory")],
    ids=["Python", "torch"],
)
def test_full_memory_is_one_line(
    augtrain: Run, run_folder: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("training.run_folder.load", fail)
    monkeypatch.setattr("training.run_folder.UNet", fail)
    code, _, err = augtrain("predict", run_folder, "stack.tif", "out.tif")
    assert (code, err) == (3, "augtrain: the memory is full; try a smaller --batch, --set crop=N or --tile\n")


@pytest.mark.parametrize(("command", "hint"), [("resume", True), ("predict", False)])
def test_an_interruption_says_what_goes_on(
    augtrain: Run, run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, hint: bool
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("training.run_folder.json.loads", interrupt)
    arguments = {"resume": (run_folder,), "predict": (run_folder, tmp_path / "stack.tif", tmp_path / "out.tif")}
    code, _, err = augtrain(command, *arguments[command])
    words = "; a run goes on with augtrain resume" if hint else ""
    assert (code, err.splitlines()[-1]) == (130, f"augtrain: interrupted{words}")


def test_quiet_is_quiet(
    augtrain: Run,
    phantom_dataset: Path,
    run_folder: Path,
    stack: tuple[Path, Path],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Also the log."""
    run = copy_run(run_folder, tmp_path / "run")
    settings = (
        f"--set={name}" for name in ("network.width=2", "network.depth=1", "crop=64", "threads=1", "device=cpu")
    )
    commands: dict[str, tuple[object, ...]] = {
        "fit": ("fit", phantom_dataset, "--out", tmp_path / "new", *SMALL),
        "resume": ("resume", run, "--no-pictures"),
        "evaluate": ("evaluate", run, phantom_dataset),
        "predict": ("predict", run, stack[0], tmp_path / "out.tif"),
        "score": ("score", stack[1], stack[1]),
        "bench": ("bench", phantom_dataset, "--steps", "1", *settings),
    }
    assert set(commands) == set(COMMANDS)
    for name, arguments in commands.items():
        assert augtrain(*arguments, "--quiet") == (0, "", ""), name
        assert not caplog.messages, name


def test_long_commands_show_their_progress_on_standard_error(
    augtrain: Run, phantom_dataset: Path, run_folder: Path, stack: tuple[Path, Path], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """By a clock by which every sample takes eleven seconds; standard output is for the result."""
    ticks = itertools.count(0, 11)
    monkeypatch.setattr("pipeline.shards.progress.time", SimpleNamespace(monotonic=lambda: float(next(ticks))))
    run, settings = copy_run(run_folder, tmp_path / "run"), ("--set=network.width=2", "--set=crop=64")
    files = ("--images", stack[0], "--labels", stack[1])
    commands: dict[str, tuple[object, ...]] = {
        "scoring: 1 of 6 samples": ("evaluate", run, phantom_dataset),
        "scoring: 1 of 3 slices": ("evaluate", run, phantom_dataset, *files),
        "predicting: 1 of 12 slices": ("predict", run, stack[0], tmp_path / "out.tif"),
        "scoring: 1 of 12 slices": ("score", stack[1], stack[1]),
        "timing: 1 of 10 steps": ("bench", phantom_dataset, "--steps", "1", *settings),
    }
    for line, arguments in commands.items():
        outcome = augtrain(*arguments)
        assert any(told.startswith(line) for told in outcome.err.splitlines()), outcome.err
        assert outcome.code == 0
        assert outcome.out


@pytest.mark.skipif(not Path("/dev/null").is_char_device(), reason="no /dev/null here")
def test_a_report_may_go_into_a_device(augtrain: Run, stack: tuple[Path, Path], tmp_path: Path) -> None:
    """And through a link: neither is replaced by a file."""
    (tmp_path / "null").symlink_to("/dev/null")
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    for name in ("null", "pipe"):
        assert augtrain("score", stack[1], stack[1], "--quiet", "--json", tmp_path / name) == (0, "", "")
    assert set(json.loads(os.read(reader, 1 << 16))) == KEYS | {"label_kind", "prediction"}
    os.close(reader)
    assert (tmp_path / "null").is_symlink()
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


@pytest.mark.isbi
@pytest.mark.slow
def test_score_of_the_fixtures_is_the_challenges(augtrain: Run) -> None:
    folder = ROOT.parent / "shared" / "fixtures" / "metrics"
    if not folder.is_dir():
        pytest.skip(f"{folder} is missing")
    numbers = json.loads((folder / "official.json").read_text(encoding="utf-8"))
    official = numbers["probability (u8/255 as float32)"]
    code, out, _ = augtrain("score", folder / "probability_u8.tif", folder / "labels.tif", "--quiet", "--json", "-")
    assert code == 0
    report = json.loads(out)
    assert report["pixel_error"] == pytest.approx(1 - official["pixel_f_max"], abs=1e-6)
    assert report["misclassified"] == pytest.approx(official["pixel_misclassified@0.5"], abs=1e-6)
    assert report["v_rand"] == pytest.approx(official["v_rand_max"], abs=1e-3)
    assert report["v_info"] == pytest.approx(official["v_info_max"], abs=1e-3)
    assert report["warping_error"] == pytest.approx(official["warping_min_splits_mergers_r20"], rel=0.03)


def test_a_missing_library_is_one_line(tmp_path: Path) -> None:
    """Installed without [train]; no index has this package, so the advice is for a checkout."""
    code = "import sys\nsys.modules['torch'] = None\nfrom training.cli import main\nsys.exit(main(sys.argv[1:]))"
    result = run_python(code, "fit", "d", "--out", "r", cwd=tmp_path)
    assert result.returncode == 3
    assert result.stderr.startswith("augtrain: torch is missing; run pip install '.[train]'")


def test_the_small_config_is_what_the_tests_think(run_folder: Path) -> None:
    assert read_run(run_folder).config == replace(COSINE, learn="foreground")


def test_no_command_is_answered_with_the_help(augtrain: Run) -> None:
    result = augtrain()
    assert (result.code, result.err) == (0, "")
    assert result.out.splitlines()[0].startswith("Usage: augtrain")
