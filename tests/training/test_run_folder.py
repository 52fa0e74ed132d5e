"""A file of a run is whole or not there, and nothing in a checkpoint is ever run."""

import errno
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.errors import StorageError
from training.run_folder import RunError, load, save

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


def test_a_full_disk_leaves_the_checkpoint_that_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last checkpoint must outlive the failure to write the next one."""
    save(tmp_path / "a.pt", {"step": 1})

    def fail(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StorageError, match="the disk is full"):
        save(tmp_path / "a.pt", {"step": 2})
    assert load(tmp_path / "a.pt") == {"step": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["a.pt"]
