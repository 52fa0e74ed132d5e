"""The command as a process: how it starts, what its exit status means, and that it ends without a trace."""

import json
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_worlds import OPTIONS, names, run_python

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
    monkeypatch.setattr("pipeline.render.kernels.load_kernels_in_background", None)
    assert augpipe("build", tmp_path / "none").code == 2
    assert augpipe("build", "--images", tmp_path / "none", "--labels", tmp_path).code == 2


def test_all_that_is_printed_arrives(tmp_path: Path, built: Path) -> None:
    """The process ends in the ordinary way: standard output is flushed, and threads and kernels leave quietly."""
    for arguments in (["verify", built, "--replay", "--json", "-"], ["build", *OPTIONS, "--out", "d", "--json", "-"]):
        result = run_python(RUN, *map(str, arguments), cwd=tmp_path)
        assert result.returncode == 0
        assert json.loads(result.stdout)["schema"].startswith("augpipe/")
        assert "Traceback" not in result.stderr


def test_a_reader_that_has_gone_is_no_error(built: Path) -> None:
    """`augpipe show DATASET | head -1` ends without a traceback."""
    command = [sys.executable, "-c", RUN, "show", str(built)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 1


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
