"""A file has its name when it is whole and on the disk, or what had the name before is as it was."""

import errno
import os
import stat
import threading
from pathlib import Path
from typing import Any

import pytest

import pipeline.files
from pipeline.errors import StorageError
from pipeline.files import (
    locked,
    repair_folder,
    replace_folder,
    require_removable,
    storage_errors,
    sync_folder,
    whole_file,
    write_atomically,
    write_content,
    write_report,
)


def files(folder: Path) -> dict[str, bytes]:
    """Return every file of a folder, hidden ones too."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_whole_file_gets_its_name_at_the_end(tmp_path: Path) -> None:
    with whole_file(tmp_path / "a") as file:
        file.write(b"one")
        assert "a" not in files(tmp_path)
        file.write(b"two")
    assert files(tmp_path) == {"a": b"onetwo"}


def test_what_was_written_may_be_read_and_changed_before(tmp_path: Path) -> None:
    """Writers of TIFF go back to the offsets."""
    with whole_file(tmp_path / "a") as file:
        file.write(b"0000one")
        file.seek(0)
        file.write(b"7")
        file.seek(0)
        assert file.read() == b"7000one"
    assert files(tmp_path) == {"a": b"7000one"}


def test_bytes_and_copies_of_files_are_written_alike(tmp_path: Path) -> None:
    write_content(tmp_path / "a", b"one")
    write_content(tmp_path / "b", tmp_path / "a")
    assert files(tmp_path) == {"a": b"one", "b": b"one"}


@pytest.mark.parametrize("before", [{}, {"a": b"old"}], ids=["new", "old"])
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, OSError])
def test_a_failure_leaves_what_was_there(tmp_path: Path, before: dict[str, bytes], error: type[BaseException]) -> None:
    for name, data in before.items():
        (tmp_path / name).write_bytes(data)

    def write_half() -> None:
        with whole_file(tmp_path / "a") as file:
            file.write(b"half")
            file.flush()
            raise error

    with pytest.raises((error, StorageError)):
        write_half()
    assert files(tmp_path) == before


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
@pytest.mark.parametrize("where", ["fsync", "replace"])
def test_a_full_disk_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, code: int
) -> None:
    (tmp_path / "a").write_bytes(b"old")

    def fail(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(*{"fsync": (pipeline.files.os, "fsync"), "replace": (Path, "replace")}[where], fail)
    words = "a: cannot be written" if code == errno.EIO else r"a: the disk is full; 5\.0 MB are needed there"
    with pytest.raises(StorageError, match=words):
        write_atomically(tmp_path / "a", [b"new"], n_bytes=5_000_000)
    assert files(tmp_path) == {"a": b"old"}


def test_a_file_is_on_the_disk_before_it_has_its_name_and_the_name_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a power cut leaves an empty file under a name that promises a whole one."""
    order: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def flush(descriptor: int) -> None:
        folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        order.append("folder" if folder else f"{os.fstat(descriptor).st_size} bytes")
        fsync(descriptor)

    def rename(path: Path, target: Any) -> Path:
        order.append("rename")
        return replace(path, target)

    monkeypatch.setattr(pipeline.files.os, "fsync", flush)
    monkeypatch.setattr(Path, "replace", rename)
    write_atomically(tmp_path / "a", [b"one", memoryview(b"two")])
    assert order == ["6 bytes", "rename", "folder"]


def test_what_a_killed_process_left_is_used_again(tmp_path: Path) -> None:
    (tmp_path / ".a.tmp").write_bytes(b"much more than that")
    write_atomically(tmp_path / "a", [b"new"])
    assert files(tmp_path) == {"a": b"new"}


def test_no_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"none/a: cannot be written \(No such file or directory\)"):
        write_atomically(tmp_path / "none" / "a", [b""])
    with pytest.raises(FileNotFoundError):
        sync_folder(tmp_path / "none")


def test_a_report_goes_through_links_and_pipes(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder/a")
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    write_report(tmp_path / "link", b"one")
    write_report(tmp_path / "pipe", b"two")
    assert os.read(reader, 99) == b"two"
    os.close(reader)
    assert files(tmp_path / "folder") == {"a": b"one"}
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "pipe").is_fifo()


def test_other_errors_pass() -> None:
    with pytest.raises(ValueError, match="not of the disk"), storage_errors(Path("a")):
        raise ValueError("not of the disk")


def make_folder(folder: Path, content: str | None) -> Path:
    """Make a folder with one file, whose content is the name of what it stands for; none where there is none."""
    if content is not None:
        folder.mkdir()
        (folder / "file").write_text(content)
    return folder


