"""Datasets on other file systems than a disk of one's own: files behind links, and no locks."""

import errno
import fcntl
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from publish_worlds import to_folder
from small_worlds import FILES, SHARDS, run_python

from pipeline.errors import DatasetError
from pipeline.files import has_locks
from pipeline.shards.dataset import open_dataset
from pipeline.shards.stored_files import find_stored_file, open_for_reading, system_reason

Run = Callable[..., Any]

ROOT = Path(__file__).parents[3]
SHARD, BUILD_INFO = SHARDS[1], FILES[0]
# What file systems without locks answer, such as NFS, Lustre and SMB; the last two as if a lock were held.
NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.EACCES, errno.EAGAIN)


@pytest.fixture
def cached(dataset: Path) -> Path:
    """The small dataset as caches of hubs and DVC lay it out: every file a link into a folder of blobs."""
    blobs = dataset.with_name("blobs")
    blobs.mkdir()
    for number, name in enumerate(FILES):
        (dataset / name).rename(blobs / f"{number:064}")
        (dataset / name).symlink_to(f"../blobs/{number:064}")
    return dataset


def test_a_dataset_of_links_is_read_and_said_to_be_one(cached: Path, built: Path, augpipe: Run) -> None:
    code, out, err = augpipe("verify", cached)
    assert (code, err) == (0, "")
    assert f"links  {len(FILES) - 1} of its files are symbolic links; what they lead to was read" in out
    assert set(json.loads(augpipe("verify", cached, "--json", "-").out)["symbolic_links"]) == {*FILES} - {BUILD_INFO}
    assert "6 files by symbolic links" in augpipe("show", cached).out
    here, there = open_dataset(cached)["train"], open_dataset(built)["train"]
    assert here.ids == there.ids
    assert all(np.array_equal(image, other) for image, other in zip(here.images, there.images, strict=True))
    assert augpipe("audit", cached, "--manifest-only", "--gap", "1").code == 0


def test_a_dataset_of_links_is_not_published(cached: Path, tmp_path: Path, augpipe: Run) -> None:
    code, _, err = augpipe("publish", cached, *to_folder(tmp_path / "out"))
    assert code == 1
    assert "a symbolic link; copy what it leads to (cp -rL OLD NEW)" in err
    assert not (tmp_path / "out").exists()


def to_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def to_nothing(path: Path) -> None:
    path.symlink_to("../blobs/gone")


def to_a_folder(path: Path) -> None:
    path.symlink_to("..")


def to_itself(path: Path) -> None:
    path.symlink_to(path.name)


def to_pipe(path: Path) -> None:
    os.mkfifo(path.with_name("pipe"))
    path.symlink_to("pipe")


@pytest.mark.parametrize(
    ("link", "words"),
    [
        (to_device, "a symbolic link to no plain file ('/dev/zero')"),
        (to_nothing, "a symbolic link to nothing ('../blobs/gone')"),
        (to_a_folder, "a symbolic link to no plain file ('..')"),
        (to_pipe, "a symbolic link to no plain file ('pipe')"),
        (to_itself, "Too many levels of symbolic links"),
    ],
)
@pytest.mark.parametrize("name", ["dataset.json", "manifest.jsonl", SHARD])
def test_links_that_lead_to_no_plain_file_are_refused(
    dataset: Path, augpipe: Run, name: str, link: Callable[[Path], None], words: str
) -> None:
    (dataset / name).unlink()
    link(dataset / name)
    code, out, err = augpipe("verify", dataset)
    assert code == (3 if name == "dataset.json" else 1)
    assert words in out + err
    assert f"{name}: " in out + err


def test_a_link_that_leads_elsewhere_meanwhile_is_noticed(cached: Path) -> None:
    """A shard is opened again in every process, and after others: it must be the file that was checked."""
    shard = open_dataset(cached)["train"].shards[0]
    shard.close()
    assert shard.image(0).any()
    shard.close()
    other = cached.with_name("other.h5")
    shutil.copy(cached / shard.path.name, other)
    shard.path.unlink()
    shard.path.symlink_to(other)
    with pytest.raises(DatasetError, match=r"led to .*, and now leads to .*other\.h5; open the dataset again"):
        shard.image(0)
    assert find_stored_file(cached / shard.path.name) == other


