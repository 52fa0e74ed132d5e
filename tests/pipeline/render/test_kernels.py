"""A build loads its kernels beforehand, and says so when they have to be compiled first."""

import gc
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_worlds import OPTIONS, run_python

from augment import native, renderer
from augment.native import Kernel
from augment.ranges import AugmentRanges
from pipeline.errors import SourceError
from pipeline.render.kernels import loading_kernels
from pipeline.shards.config import BuildConfig
from pipeline.shards.progress import SilentProgress
from pipeline.source.combining import make_source
from pipeline.source.phantom import make_phantom
from pipeline.source.stacks import Source

NOTE = "compiling the kernels, once"


class Notes(SilentProgress):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, line: str) -> None:
        self.lines.append(line)


@pytest.fixture
def source() -> Source:
    return make_source(*make_phantom((4, 32, 32)), name="small")


@pytest.mark.parametrize("kept", [True, False])
def test_loading_tells_only_of_what_is_compiled_and_leaves_garbage_collection_on(
    kept: bool, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kept:
        renderer.load_kernels(np.dtype("uint8"), np.dtype("uint8"))
    else:
        monkeypatch.setattr(renderer, "_resample", Kernel("augment.kernel", "resample"))
        monkeypatch.setattr(Kernel, "_find", lambda *_: None)
    progress = Notes()
    with loading_kernels(progress, then=lambda: None) as load_rest:
        load_rest(source, BuildConfig())
    assert [line.split()[0] for line in progress.lines] == ([] if kept else ["compiling", "compiled"])
    assert kept or progress.lines[0].startswith(NOTE)
    assert gc.isenabled()
    assert native.told_of_compiling == []


def test_all_that_a_build_needs_is_compiled_before_it_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its labels may be ids of 16 bits, and weighted: neither is among what is loaded before the source is known."""
    called: list[tuple[Any, ...]] = []
    monkeypatch.setattr(renderer, "load_kernels", lambda *what: called.append(what))
    monkeypatch.setattr("augment.weight_map.unet_weight_map", lambda *_: called.append(("weights",)))
    ids = make_source(*make_phantom((4, 32, 32)), name="small", label_kind="instances")
    with loading_kernels(Notes(), then=lambda: None) as load_rest:
        ranges = AugmentRanges(noise=(2.0, 2.0), probability={"noise": 0.01})
        load_rest(ids, BuildConfig(weights="unet2015", margin="own", ranges=ranges))
    (*of_all, operations), weights = called[1:]
    assert called[0] == (np.uint8, np.uint8)
    assert (of_all, weights) == ([np.uint8, np.uint16, "own", ()], ("weights",))
    assert operations["noise"].sigma == (2.0,)


def test_who_gives_up_meanwhile_is_told_nothing_later() -> None:
    with pytest.raises(SourceError, match="damaged"), loading_kernels(Notes(), then=lambda: None):
        raise SourceError("damaged")
    assert native.told_of_compiling == []


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
