"""What a long command tells while it works: a bar on a terminal, a line now and then elsewhere, nothing where quiet."""

import io
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from small_datasets import phantom_stack
from small_runs import copy_run, fit_small, noise

import training.progress
from pipeline.source.tiff import write_stack
from training.cli import main
from training.progress import counted, telling


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


class Clock:
    """Goes on by so many seconds whenever it is asked."""

    def __init__(self, step_s: float) -> None:
        self.now, self.step_s = 0.0, step_s

    def monotonic(self) -> float:
        self.now += self.step_s
        return self.now


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock by which everything takes six seconds."""
    monkeypatch.setattr(training.progress, "time", SimpleNamespace(monotonic=Clock(6.0).monotonic))


def test_items_are_told_when_they_are_done() -> None:
    told: list[tuple[int, int]] = []
    items = counted("ab", 2, lambda done, total: told.append((done, total)))
    assert next(items) == "a"
    assert told == [(0, 2)]
    assert list(items) == ["b"]
    assert told == [(0, 2), (1, 2), (2, 2)]


@pytest.mark.usefixtures("slow")
def test_a_file_gets_a_line_every_ten_seconds_and_none_at_the_end() -> None:
    """By hand: told at 12, 18, 24, ... s, begun at 6 s; a line is due at 18, 30 and 42 s; at 42 s all are done."""
    stream = io.StringIO()
    with telling("scoring", "slices", quiet=False, stream=stream) as told:
        for _ in counted(range(5), 5, told):
            pass
    assert stream.getvalue().splitlines() == ["scoring: 1 of 5 slices, 48 s left", "scoring: 3 of 5 slices, 16 s left"]


@pytest.mark.usefixtures("slow")
def test_a_terminal_gets_a_bar() -> None:
    stream = Terminal()
    with telling("scoring", "slices", quiet=False, stream=stream) as told:
        for _ in counted(range(5), 5, told):
            pass
    assert "scoring" in stream.getvalue()
    assert "5/5" in stream.getvalue()


@pytest.mark.usefixtures("slow")
def test_quiet_tells_nothing_and_a_log_may_have_other_lines_than_a_bar() -> None:
    for stream, quiet, lines in ((io.StringIO(), True, True), (Terminal(), True, True), (io.StringIO(), False, False)):
        with telling("scoring", "slices", quiet=quiet, lines=lines, stream=stream) as told:
            for _ in counted(range(5), 5, told):
                pass
        assert stream.getvalue() == ""


@pytest.mark.usefixtures("slow")
def test_every_long_command_tells_how_far_it_is(
    phantom_dataset: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """On standard error; standard output is for the result."""
    run = copy_run(fit_small(phantom_dataset, tmp_path / "one").folder, tmp_path / "run")
    images, labels = phantom_stack()
    for name, pixels in (("images.tif", images), ("labels.tif", labels), ("stack.tif", noise((4, 20, 20)))):
        write_stack(tmp_path / name, pixels)
    write_stack(tmp_path / "cells.tif", (images / 255).astype(np.float32))
    files = ("--images", tmp_path / "images.tif", "--labels", tmp_path / "labels.tif")
    commands: dict[str, tuple[object, ...]] = {
        "scoring: 1 of 6 samples, 60 s left": ("evaluate", run, phantom_dataset),
        "scoring: 1 of 3 slices, 24 s left": ("evaluate", run, phantom_dataset, *files),
        "predicting: 1 of 4 slices, 36 s left": ("predict", run, tmp_path / "stack.tif", tmp_path / "out.tif"),
        "scoring: 1 of 12 slices, 132 s left": ("score", tmp_path / "cells.tif", tmp_path / "labels.tif"),
    }
    for line, arguments in commands.items():
        again = ("--overwrite",) if arguments[0] == "predict" else ()
        for quiet in ((), ("--quiet",)):
            capfd.readouterr()
            assert main([str(argument) for argument in (*arguments, *quiet, *(again if quiet else ()))]) == 0
            out, err = capfd.readouterr()
            assert err.splitlines()[:1] == ([] if quiet else [line]), arguments
            assert bool(out) is not bool(quiet)