# Locks


NO_FLOCK = """
#include <errno.h>
#include <stdlib.h>
int flock(int fd, int how) { errno = atoi(getenv("ANSWER")); return -1; }
"""
READING = """
import os, sys
from pipeline.cli import main
from pipeline.shards.dataset import open_dataset
from pipeline.shards.stored_files import open_for_reading
for answer in sys.argv[2:]:
    os.environ["ANSWER"] = answer
    assert main(["verify", sys.argv[1], "--quiet"]) == 0, answer
    with open_dataset(sys.argv[1]) as dataset:
        assert dataset["train"][0].image.any()
    with open_for_reading(dataset.folder / "train-00000.h5") as file:
        assert "images" in file
"""


@pytest.fixture(scope="session")
def no_locks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library in which no file can be locked; HDF5 itself finds it, as Python does."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    folder = tmp_path_factory.mktemp("flock")
    (folder / "flock.c").write_text(NO_FLOCK)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", "flock.so", "flock.c"], cwd=folder, check=True)
    return folder / "flock.so"


def test_a_file_system_without_locks_is_read_without_one(built: Path, no_locks: Path) -> None:
    """Whatever it answers."""
    result = run_python(READING, str(built), *map(str, NO_LOCKS), cwd=ROOT, LD_PRELOAD=str(no_locks))
    assert result.returncode == 0, result.stderr


def test_who_asks_hdf5_for_locks_is_told_so(built: Path, no_locks: Path) -> None:
    """The variable counts more than what a program says; and nothing is called damaged."""
    environment = {"LD_PRELOAD": str(no_locks), "HDF5_USE_FILE_LOCKING": "TRUE", "ANSWER": str(errno.ENOLCK)}
    code = "import sys; from pipeline.shards import open_dataset; open_dataset(sys.argv[1])['train']"
    result = run_python(code, str(built), cwd=ROOT, **environment)
    asks = "cannot be read (HDF5_USE_FILE_LOCKING asks for a lock, and the file system has none; unset it)"
    assert asks in result.stderr.splitlines()[-1]
    assert "download" not in result.stderr.splitlines()[-1]


def test_a_file_that_another_program_writes_is_not_read(tmp_path: Path, augpipe: Run) -> None:
    """Half of it would be read: here the file system has locks, and this one is held."""
    path = tmp_path / "stack.h5"
    with h5py.File(path, "w") as file:
        file["raw"] = np.zeros((2, 40, 40), np.uint8)
    with path.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(BlockingIOError, match="another program has it open to write"):
            open_for_reading(path)
        code, _, err = augpipe("build", "--images", path, "--labels", path, "--out", tmp_path / "d")
        assert code == 3
        assert "another program has it open to write; wait for it" in err
        with open_for_reading(path, whole=True) as file:
            assert list(file) == ["raw"]
    with open_for_reading(path) as file:
        assert list(file) == ["raw"]
    assert has_locks(tmp_path)


@pytest.mark.parametrize("locking", [True, False, "best-effort"])
def test_a_file_that_this_process_has_open_already_is_read(dataset: Path, locking: bool | str) -> None:
    """HDF5 opens a file twice in one process only with the same kind of lock."""
    with h5py.File(dataset / SHARD, "r", locking=locking), open_dataset(dataset) as opened:
        assert opened["train"][5].image.any()


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError("Unable to synchronously open file (file signature not found)"), ""),
        (OSError(errno.EINVAL, "Unable to read (errno = 22)"), ""),
        (KeyError("images"), ""),
        (OSError(errno.ESTALE, "Unable to synchronously open file (errno = 116)"), os.strerror(errno.ESTALE)),
        (OSError(errno.EIO, "own words"), "own words"),
    ],
)
def test_only_what_is_damaged_is_called_so(
    dataset: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    assert system_reason(error) == reason
    monkeypatch.setattr("pipeline.shards.shard_file.open_for_reading", fail)
    with pytest.raises(DatasetError) as caught:
        open_dataset(dataset)["train"]
    assert ("build or download it again" in str(caught.value)) == (not reason)
    assert reason in str(caught.value)
