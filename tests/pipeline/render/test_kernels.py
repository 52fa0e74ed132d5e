"""A build loads its kernels beforehand, and says so when they have to be compiled first."""

import gc
import os
from pathlib import Path

import pytest
from small_worlds import OPTIONS, run_python

from pipeline.render.kernels import load_kernels_in_background
from pipeline.shards.progress import SilentProgress

NOTE = "compiling the kernels, once"


class Notes(SilentProgress):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, line: str) -> None:
        self.lines.append(line)


@pytest.mark.parametrize("kept", [True, False])
def test_loading_tells_only_of_what_is_compiled_and_leaves_garbage_collection_on(
    kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("augment.native.Kernel.is_kept", lambda *_: kept)
    progress = Notes()
    load_kernels_in_background(progress, then=lambda: None).join()
    assert [line.split()[0] for line in progress.lines] == ([] if kept else ["compiling", "compiled"])
    assert kept or progress.lines[0].startswith(NOTE)
    assert gc.isenabled()


@pytest.mark.slow
def test_the_first_build_says_that_it_compiles_and_the_next_has_nothing_to_say(tmp_path: Path, folder: Path) -> None:
    for out, cache, quiet, told in (("a", "1", (), 1), ("b", "1", (), 0), ("c", "2", ("--quiet",), 0)):
        arguments = ("build", os.path.relpath(folder, tmp_path), "--out", out, *OPTIONS, *quiet)
        done = run_python(
            "from pipeline.cli import run\nrun()", *arguments, cwd=tmp_path, NUMBA_CACHE_DIR=str(tmp_path / cache)
        )
        assert done.returncode == 0, done.stderr
        assert done.stderr.count(NOTE) == told
        assert NOTE not in done.stdout
