"""The command as a process: how it starts, what its exit status means, and that it ends without a trace."""

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_worlds import OPTIONS, names, run_python

from pipeline.verify.verification import verify_dataset

Run = Callable[..., Any]
RUN = "from pipeline.cli import run\nrun()"


def test_the_installed_command_is_this_one() -> None:
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["scripts"]["augpipe"] == "pipeline.cli:run"


def test_the_command_runs_as_a_module(tmp_path: Path) -> None:
    code = "import runpy, sys\nsys.argv[0] = 'augpipe'\nrunpy.run_module('pipeline.cli', run_name='__main__')"
    result = run_python(code, "--help", cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("Usage: augpipe")


def test_the_version_is_told(augpipe: Run) -> None:
    assert augpipe("--version").code == 0


def test_no_traceback_reaches_the_terminal(tmp_path: Path) -> None:
    """As a user runs it: in a process of its own, which fails while the kernels are loading in the background."""
    for name in ("train-volume.tif", "train-labels.tif"):
        (tmp_path / name).write_text("not a TIFF file")
    before = names(tmp_path)
    result = run_python(RUN, "build", str(tmp_path), cwd=tmp_path)
    assert result.returncode == 3
    assert len(result.stderr.splitlines()) == 1
    assert names(tmp_path) == before


def test_a_mistyped_name_does_not_wait_for_the_kernels(
    tmp_path: Path, augpipe: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.render.kernels.loading_kernels", None)
    assert augpipe("build", tmp_path / "none").code == 2
    assert augpipe("build", "--images", tmp_path / "none", "--labels", tmp_path).code == 2


def test_all_that_is_printed_arrives(tmp_path: Path, built: Path) -> None:
    """The process ends in the ordinary way: standard output is flushed, and threads and kernels leave quietly."""
    for arguments in (["verify", built, "--replay", "--json", "-"], ["build", *OPTIONS, "--out", "d", "--json", "-"]):
        result = run_python(RUN, *map(str, arguments), cwd=tmp_path)
        assert result.returncode == 0
        assert json.loads(result.stdout)["schema"].startswith("augpipe/")
        assert "Traceback" not in result.stderr


def test_a_finding_is_the_exit_status_of_the_process(tmp_path: Path, dataset: Path) -> None:
    shard = dataset / "test-00000.h5"
    shard.write_bytes(shard.read_bytes()[:-1])
    result = run_python(RUN, "verify", str(dataset), "--quiet", cwd=tmp_path)
    assert (result.returncode, result.stderr) == (1, "")
    assert "test-00000.h5" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ("build --images a", "both --images and --labels"),
        ("build --images a --images b --labels c", "2 --images and 1 --labels"),
        ("bake", "'bake'"),
        ("verify", "'DATASET'"),
        ("verify d --sample s", "--replay"),
        ("phantom", "'OUT'"),
        ("show", "'DATASET'"),
        ("preview", "'DATASET'"),
        ("rebuild d --images a", "--labels"),
        ("rebuild d --source s --images a --labels b", "--source"),
    ],
)
def test_wrong_use_is_told(augpipe: Run, arguments: str, named: str) -> None:
    code, out, err = augpipe(*arguments.split())
    assert (code, out) == (2, "")
    assert named in err


# What a shell may do to a process


