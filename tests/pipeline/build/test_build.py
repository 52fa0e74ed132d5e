"""Building: what is there is reused, what another build made is not touched, and failure leaves nothing half done."""

import errno
import os
import re
import shutil
from collections import namedtuple
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_worlds import (
    FILES,
    OPTIONS,
    SHARDS,
    build_small,
    digests,
    flip_bit,
    names,
    read_rows,
    run_python,
    small_config,
    small_source,
)

import pipeline.build.builder
import pipeline.files
from augment.ranges import AugmentRanges
from augment.renderer import render
from pipeline.build.builder import build_dataset, default_out
from pipeline.errors import ConfigError, DamagedError
from pipeline.plan.plan import make_plan
from pipeline.shards import open_dataset
from pipeline.shards.progress import SilentProgress

Usage = namedtuple("Usage", "total used free")  # noqa: PYI024
Run = Callable[..., Any]


def stamps(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in sorted(folder.rglob("*"))}


# What is made


def test_a_build_leaves_the_dataset_and_nothing_else(built: Path) -> None:
    assert names(built.parent) == ["dataset", *(f"dataset/{name}" for name in sorted(FILES))]


def test_samples_are_what_their_recipes_make_of_their_slices(built: Path) -> None:
    stack = small_source().stacks[0]
    for split in ("train", "test"):
        samples = open_dataset(built)[split]
        for sample, row in zip(samples, samples.manifest, strict=True):
            image, label = render(stack.images[row.z], stack.labels[row.z], row.recipe)
            assert np.array_equal(sample.image, image)
            assert np.array_equal(sample.label, label)
            assert row.source_sha256 == stack.slice_sha256[row.z]


def test_no_train_sample_is_from_a_slice_near_a_test_slice(built: Path) -> None:
    train, test = ({row["z"] for row in read_rows(built) if row["split"] == name} for name in ("train", "test"))
    assert (train, test) == (set(range(8)), {9, 10, 11})


def test_a_larger_dataset_begins_with_the_smaller_one(tmp_path: Path) -> None:
    """So that 300 samples can become 600 without a word on what changed."""
    few, many = (open_dataset(build_small(tmp_path / str(n), n=n).out) for n in (12, 24))
    for name in few.splits:
        first, more = few[name], many[name]
        n = len(first)
        assert len(more) == 2 * n
        assert first.ids == more.ids[:n]
        assert first.recipes == more.recipes[:n]
        assert np.array_equal(first.images[:], more.images[:n])
        assert np.array_equal(first.labels[:], more.labels[:n])


def test_another_seed_is_another_dataset(tmp_path: Path) -> None:
    data = [open_dataset(build_small(tmp_path / str(seed), seed=seed).out) for seed in (0, 1)]
    assert data[0]["train"].ids == data[1]["train"].ids
    assert not np.array_equal(data[0]["train"].images[:], data[1]["train"].images[:])


def test_the_result_says_what_was_done(tmp_path: Path) -> None:
    result = build_small(tmp_path / "d")
    assert (result.outcome, result.n_rendered, result.out) == ("built", 12, tmp_path / "d")
    assert result.dataset is not None
    assert result.n_bytes == sum((tmp_path / "d" / shard).stat().st_size for shard in SHARDS)


def test_without_a_name_it_goes_to_datasets() -> None:
    assert default_out(make_plan(small_source(), small_config(seed=3))) == Path("datasets/small-n12-seed3")


# What is there already


def test_the_same_dataset_is_reused(tmp_path: Path) -> None:
    build_small(tmp_path / "d")
    before = stamps(tmp_path / "d")
    result = build_small(tmp_path / "d")
    assert (result.outcome, result.n_rendered) == ("reused", 0)
    assert stamps(tmp_path / "d") == before
    assert [path.name for path in tmp_path.iterdir()] == ["d"]


def test_another_dataset_is_not_touched(tmp_path: Path) -> None:
    build_small(tmp_path / "d", seed=1)
    before = stamps(tmp_path / "d")
    with pytest.raises(ConfigError, match=r"holds another dataset .* choose another --out, or --overwrite it"):
        build_small(tmp_path / "d")
    assert stamps(tmp_path / "d") == before
    assert [path.name for path in tmp_path.iterdir()] == ["d"]


def test_another_dataset_is_replaced_on_request(tmp_path: Path, built: Path) -> None:
    build_small(tmp_path / "d", seed=1)
    build_dataset(small_source(), small_config(), out=tmp_path / "d", overwrite=True)
    assert digests(tmp_path / "d") == digests(built)
    assert [path.name for path in tmp_path.iterdir()] == ["d"]


def test_nothing_is_replaced_by_itself(tmp_path: Path) -> None:
    build_small(tmp_path / "d")
    before = stamps(tmp_path / "d")
    assert build_dataset(small_source(), small_config(), out=tmp_path / "d", overwrite=True).outcome == "reused"
    assert stamps(tmp_path / "d") == before


