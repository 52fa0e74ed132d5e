"""Whenever a build dies, the next run gives the same bytes, and a finished dataset is never lost."""

import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from small_worlds import FILES, OPTIONS, SHARDS, build_small, digests, flip_bit, names, small_config, small_source

from pipeline.build.builder import build_dataset
from pipeline.build.workspace import Workspace
from pipeline.errors import ConfigError, StorageError
from pipeline.files import replaced_name
from pipeline.shards.progress import SilentProgress
from pipeline.verify.verification import verify_dataset


class Driver:
    """A process that runs builds and kills them where it is told."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("kill_driver.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: object, step: int | None = None) -> dict[str, Any]:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps({"arguments": list(map(str, arguments)), "step": step}) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def close(self) -> None:
        self._process.communicate()


@pytest.fixture(scope="module")
def driver() -> Iterator[Driver]:
    driver = Driver()
    yield driver
    driver.close()


class Notes(SilentProgress):
    """Remembers what a build told."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.kept = 0
        self.rendered = 0

    def start(self, what: str, total: int, *, unit: str = "samples", done: int = 0) -> None:
        del what, total, unit
        self.kept = done

    def advance(self) -> None:
        self.rendered += 1

    def note(self, line: str) -> None:
        self.notes.append(line)


def build_noted(out: Path, **changes: Any) -> Notes:
    notes = Notes()
    build_dataset(small_source(), small_config(**changes), out=out, jobs=1, progress=notes)
    return notes


def interrupt(out: Path, after: int, **changes: Any) -> None:
    """Leave the partial folder of a build that was interrupted after so many samples."""

    class Impatient(SilentProgress):
        left = after

        def advance(self) -> None:
            self.left -= 1
            if not self.left:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_dataset(small_source(), small_config(**changes), out=out, jobs=1, progress=Impatient())


# Killed at every step


def test_a_build_killed_at_any_step_is_finished_by_the_next_run(
    tmp_path: Path, folder: Path, built: Path, driver: Driver
) -> None:
    """Killed before its first step towards the disk, before its second, and so on up to its last."""
    expected, step, killed = digests(built), 0, True
    while killed:
        place = tmp_path / str(step)
        command = ("build", folder, "--out", place / "d", *OPTIONS)
        killed = driver.run(*command, step=step)["killed"]
        if killed and (place / "d").exists():
            assert digests(place / "d") == expected
        again = driver.run(*command)
        assert again["code"] == 0, (step, again["lines"])
        assert digests(place / "d") == expected, step
        assert names(place) == ["d", *(f"d/{name}" for name in sorted(FILES))], step
        step += 1
    assert step > 30


def test_a_build_killed_again_and_again_gives_the_same_bytes(
    tmp_path: Path, folder: Path, built: Path, driver: Driver
) -> None:
    """Every run gets seven steps further than the one before."""
    command = ("build", folder, "--out", tmp_path / "d", *OPTIONS)
    runs = [driver.run(*command, step=step) for step in range(7, 70, 7)]
    assert sum(run["killed"] for run in runs) >= 3
    assert driver.run(*command)["code"] == 0
    assert digests(tmp_path / "d") == digests(built)
    assert names(tmp_path) == ["d", *(f"d/{name}" for name in sorted(FILES))]


def test_replacing_a_dataset_killed_at_any_step_loses_neither(
    tmp_path: Path, folder: Path, built: Path, driver: Driver
) -> None:
    """At every moment the old or the new dataset is there, whole; the next run ends with the new one."""
    new, step, killed = digests(built), 0, True
    build_small(tmp_path / "old" / "d", seed=1)
    old = digests(tmp_path / "old" / "d")
    command: tuple[object, ...] = ()
    while killed:
        place = tmp_path / str(step)
        command = ("build", folder, "--out", place / "d", "--overwrite", *OPTIONS)
        subprocess.run(["cp", "-r", tmp_path / "old", place], check=True)
        killed = driver.run(*command, step=step)["killed"]
        whole = [digests(path) for path in sorted(place.iterdir()) if (path / "dataset.json").exists()]
        assert old in whole or new in whole, (step, names(place))
        again = driver.run(*command)
        assert again["code"] == 0, (step, again["lines"])
        assert digests(place / "d") == new, step
        assert names(place) == ["d", *(f"d/{name}" for name in sorted(FILES))], step
        step += 1
    assert step > 30


