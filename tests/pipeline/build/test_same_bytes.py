"""The same seed gives the same bytes: whatever the threads, the place, the clock, the locale and the CPU."""

import os
import sys
from pathlib import Path
from typing import Any

import pytest
from small_worlds import OPTIONS, digests, run_python, small_config, small_source, write_folder

from pipeline.build.builder import build_dataset
from pipeline.source.phantom import make_phantom

RUN = "from pipeline.cli import run\nrun()"


@pytest.mark.parametrize("jobs", [1, 2, 4, -1])
def test_any_number_of_threads(tmp_path: Path, built: Path, jobs: int) -> None:
    build_dataset(small_source(), small_config(), out=tmp_path / "d", jobs=jobs)
    assert digests(tmp_path / "d") == digests(built)


def test_any_number_of_threads_with_many_samples(tmp_path: Path) -> None:
    """Enough for the threads to overtake each other."""
    for jobs in (1, 4):
        build_dataset(small_source(), small_config(n=120, shard_size=25), out=tmp_path / str(jobs), jobs=jobs)
    assert digests(tmp_path / "1") == digests(tmp_path / "4")


def test_a_dataset_does_not_say_where_or_when_it_was_made(built: Path, folder: Path) -> None:
    for path in built.iterdir():
        if path.name != "build-info.json":
            data = path.read_bytes()
            for trace in (str(folder.parent), str(built.parent), os.fsdecode(sys.executable), sys.version.split()[0]):
                assert trace.encode() not in data, (path.name, trace)


@pytest.mark.slow
@pytest.mark.parametrize(
    "environment",
    [
        {"TZ": "Pacific/Kiritimati", "LC_ALL": "C", "LANG": "C"},
        {"LC_ALL": "C.UTF-8", "PYTHONHASHSEED": "7", "OMP_NUM_THREADS": "1"},
        {"PYTHONUTF8": "1", "PYTHONOPTIMIZE": "1", "COLUMNS": "20"},
        {"NUMBA_CPU_NAME": "generic"},
    ],
    ids=lambda environment: " ".join(f"{name}={value}" for name, value in environment.items()),
)
def test_any_process(tmp_path: Path, folder: Path, built: Path, environment: dict[str, str]) -> None:
    """Another folder to work in, another one to write to, another clock, locale and CPU."""
    if "NUMBA_CPU_NAME" in environment:
        environment = {**environment, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    place = tmp_path / "some where" / "else"
    place.mkdir(parents=True)
    relative = os.path.relpath(folder, place)
    result = run_python(RUN, "build", relative, "--out", "a b/d", *OPTIONS, cwd=place, **environment)
    assert result.returncode == 0, result.stderr
    assert digests(place / "a b" / "d") == digests(built)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_any_cpu_for_every_dtype(tmp_path: Path, dtype: str) -> None:
    """The kernel is compiled anew for each dtype, so each could differ from CPU to CPU."""
    images, labels = make_phantom((8, 96, 100), seed=2)
    folder = write_folder(tmp_path / "small", images.astype(dtype) * 3, labels)
    options: tuple[Any, ...] = (
        *OPTIONS, "--size", "90", "--zoom", "0.7", "1.4", "--flip", "--extent", "padded", "--grid", "5",
    )  # fmt: skip
    found = []
    for cpu in ("host", "generic"):
        environment = {"NUMBA_CPU_NAME": cpu, "NUMBA_CACHE_DIR": str(tmp_path / "cache")} if cpu == "generic" else {}
        result = run_python(RUN, "build", str(folder), "--out", cpu + "-d", *options, cwd=tmp_path, **environment)
        assert result.returncode == 0, result.stderr
        found.append(digests(tmp_path / f"{cpu}-d"))
    assert found[0] == found[1]


@pytest.mark.slow
def test_the_phantom_is_the_same_on_any_cpu(tmp_path: Path) -> None:
    code = """
import hashlib
from pipeline.source.phantom import make_phantom
print(*(hashlib.sha256(stack.tobytes()).hexdigest() for stack in make_phantom((3, 200, 200), seed=1)))
"""
    found = [
        run_python(code, cwd=tmp_path, **environment).stdout
        for environment in ({}, {"NUMBA_CPU_NAME": "generic", "NUMBA_CACHE_DIR": str(tmp_path / "cache")})
    ]
    assert found[0] == found[1] != ""