def test_a_damaged_dataset_is_built_again_on_request(tmp_path: Path, built: Path) -> None:
    build_small(tmp_path / "d")
    flip_bit(tmp_path / "d" / SHARDS[0], 5000)
    result = build_dataset(small_source(), small_config(), out=tmp_path / "d", overwrite=True)
    assert (result.outcome, result.n_rendered) == ("built", 12)
    assert digests(tmp_path / "d") == digests(built)


def test_a_damaged_dataset_is_not_reused(tmp_path: Path) -> None:
    build_small(tmp_path / "d")
    flip_bit(tmp_path / "d" / SHARDS[1], 5000)
    before = stamps(tmp_path / "d")
    with pytest.raises(DamagedError, match=r"train-00001\.h5: .*; build it again with --overwrite"):
        build_small(tmp_path / "d")
    assert stamps(tmp_path / "d") == before


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("content", ["a file", "a folder", "a record of something else", "a cut record"])
def test_what_is_no_dataset_is_never_touched(tmp_path: Path, content: str, overwrite: bool) -> None:
    out = tmp_path / "d"
    if content == "a file":
        out.write_text("precious")
    else:
        out.mkdir()
        name, text = {
            "a folder": ("precious.txt", "precious"),
            "a record of something else": ("dataset.json", '{"name": "precious"}'),
            "a cut record": ("dataset.json", '{"name": '),
        }[content]
        (out / name).write_text(text)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(ConfigError, match="is not a dataset of augpipe, so it will not be touched"):
        build_dataset(small_source(), small_config(), out=out, overwrite=overwrite)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_recipe_that_cannot_be_rendered_leaves_nothing(tmp_path: Path) -> None:
    """A mistyped sigma is only found by the kernel; what it started must not lie about."""
    ranges = AugmentRanges(sigma_px=1e7)
    with pytest.raises(ConfigError, match="use a smaller window, shift or sigma"):
        build_dataset(small_source(), small_config(ranges=ranges), out=tmp_path / "d", jobs=1)
    assert names(tmp_path) == []


# Interrupted


def interrupt_at(monkeypatch: pytest.MonkeyPatch, sample: int) -> None:
    left = iter(range(sample, 0, -1))

    def interrupted(self: SilentProgress) -> None:
        del self
        if next(left, None) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(SilentProgress, "advance", interrupted)


@pytest.mark.parametrize("sample", [1, 4, 5, 12])
@pytest.mark.parametrize("jobs", [1, 2])
def test_ctrl_c_exits_130_and_the_next_run_continues(
    tmp_path: Path, folder: Path, built: Path, augpipe: Run, monkeypatch: pytest.MonkeyPatch, sample: int, jobs: int
) -> None:
    command = ("build", folder, "--out", tmp_path / "d", *OPTIONS, "--quiet", "--jobs", jobs)
    with monkeypatch.context() as patch:
        interrupt_at(patch, sample)
        code, out, err = augpipe(*command)
    assert code == 130
    assert out == ""
    assert err.strip() == "augpipe: interrupted; the same command continues where it stopped"
    assert [path.name for path in tmp_path.iterdir()] == (["d.partial"] if sample > 4 else [])  # a shard holds 4
    assert augpipe(*command).code == 0
    assert digests(tmp_path / "d") == digests(built)
    assert [path.name for path in tmp_path.iterdir()] == ["d"]


def test_a_real_sigint_exits_130(tmp_path: Path, folder: Path, built: Path, augpipe: Run) -> None:
    code = """
import os, signal, sys
import pipeline.build.workspace
from pipeline.cli import run
signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs the tests may have it ignored
finish = pipeline.build.workspace.Workspace.finish_shard
def finish_and_interrupt(*arguments):
    finish(*arguments)
    os.kill(os.getpid(), signal.SIGINT)
pipeline.build.workspace.Workspace.finish_shard = finish_and_interrupt
run()
"""
    command = ("build", str(folder), "--out", str(tmp_path / "d"), *OPTIONS)
    result = run_python(code, *command, cwd=tmp_path)
    assert result.returncode == 130, result.stderr
    assert "Traceback" not in result.stderr
    assert result.stderr.strip().splitlines()[-1].startswith("augpipe: interrupted")
    assert augpipe(*command).code == 0
    assert digests(tmp_path / "d") == digests(built)


# Full disk


def full_disk(monkeypatch: pytest.MonkeyPatch, after: int, error: int = errno.ENOSPC) -> None:
    """Let so many files reach the disk, and no more."""
    left, fsync = iter(range(after)), os.fsync

    def fail(descriptor: int) -> None:
        if next(left, None) is None:
            raise OSError(error, os.strerror(error))
        fsync(descriptor)

    monkeypatch.setattr(pipeline.files.os, "fsync", fail)


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("after", range(0, 26, 2))
def test_a_full_disk_is_one_line_and_the_next_run_completes(
    tmp_path: Path,
    folder: Path,
    built: Path,
    augpipe: Run,
    monkeypatch: pytest.MonkeyPatch,
    after: int,
    error: int,
) -> None:
    command = ("build", folder, "--out", tmp_path / "d", *OPTIONS, "--quiet")
    with monkeypatch.context() as patch:
        full_disk(patch, after, error)
        code, out, err = augpipe(*command)
    assert (code, out) == (3, "")
    assert len(err.splitlines()) == 1
    assert "the disk is full" in err or "No space left" in err or "Disk quota exceeded" in err
    assert not [name for name in names(tmp_path) if name.endswith((".tmp", ".lock"))]
    assert augpipe(*command).code == 0
    assert digests(tmp_path / "d") == digests(built)
    assert [path.name for path in tmp_path.iterdir()] == ["d"]