@pytest.mark.parametrize("wanted", ["old", "new"])
def test_a_kill_between_the_two_renames_is_repaired_by_any_run(tmp_path: Path, wanted: str) -> None:
    """The old dataset is aside, the new one has no name yet: whichever is asked for next, none is lost."""
    workspace = Workspace(tmp_path / "d")
    build_small(tmp_path / "new")
    build_small(tmp_path / "old", seed=1)
    expected = digests(tmp_path / "new")
    (tmp_path / "old").rename(replaced_name(workspace.out))
    (tmp_path / "new").rename(workspace.partial)
    if wanted == "new":
        assert build_small(tmp_path / "d").outcome == "reused"
    else:
        with pytest.raises(ConfigError, match="holds another dataset"):
            build_small(tmp_path / "d", seed=1)
    assert digests(tmp_path / "d") == expected
    assert [path.name for path in tmp_path.iterdir()] == ["d"]


def test_a_replacement_that_never_came_is_taken_back(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "d")
    build_small(tmp_path / "d")
    expected = digests(tmp_path / "d")
    (tmp_path / "d").rename(replaced_name(workspace.out))
    assert build_small(tmp_path / "d").outcome == "reused"
    assert digests(tmp_path / "d") == expected


# Continuing


def test_finished_shards_are_kept(tmp_path: Path, built: Path) -> None:
    interrupt(tmp_path / "d", after=9)
    notes = build_noted(tmp_path / "d")
    assert (notes.kept, notes.rendered) == (8, 4)
    assert notes.notes == []
    assert digests(tmp_path / "d") == digests(built)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: flip_bit(path, 5000),
        lambda path: os.truncate(path, 100),
        lambda path: path.unlink(),
        lambda path: path.write_bytes(b""),
    ],
)
def test_a_damaged_shard_is_rendered_again(tmp_path: Path, built: Path, damage: Any) -> None:
    interrupt(tmp_path / "d", after=9)
    damage(tmp_path / "d.partial" / "train-00000.h5")
    notes = build_noted(tmp_path / "d")
    assert (notes.kept, notes.rendered) == (4, 8)
    assert digests(tmp_path / "d") == digests(built)


def note_of(out: Path) -> Path:
    return out.with_name("d.partial") / ".progress" / "train-00000.h5.jsonl"


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data.replace(b'"angle_deg":', b'"angle_deg":1', 1),
        lambda data: data[: len(data) // 2],
        lambda data: b"".join(data.splitlines(keepends=True)[:-1]),
        lambda data: data.splitlines(keepends=True)[0],
        lambda data: data.replace(b'"n":4', b'"n":5', 1),
        lambda data: data.replace(b'"split":"train"', b'"split":"test"', 1),
        lambda data: data.replace(b"train-00000.h5", b"train-00001.h5", 1),
        lambda _: b"",
        lambda _: b"[]\n",
        lambda _: b"\xff\n",
    ],
)
def test_a_damaged_note_of_a_finished_shard_is_not_believed(tmp_path: Path, built: Path, damage: Any) -> None:
    """The note holds the manifest's rows: half of them, or a wrong recipe, must not get into the dataset."""
    interrupt(tmp_path / "d", after=9)
    path = note_of(tmp_path / "d")
    assert damage(path.read_bytes()) != path.read_bytes()
    path.write_bytes(damage(path.read_bytes()))
    build_small(tmp_path / "d")
    assert digests(tmp_path / "d") == digests(built)