def in_shell(line: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a shell's line; `$augpipe` stands for it."""
    start = f"{sys.executable} -c 'from pipeline.cli import run; run()'"
    everything = {**os.environ, **environment, "augpipe": start}
    line = line.replace("$augpipe", start)
    return subprocess.run(["sh", "-c", line], cwd=cwd, env=everything, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("redirection", "code", "words"),
    [
        (">&-", 3, "augpipe: standard output is closed; send it to a file, or to /dev/null\n"),
        ("--json - >&-", 3, "augpipe: standard output is closed; send it to a file, or to /dev/null\n"),
        (">/dev/full", 3, "augpipe: standard output: cannot be written (No space left on device); send it elsewhere\n"),
        (">/dev/null 2>&-", 0, ""),
        (">/dev/null <&-", 0, ""),
        ("--bogus 2>&-", 2, ""),
        ("--bogus 2>/dev/full", 2, ""),
        ("<&- >&- 2>&-", 3, ""),
        ("--help >/dev/full", 3, "augpipe: No space left on device\n"),
    ],
)
def test_a_stream_that_is_closed_or_full_is_no_finding(
    tmp_path: Path, built: Path, redirection: str, code: int, words: str
) -> None:
    result = in_shell(f"$augpipe show {built} {redirection}", tmp_path)
    assert (result.returncode, result.stdout, result.stderr) == (code, "", words)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ("--help", 0),
        ("--version", 0),
        ("show DATASET", 0),
        ("show DATASET --json -", 0),
        ("audit DATASET --manifest-only --gap 1 --json -", 0),
        ("audit DATASET --manifest-only --gap 3", 1),
        ("split-check DATASET/manifest.jsonl --gap 3 --json -", 1),
        ("verify DATASET", 0),
        ("card DATASET --gap 1 --json -", 0),
    ],
)
def test_a_reader_who_leaves_changes_no_status(tmp_path: Path, dataset: Path, arguments: str, code: int) -> None:
    """As `augpipe audit D | head -1` does: its status still tells what was found, and 1 is a finding alone."""
    reader, writer = os.pipe()
    os.close(reader)
    words = arguments.replace("DATASET", str(dataset)).split()
    try:
        command = [sys.executable, "-c", RUN, *words]
        result = subprocess.run(command, cwd=tmp_path, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    finally:
        os.close(writer)
    assert (result.returncode, "Traceback" in result.stderr, "Broken" in result.stderr) == (code, False, False)


def test_nothing_is_printed_into_a_file_that_was_opened_where_a_stream_was_closed(tmp_path: Path) -> None:
    result = in_shell(f"$augpipe build --out d {' '.join(OPTIONS)} <&- 2>&-", tmp_path)
    assert result.returncode == 0
    assert verify_dataset(tmp_path / "d").findings == ()


@pytest.mark.parametrize(
    ("module", "planted", "code", "words"),
    [
        ("click", "os.kill(os.getpid(), signal.SIGINT)", 130, "augpipe: interrupted"),
        ("pipeline.cli.entry", "os.kill(os.getpid(), signal.SIGINT)", 130, "augpipe: interrupted"),
        ("pipeline.shards.dataset", "os.kill(os.getpid(), signal.SIGINT)", 130, "augpipe: interrupted"),
        ("numpy", "raise MemoryError", 3, "augpipe: memory is full; "),
        ("click", "raise OSError(24, os.strerror(24), 'x.py')", 3, "augpipe: x.py: Too many open files"),
        (
            "h5py",
            "raise ImportError('x.so: no space', name='x')",
            3,
            "augpipe: x: cannot be loaded",
        ),
        (
            "pipeline.cli.entry",
            'raise RuntimeError("can\'t start new thread")',
            3,
            "augpipe: the system allows no more",
        ),
    ],
)
def test_what_fails_while_the_command_is_loading_is_one_line(
    tmp_path: Path, built: Path, module: str, planted: str, code: int, words: str
) -> None:
    """As Ctrl-C does in the first tenth of a second, or a limit on open files."""
    lines = f"""
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs the tests may have it ignored
class Planted:
    def find_spec(self, name, *_):
        if name == "{module}":
            {planted}
sys.meta_path.insert(0, Planted())
{RUN}
"""
    result = run_python(lines, "show", str(built), cwd=tmp_path)
    assert (result.returncode, result.stdout) == (code, "")
    assert result.stderr.strip().startswith(words), result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_a_bug_keeps_its_traceback_and_is_no_finding(tmp_path: Path) -> None:
    lines = "import click\ndel click.Command.main\n" + RUN
    result = run_python(lines, "--version", cwd=tmp_path)
    assert result.returncode == 3
    assert result.stderr.startswith("Traceback")
    assert "AttributeError" in result.stderr


@pytest.mark.parametrize("command", ["build --n 4 --size 40 --out", "phantom", "verify", "preview", "show"])
def test_a_link_to_itself_is_one_line(tmp_path: Path, augpipe: Run, command: str) -> None:
    (tmp_path / "loop").symlink_to("loop")
    code, _, err = augpipe(*command.split(), tmp_path / "loop")
    assert code in {2, 3}
    assert "loop" in err.splitlines()[-1]
    assert "Traceback" not in err


@pytest.mark.parametrize("length", [700, 800, 5000])
def test_an_error_is_cut_to_a_length_that_can_be_read(augpipe: Run, length: int) -> None:
    """It keeps where it begins, and what to do at its end."""
    code, _, err = augpipe("show", "x" * length)
    assert code == 3
    assert len(err) <= 800 + len("augpipe: \n")
    assert err.startswith("augpipe: xxx")
    assert ("[...]" in err) == (length > 700)
