"""Fixtures of the pipeline's tests."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from small_worlds import OPTIONS, small_stack, write_folder

from pipeline.cli import main


class Outcome(NamedTuple):
    """What a command left: its exit status and its lines."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A source folder with the small stack; tests only read it."""
    return write_folder(tmp_path_factory.mktemp("source") / "small", *small_stack())


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory, folder: Path) -> Path:
    """The small dataset, built once from the folder; tests only read it."""
    out = tmp_path_factory.mktemp("built") / "dataset"
    assert main(["build", str(folder), "--out", str(out), "--quiet", *OPTIONS]) == 0
    return out


@pytest.fixture
def dataset(tmp_path: Path, built: Path) -> Path:
    """A copy of the small dataset, to be damaged."""
    return Path(shutil.copytree(built, tmp_path / "dataset"))


@pytest.fixture
def augpipe(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Run the command in this process."""

    def run(*arguments: object) -> Outcome:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        return Outcome(code, *capsys.readouterr())

    return run