def test_the_start_of_another_dataset_is_discarded_with_one_note(tmp_path: Path, built: Path) -> None:
    interrupt(tmp_path / "d", after=9, seed=1)
    notes = build_noted(tmp_path / "d")
    assert notes.kept == 0
    assert len(notes.notes) == 1
    assert "discarded, it was the start of another dataset" in notes.notes[0]
    assert digests(tmp_path / "d") == digests(built)


def test_a_folder_that_only_looks_like_a_partial_build_is_not_removed(tmp_path: Path) -> None:
    """Someone's own folder may be called d.partial."""
    precious = tmp_path / "d.partial" / "thesis.txt"
    precious.parent.mkdir()
    precious.write_text("years of work")
    with contextlib.suppress(ConfigError, StorageError):
        build_small(tmp_path / "d")
    assert precious.exists() or (tmp_path / "d" / "thesis.txt").exists()


def test_a_refusal_removes_no_folder_of_others(tmp_path: Path) -> None:
    """The build is refused for another reason; what else lies there is none of its business."""
    build_small(tmp_path / "d", seed=1)
    precious = tmp_path / "d.partial" / "thesis.txt"
    precious.parent.mkdir()
    precious.write_text("years of work")
    with pytest.raises(ConfigError):
        build_small(tmp_path / "d")
    assert precious.exists()


@pytest.mark.parametrize("mark", [b"", b"{", b"[]", b'{"fingerprint":1}', b"\xff"])
def test_a_damaged_mark_is_refused_or_starts_the_build_afresh(tmp_path: Path, built: Path, mark: bytes) -> None:
    """No kill leaves one; either way nothing of unknown origin gets into the dataset."""
    interrupt(tmp_path / "d", after=9)
    (tmp_path / "d.partial" / ".progress" / "build.json").write_bytes(mark)
    before = names(tmp_path)
    try:
        build_small(tmp_path / "d")
    except ConfigError:
        assert names(tmp_path) == before
    else:
        assert digests(tmp_path / "d") == digests(built)


# One writer


