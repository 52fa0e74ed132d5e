"""A build loads its kernels beforehand, and says so when they have to be compiled first."""

import gc
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from small_worlds import OPTIONS, run_python

from augment import kernel
from pipeline.render.kernels import _is_compiled, load_kernels_in_background
from pipeline.shards.progress import SilentProgress

NOTE = "compiling the kernels, once"


class Notes(SilentProgress):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, line: str) -> None:
        self.lines.append(line)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in the place of numba's cache."""
    monkeypatch.setattr(kernel, "resample", SimpleNamespace(stats=SimpleNamespace(cache_path=str(tmp_path))))
    return tmp_path


@pytest.mark.parametrize(("age_s", "compiled"), [(-1.0, True), (0.0, True), (1.0, False)])
def test_a_kernel_that_is_older_than_its_source_has_to_be_compiled_again(
    cache: Path, age_s: float, compiled: bool
) -> None:
    assert not _is_compiled()
    index = cache / "kernel.resample-254.py311.nbi"
    index.touch()
    written = Path(kernel.__file__).stat().st_mtime
    os.utime(index, (written - age_s, written - age_s))
    assert _is_compiled() == compiled


def test_a_cache_that_is_not_there_holds_nothing(cache: Path) -> None:
    cache.rmdir()
    assert not _is_compiled()


def test_loading_tells_only_of_what_is_compiled_and_leaves_garbage_collection_on(cache: Path) -> None:
    progress = Notes()
    load_kernels_in_background(progress, then=lambda: None).join()
    assert [line.split()[0] for line in progress.lines] == ["compiling", "compiled"]
    assert progress.lines[0].startswith(NOTE)
    next_time = Notes()
    (cache / "kernel.resample-254.py311.nbi").touch()
    load_kernels_in_background(next_time, then=lambda: None).join()
    assert next_time.lines == []
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