def test_a_full_disk_names_what_is_needed(
    tmp_path: Path, augpipe: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full_disk(monkeypatch, after=2)  # the mark and its folder
    err = augpipe("build", folder, "--out", tmp_path / "d", *OPTIONS, "--size", "512", "--quiet").err
    assert re.search(r"train-00000\.h5: the disk is full; 1\.\d MB are needed there\. Free some", err)


def test_a_full_disk_leaves_the_dataset_that_was_there(
    tmp_path: Path, folder: Path, augpipe: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_small(tmp_path / "d", seed=1)
    before = digests(tmp_path / "d")
    with monkeypatch.context() as patch:
        full_disk(patch, after=7)
        assert augpipe("build", folder, "--out", tmp_path / "d", *OPTIONS, "--overwrite").code == 3
    assert digests(tmp_path / "d") == before


def test_too_small_a_disk_is_found_before_the_work(
    tmp_path: Path, folder: Path, augpipe: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ("build", folder, "--out", tmp_path / "d", *OPTIONS, "--size", "700", "--quiet")
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: Usage(10**7, 10**7 - 2_000_000, 2_000_000))
        code, out, err = augpipe(*command)
    assert (code, out) == (3, "")
    assert "about 6 MB are needed and 2 MB are free; free some space and run the same command again" in err
    assert len(err.splitlines()) == 1
    assert not list(tmp_path.rglob("*.h5"))
    assert augpipe(*command).code == 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real disk of 4 MB."""
    import subprocess

    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = os.geteuid() == 0 and shutil.which("mount") is not None
    if mounted:
        command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)]
        mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    if not mounted:
        pytest.skip("a small disk can only be mounted by root")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.slow
def test_a_disk_that_is_really_full_is_survived(
    small_disk: Path, folder: Path, augpipe: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ("build", folder, "--out", small_disk / "d", *OPTIONS, "--size", "512", "--quiet")
    (small_disk / "other").write_bytes(bytes(2_000_000))
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: Usage(10**9, 0, 10**9))  # another program takes the space
        code, _, err = augpipe(*command)
    assert code == 3
    assert re.search(r"the disk is full; 1\.\d MB are needed there", err)
    (small_disk / "other").unlink()
    assert augpipe(*command).code == 0
    assert augpipe("verify", small_disk / "d", "--replay").code == 0


# Foreseen


def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    result = build_dataset(small_source(), small_config(), out=tmp_path / "a" / "d", dry_run=True)
    assert (result.outcome, result.dataset, result.n_rendered) == ("would build", None, 0)
    assert 12 * 40 * 36 < result.n_bytes < 12 * 40 * 36 * 1.3
    assert names(tmp_path) == []


def test_a_dry_run_knows_what_is_there(tmp_path: Path) -> None:
    build_small(tmp_path / "d")
    before = stamps(tmp_path)

    def foresee(**changes: Any) -> Any:
        overwrite = changes.pop("overwrite", False)
        config = small_config(**changes)
        return build_dataset(small_source(), config, out=tmp_path / "d", dry_run=True, overwrite=overwrite)

    assert foresee().outcome == "would reuse"
    assert foresee(overwrite=True).outcome == "would reuse"
    replaced = foresee(seed=1, overwrite=True)
    assert (replaced.outcome, replaced.reason) == ("would build", "it would replace another dataset")
    with pytest.raises(ConfigError, match="holds another dataset"):
        foresee(seed=1)
    assert stamps(tmp_path) == before


def test_a_dry_run_sees_an_unfinished_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt_at(monkeypatch, 5)
    with pytest.raises(KeyboardInterrupt):
        build_small(tmp_path / "d")
    for seed, word in ((0, "would be continued"), (1, "would be discarded")):
        config = small_config(seed=seed)
        result = build_dataset(small_source(), config, out=tmp_path / "d", dry_run=True)
        assert word in result.reason


# The real stack

ISBI = Path(__file__).parents[4] / "shared" / "data" / "isbi2012"


@pytest.mark.isbi
@pytest.mark.skipif(not ISBI.is_dir(), reason="../shared/data/isbi2012 is not there")
def test_the_real_stack_is_known_and_replayed(tmp_path: Path, augpipe: Run) -> None:
    assert augpipe("build", ISBI, "--n", 8, "--out", tmp_path / "d", "--name", "mine").code == 0
    data = open_dataset(tmp_path / "d")
    assert data.name == "isbi2012"
    assert data.record.source.voxel_size_nm == (50.0, 4.0, 4.0)
    assert {name: len(data[name]) for name in data.splits} == {"train": 6, "test": 2}
    code, out, _ = augpipe("verify", tmp_path / "d", "--replay")
    assert code == 0
    assert "8 samples in 2 shards, 8 rendered again: every digest holds" in out