def test_a_second_writer_is_refused_and_disturbs_nothing(tmp_path: Path) -> None:
    interrupt(tmp_path / "d", after=9)
    before = digests(tmp_path)
    with (tmp_path / ".d.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(StorageError, match="another augpipe is writing this dataset"):
            build_small(tmp_path / "d")
        (tmp_path / ".d.lock").unlink()
    assert digests(tmp_path) == before


def test_two_builds_exclude_each_other(tmp_path: Path) -> None:
    with Workspace(tmp_path / "d").locked(), pytest.raises(StorageError, match="another augpipe"):
        build_small(tmp_path / "d")
    assert build_small(tmp_path / "d").outcome == "built"


def test_a_lock_left_by_a_dead_writer_holds_nobody_up(tmp_path: Path) -> None:
    (tmp_path / ".d.lock").write_text("")
    assert build_small(tmp_path / "d").outcome == "built"
    assert not (tmp_path / ".d.lock").exists()


def test_builds_of_other_datasets_do_not_wait(tmp_path: Path) -> None:
    with Workspace(tmp_path / "e").locked():
        assert build_small(tmp_path / "d").outcome == "built"


def test_the_lock_is_given_back_after_a_failure(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "d")
    for _ in range(2):
        with pytest.raises(KeyError), workspace.locked():
            raise KeyError
    assert names(tmp_path) == []


# What is there already


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    assert build_small(tmp_path / "d").outcome == "built"
    assert names(tmp_path / "d") == sorted(FILES)[:0] + sorted(path.name for path in (tmp_path / "d").iterdir())


def test_a_link_to_an_empty_folder_is_not_a_reason_to_fail_after_the_work(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "d").symlink_to("elsewhere")
    try:
        build_small(tmp_path / "d")
    except (ConfigError, StorageError):
        assert names(tmp_path) == ["d", "elsewhere"]
    else:
        assert not verify_dataset(tmp_path / "d").findings


def test_a_dataset_behind_a_link_can_be_replaced(tmp_path: Path) -> None:
    build_small(tmp_path / "elsewhere", seed=1)
    (tmp_path / "d").symlink_to("elsewhere")
    result = build_dataset(small_source(), small_config(), out=tmp_path / "d", jobs=1, overwrite=True)
    assert result.outcome == "built"
    assert not verify_dataset(tmp_path / "d").findings
    assert [name for name in names(tmp_path) if name.startswith(".")] == []


def test_a_read_only_dataset_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused before anything is rendered, and nothing is left that would be in the way later."""
    build_small(tmp_path / "d", seed=1)
    before = digests(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr("pipeline.files.os.access", lambda *_, **__: False)
        with pytest.raises(StorageError, match="d: is read-only"):
            build_dataset(small_source(), small_config(), out=tmp_path / "d", jobs=1, overwrite=True)
    assert digests(tmp_path) == before
    assert build_dataset(small_source(), small_config(), out=tmp_path / "d", jobs=1, overwrite=True).outcome == "built"


def test_a_dataset_that_cannot_be_removed_is_told_and_blocks_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_small(tmp_path / "d", seed=1)
    remove = shutil.rmtree

    def fail(path: Path, **options: Any) -> None:
        if ".replaced" not in path.name:
            remove(path, **options)

    monkeypatch.setattr("pipeline.files.shutil.rmtree", fail)
    notes = Notes()
    for seed in (2, 3, 3):
        config = small_config(seed=seed)
        build_dataset(small_source(), config, out=tmp_path / "d", jobs=1, overwrite=True, progress=notes)
    assert not verify_dataset(tmp_path / "d").findings
    left = [tmp_path / f".d.replaced-{number}" for number in (1, 2)]
    assert notes.notes == [f"warning: {path}: the dataset before could not be removed; remove it" for path in left]
    assert sorted(path.name for path in tmp_path.iterdir()) == [".d.replaced-1", ".d.replaced-2", "d"]


def test_shards_are_listed_in_the_order_in_which_they_were_planned(built: Path) -> None:
    values = json.loads((built / "dataset.json").read_bytes())
    assert tuple(shard["file"] for shard in values["shards"]) == SHARDS


# Files of others


def test_a_file_that_appears_during_the_build_is_not_lost(tmp_path: Path, built: Path) -> None:
    out = tmp_path / "d"

    class Meddler(SilentProgress):
        def advance(self) -> None:
            out.mkdir(exist_ok=True)
            (out / "mine.txt").write_text("mine")

    with pytest.raises(StorageError, match="was written there during the build"):
        build_dataset(small_source(), small_config(), out=out, progress=Meddler())
    assert (out / "mine.txt").read_text() == "mine"
    out.rename(tmp_path / "moved")
    build_small(out)
    assert digests(out) == digests(built)


@pytest.mark.parametrize("place", ["d.partial", "d"])
def test_a_folder_with_another_tool_s_dataset_json_is_not_removed(tmp_path: Path, place: str) -> None:
    """nnU-Net writes a file of that name."""
    folder = tmp_path / place
    folder.mkdir()
    (folder / "dataset.json").write_text('{"name": "Task01", "numTraining": 3}')
    with pytest.raises(ConfigError, match="will not be touched"):
        build_small(tmp_path / "d")
    assert (folder / "dataset.json").exists()


def test_what_lies_beside_a_dataset_is_not_overwritten_with_it(tmp_path: Path) -> None:
    build_small(tmp_path / "d", seed=1)
    (tmp_path / "d" / "notes.md").write_text("mine")
    before = digests(tmp_path / "d")
    with pytest.raises(ConfigError, match=r"notes\.md: is no part of the dataset"):
        build_dataset(small_source(), small_config(), out=tmp_path / "d", overwrite=True)
    assert digests(tmp_path / "d") == before


def test_an_empty_folder_does_not_cost_the_dataset_that_waits_to_be_taken_back(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "d")
    build_small(tmp_path / "d")
    expected = digests(tmp_path / "d")
    (tmp_path / "d").rename(replaced_name(workspace.out))
    (tmp_path / "d").mkdir()
    assert build_small(tmp_path / "d").outcome == "reused"
    assert digests(tmp_path / "d") == expected