def contents(folder: Path) -> dict[str, str]:
    return {path.name: (path / "file").read_text() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("before", [None, "old"])
def test_a_folder_is_replaced_and_nothing_else_is_left(tmp_path: Path, before: str | None) -> None:
    make_folder(tmp_path / "a", before)
    make_folder(tmp_path / ".a.replaced", "left by a kill")
    replace_folder(make_folder(tmp_path / "new", "new"), tmp_path / "a")
    assert contents(tmp_path) == {"a": "new"}


def test_a_folder_before_that_cannot_be_removed_is_named_and_in_nobodys_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline.files.shutil, "rmtree", lambda *_, **__: None)
    make_folder(tmp_path / "a", "first")
    left = [replace_folder(make_folder(tmp_path / "new", text), tmp_path / "a") for text in ("second", "third")]
    assert left == [tmp_path / ".a.replaced-1", tmp_path / ".a.replaced-2"]
    assert contents(tmp_path) == {".a.replaced-1": "first", ".a.replaced-2": "second", "a": "third"}


@pytest.mark.parametrize("inner", ["a", "a/card"])
def test_a_read_only_folder_is_not_to_be_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inner: str) -> None:
    """Asked of the system, as whoever runs the tests may be allowed everything."""
    (tmp_path / "a" / "card").mkdir(parents=True)
    require_removable(tmp_path / "a")
    monkeypatch.setattr(pipeline.files.os, "access", lambda path, *_, **__: not str(path).endswith(inner))
    (tmp_path / "a").rename(tmp_path / "my a")
    inner = inner.replace("a", "my a", 1)
    with pytest.raises(StorageError, match=rf"{inner}: is read-only.*chmod -R u\+w '{tmp_path}/my a'\)"):
        require_removable(tmp_path / "my a")
    require_removable(tmp_path / "none")


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_a_folder_that_cannot_be_replaced_is_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    rename = Path.rename

    def fail(path: Path, target: Path) -> Path:
        if path.name == "new":
            raise error
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fail)
    make_folder(tmp_path / "a", "old")
    with pytest.raises(error):
        replace_folder(make_folder(tmp_path / "new", "new"), tmp_path / "a")
    assert contents(tmp_path) == {"a": "old", "new": "new"}


@pytest.mark.parametrize(
    ("folder", "replaced", "expected"),
    [
        ("whole", None, {"a": "whole"}),
        ("whole", "whole", {"a": "whole"}),
        ("whole", "half", {"a": "whole"}),
        ("foreign", "whole", {".a.replaced": "whole", "a": "foreign"}),
        (None, "whole", {"a": "whole"}),
        (None, "half", {}),
        (None, None, {}),
    ],
)
def test_a_replacement_that_was_killed_is_finished_or_taken_back(
    tmp_path: Path, folder: str | None, replaced: str | None, expected: dict[str, str]
) -> None:
    make_folder(tmp_path / "a", folder)
    make_folder(tmp_path / ".a.replaced", replaced)
    repair_folder(tmp_path / "a", lambda path: (path / "file").read_text() == "whole")
    assert contents(tmp_path) == expected


def test_a_lock_has_one_holder_and_leaves_nothing(tmp_path: Path) -> None:
    with locked(tmp_path / "a", busy="a: busy"):
        with pytest.raises(StorageError, match="a: busy"), locked(tmp_path / "a", busy="a: busy"):
            pass
        with locked(tmp_path / "b", busy="b: busy"):
            pass
    assert files(tmp_path) == {}


def test_a_lock_is_waited_for(tmp_path: Path) -> None:
    """The one before removes the lock file, so that who has waited must not take that for the lock."""
    order: list[str] = []

    def wait_for_it() -> None:
        with locked(tmp_path / "a"):
            order.append("second")
            with pytest.raises(StorageError), locked(tmp_path / "a", busy="busy"):
                pass

    with locked(tmp_path / "a"):
        thread = threading.Thread(target=wait_for_it)
        thread.start()
        thread.join(0.05)
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]
    assert files(tmp_path) == {}


@pytest.mark.parametrize("busy", ["a: busy", None])
@pytest.mark.parametrize("answer", [errno.ENOLCK, errno.EAGAIN])
def test_a_file_system_without_locks_is_not_called_busy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: int, busy: str | None
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(answer, os.strerror(answer))

    monkeypatch.setattr(pipeline.files.fcntl, "flock", refuse)
    with pytest.raises(StorageError, match=r"a: cannot be written \(its file system has no locks"):
        locked(tmp_path / "a", busy=busy).__enter__()
    assert files(tmp_path) == {}


def test_without_its_folder_there_is_no_lock(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="none/a"), locked(tmp_path / "none" / "a"):
        pass
