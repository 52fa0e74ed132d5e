"""A file of a run is whole or not there, and nothing in a checkpoint is ever run."""

import errno
import json
import os
import pickle
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest
import torch
from small_runs import contents

from pipeline.shards import StorageError
from training.checkpoint import RunError, as_json, load, remove_remains, save, write_file

VALUES = {"network": {"a": torch.arange(6.0).reshape(2, 3)}, "rows": [{"round": 1, "loss": 0.1}], "digest": "ab"}


class Planted:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, (str(self._path),)


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    save(tmp_path / "a.pt", VALUES)
    again = load(tmp_path / "a.pt")
    assert torch.equal(again["network"].pop("a"), VALUES["network"]["a"])  # type: ignore[index]
    assert again == {**VALUES, "network": {}}


def test_saving_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    """The names of files differ, and torch writes the name of the archive into it: ours is always the same."""
    for name in ("a.pt", "b.pt"):
        save(tmp_path / name, VALUES)
    assert (tmp_path / "a.pt").read_bytes() == (tmp_path / "b.pt").read_bytes()


@pytest.mark.parametrize("zipped", [False, True])
def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path, zipped: bool) -> None:
    planted = {"network": Planted(tmp_path / "ran")}
    torch.save(planted, tmp_path / "a.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(RunError, match=r"a\.pt: not a checkpoint that can be trusted \(.*\); train again") as caught:
        load(tmp_path / "a.pt")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "ran").exists()
    torch.load(tmp_path / "a.pt", weights_only=False)
    assert (tmp_path / "ran").exists()  # it is armed


def test_a_plain_pickle_that_would_run_code_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.pt").write_bytes(pickle.dumps(Planted(tmp_path / "ran")))
    with pytest.raises(RunError, match="not a checkpoint that can be trusted"):
        load(tmp_path / "a.pt")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.9, 0.999])
def test_a_checkpoint_cut_short_is_refused(tmp_path: Path, share: float) -> None:
    save(tmp_path / "a.pt", VALUES)
    data = (tmp_path / "a.pt").read_bytes()
    (tmp_path / "a.pt").write_bytes(data[: int(share * len(data))])
    with pytest.raises(RunError, match=r"a\.pt: not a checkpoint that can be trusted \(.*\); train again") as caught:
        load(tmp_path / "a.pt")
    assert "\n" not in str(caught.value)


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.pt").write_text("no checkpoint at all")
    with zipfile.ZipFile(tmp_path / "zip.pt", "w") as archive:
        archive.writestr("a", "b")
    torch.save([1, 2], tmp_path / "list.pt")
    for name in ("text.pt", "zip.pt", "list.pt"):
        with pytest.raises(RunError, match=rf"{name}: (not a checkpoint|expected a checkpoint, found list)"):
            load(tmp_path / name)
    with pytest.raises(RunError, match=r"none\.pt: not there; is this the folder of a run"):
        load(tmp_path / "none.pt")


def test_numpy_numbers_are_no_plain_values(tmp_path: Path) -> None:
    """What a checkpoint cannot be read with must be found by a test, and not by the first resume."""
    torch.save({"rows": [np.float64(1)]}, tmp_path / "a.pt")
    with pytest.raises(RunError, match="not a checkpoint that can be trusted"):
        load(tmp_path / "a.pt")


# Disks


def test_a_file_is_replaced_and_nothing_else_appears(tmp_path: Path) -> None:
    for data in (b"one", b"two"):
        write_file(tmp_path / "a", data)
        assert contents(tmp_path) == {"a": data}


@pytest.mark.parametrize("before", [None, b"old"])
@pytest.mark.parametrize("where", ["write", "fsync", "replace"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_full_disk_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, code: int, before: bytes | None
) -> None:
    if before:
        write_file(tmp_path / "a", before)
    was = contents(tmp_path)

    def fail(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    if where == "write":
        monkeypatch.setattr(Path, "open", lambda path, mode: FullFile(open(path, mode), code))  # noqa: PTH123, SIM115
    else:
        monkeypatch.setattr(*{"fsync": (os, "fsync"), "replace": (Path, "replace")}[where], fail)
    with pytest.raises(StorageError, match=rf"a: cannot be written \({re.escape(os.strerror(code))}\); free space"):
        write_file(tmp_path / "a", b"new")
    monkeypatch.undo()
    assert contents(tmp_path) == was


class FullFile:
    """Takes a byte, and then the disk is full."""

    def __init__(self, file: Any, code: int) -> None:
        self._file, self._code = file, code

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, data: bytes) -> None:
        self._file.write(data[:1])
        raise OSError(self._code, os.strerror(self._code))


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_an_interrupted_write_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    write_file(tmp_path / "a", b"old")

    def interrupt(_: int) -> None:
        raise error

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(error):
        write_file(tmp_path / "a", b"new")
    assert contents(tmp_path) == {"a": b"old"}


def test_a_place_that_takes_no_files_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "none" / "a", tmp_path / "file" / "a", tmp_path / "folder"):
        with pytest.raises(StorageError, match=rf"{path}: cannot be written"):
            write_file(path, b"new")
    assert contents(tmp_path) == {"file": b""}


def test_remains_are_removed_and_nothing_else(tmp_path: Path) -> None:
    for name in (".a.tmp", ".b.tmp", "a", ".notes.tmp"):
        (tmp_path / name).write_bytes(b"")
    remove_remains(tmp_path / name for name in ("a", "b", "c"))
    assert sorted(contents(tmp_path)) == [".notes.tmp", "a"]


def test_json_is_one_line_in_one_order() -> None:
    assert as_json({"b": 1, "a": "Meilă"}) == '{"a":"Meilă","b":1}\n'.encode()
    assert json.loads(as_json({"a": 0.1 + 0.2})) == {"a": 0.1 + 0.2}
