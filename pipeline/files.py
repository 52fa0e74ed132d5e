"""Files that appear under their real name only when they are whole, and are on the disk when they do."""

import errno
import fcntl
import os
import shlex
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import BinaryIO

from pipeline.errors import ConfigError, DatasetError, StorageError

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
_NO_LOCKS = "its file system has no locks, without which two programs could write it at once"
_BUSY = "another program is writing it; wait for it, and run the same again"


def write_atomically(path: Path, parts: Iterable[bytes | memoryview], *, n_bytes: int = 0) -> None:
    """Write the parts to `path`: to a temporary file beside it first, flushed to the disk, then renamed.

    Args:
        path: the file to make or to replace.
        parts: its bytes, in any number of pieces.
        n_bytes: what to say is needed, should the disk be full.

    Raises:
        StorageError: the disk is full, or the folder cannot be written; `path` is then as it was.
    """
    with whole_file(path, n_bytes=n_bytes) as file:
        for part in parts:
            file.write(part)


def write_content(path: Path, content: bytes | Path) -> None:
    """Write bytes, or a copy of a file, to `path`, as `write_atomically` does.

    Raises:
        StorageError: as `write_atomically`.
    """
    with whole_file(path, n_bytes=content_bytes(content)) as file:
        if isinstance(content, bytes):
            file.write(content)
        else:
            with content.open("rb") as there:
                shutil.copyfileobj(there, file)


def content_bytes(content: bytes | Path) -> int:
    """Return the size of bytes, or of the file that has them."""
    return len(content) if isinstance(content, bytes) else content.stat().st_size


@contextmanager
def whole_file(path: Path, *, n_bytes: int = 0) -> Iterator[BinaryIO]:
    """Lend a file to write to, which becomes `path` at the end, and disappears if anything fails before.

    Raises:
        StorageError: as `write_atomically`.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    with storage_errors(path, n_bytes=n_bytes):
        try:
            with temporary.open("wb+") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def require_writable(path: Path) -> None:
    """Refuse, before the work that a file is to tell of, where it could not be made.

    Raises:
        StorageError: its folder is not there, or takes no files.
    """
    with storage_errors(path), tempfile.TemporaryFile(dir=path.parent):
        pass


def require_plain_file(path: Path) -> None:
    """Refuse what is not a file of its own: what leaves this machine must not be what a link leads to.

    Raises:
        DatasetError: the path is missing, a link, or a folder.
    """
    if path.is_symlink() and path.is_file():
        raise DatasetError(f"{path}: expected a file, found a symbolic link; copy what it leads to (cp -rL OLD NEW)")
    if not path.is_file():
        raise no_plain_file(path)


def no_plain_file(path: Path) -> DatasetError:
    """Return the error that says what is there in the place of a plain file."""
    kind = "no plain file" if path.exists() else "nothing"
    if path.is_symlink():
        kind = f"a symbolic link to {kind} ({str(path.readlink())!r:.80})"
    return DatasetError(f"{path}: expected a file, found {kind}; is the dataset complete?")


def write_report(path: Path, report: bytes) -> None:
    """Write a report where the user wants it: through links, and into pipes and devices, which are not replaced.

    Raises:
        StorageError: it cannot be written.
    """
    with storage_errors(path):
        if path.exists() and not path.is_file():
            path.write_bytes(report)
            return
        target = path.resolve()
    write_atomically(target, [report])


def write_folder(folder: Path, files: Mapping[str, bytes | Path]) -> None:
    """Make a folder of these files inside another one, or replace it: written beside it, then renamed into its place.

    Args:
        folder: what to make; its parent is made too, and locked meanwhile.
        files: the name of every file with its bytes, or with the path of a file to copy.

    Raises:
        ConfigError: something else is there, which would be lost.
        StorageError: the disk is full, or the folder cannot be written, or another process is writing there.
    """
    partial = partial_name(folder)
    with storage_errors(folder, n_bytes=sum(map(content_bytes, files.values()))):
        require_own(folder, files)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with locked(folder.parent, busy=f"{folder}: {_BUSY}"):
            repair_folder(folder, lambda found: all((found / name).is_file() for name in files))
            require_removable(folder)
            shutil.rmtree(partial, ignore_errors=True)
            try:
                partial.mkdir()
                for name, content in files.items():
                    write_content(partial / name, content)
                replace_folder(partial, folder)
            finally:
                shutil.rmtree(partial, ignore_errors=True)


def partial_name(folder: Path) -> Path:
    """Return where a folder grows until it is whole."""
    return folder.with_name(f".{folder.name}.partial")


def require_own(folder: Path, files: Collection[str]) -> None:
    """Refuse to replace a folder that holds anything but files of these names.

    Raises:
        ConfigError: it does, or is no folder.
    """
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise ConfigError(f"{folder}: expected a folder or nothing, found something else; move it")
    foreign = sorted(entry.name for entry in folder.iterdir() if entry.name not in files) if folder.exists() else []
    if foreign:
        raise ConfigError(f"{folder / foreign[0]}: lies where a folder is to be replaced, and would be lost; move it")


def require_removable(folder: Path) -> None:
    """Refuse to replace a folder that could not be removed then.

    Raises:
        StorageError: it is read-only, or a folder in it is.
    """
    for inner, _, _ in os.walk(folder):
        if not os.access(inner, os.W_OK | os.X_OK):
            raise StorageError(
                f"{inner}: is read-only, so that it cannot be replaced; make it writable "
                f"(chmod -R u+w {shlex.quote(str(folder))}), or name another place"
            )


@contextmanager
def locked(path: Path, *, busy: str | None = None) -> Iterator[None]:
    """Be the only process that writes `path`, by a lock file beside it, which goes away at the end.

    Args:
        path: what is to be written; it need not exist, but its parent must.
        busy: what to say if another process holds the lock; without it, wait for that one.

    Raises:
        StorageError: another process holds the lock, or it cannot be made.
    """
    path = path.resolve()
    lock_file = path.with_name(f".{path.name}.lock")
    with storage_errors(path):
        descriptor = _lock(lock_file, busy)
    try:
        yield
    finally:
        lock_file.unlink(missing_ok=True)
        os.close(descriptor)


def replaced_name(folder: Path) -> Path:
    """Return where `replace_folder` keeps the folder before until the new one is in its place."""
    return folder.with_name(f".{folder.name}.replaced")


def replace_folder(new: Path, folder: Path) -> Path | None:
    """Rename a folder, in the place of the one that has the name now; return where that is if it cannot be removed.

    To be called under the lock of `folder`, after `require_removable`. A kill leaves one of the states that
    `repair_folder` repairs.

    Raises:
        OSError: it cannot be done; the folder before is then in its place again, if the disk allows that.
    """
    replaced = replaced_name(folder)
    _discard(replaced)
    sync_folder(new)
    try:
        if folder.exists():
            folder.rename(replaced)
        new.rename(folder)
        sync_folder(folder.parent)
    except BaseException:
        if replaced.exists() and not folder.exists():
            replaced.rename(folder)
        raise
    return _discard(replaced)


def repair_folder(folder: Path, is_whole: Callable[[Path], bool]) -> None:
    """Finish a `replace_folder` that was killed, or take it back; to be called under the lock of `folder`.

    Args:
        folder: what was being replaced.
        is_whole: whether a folder holds all that it should.
    """
    # folder          .NAME.replaced   killed                             what is done
    # whole           any              while the one before was removed   finish the removal
    # not whole       any              (something else was put there)     nothing: neither is lost
    # missing         whole            between the two renames            take the first rename back
    # missing         not whole        while the one before was removed   finish the removal
    replaced = replaced_name(folder)
    if not replaced.exists():
        return
    if folder.exists() and not is_whole(folder):
        return
    if folder.exists() or not is_whole(replaced):
        _discard(replaced)
    else:
        replaced.rename(folder)


def sync_folder(folder: Path) -> None:
    """Flush a folder's list of names to the disk, so that a rename in it survives a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _discard(folder: Path) -> Path | None:
    """Remove a folder; what cannot be removed gets another name, so that it is in nobody's way, which is returned."""
    shutil.rmtree(folder, ignore_errors=True)
    if not folder.exists():
        return None
    numbered = (folder.with_name(f"{folder.name}-{number}") for number in count(1))
    left = next(path for path in numbered if not path.exists())
    folder.rename(left)
    return left


def has_locks(folder: Path) -> bool:
    """Return whether the file system of a folder has locks: whether the folder itself can be locked."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return True
        return False
    finally:
        os.close(descriptor)


def _lock(path: Path, busy: str | None) -> int:
    """Return a descriptor that holds the lock file, which whoever held it before may have removed meanwhile.

    The kernel releases a flock with the process, however that ends. filelock leaves the file behind, and falls back to
    a marker file, which outlives a killed process, where there is no flock.
    """
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (fcntl.LOCK_NB if busy else 0))
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        except FileNotFoundError:
            pass
        except OSError as error:
            os.close(descriptor)
            if busy and isinstance(error, BlockingIOError) and has_locks(path.parent):
                raise StorageError(busy) from error
            path.unlink(missing_ok=True)
            raise OSError(error.errno, _NO_LOCKS) from error
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


@contextmanager
def storage_errors(path: Path, n_bytes: int = 0) -> Iterator[None]:
    """Turn the operating system's refusal to write `path` into one typed error."""
    try:
        yield
    except OSError as error:
        if error.errno in _NO_SPACE:
            needed = f"{n_bytes / 1e6:.1f} MB are needed there" if n_bytes else "more space is needed there"
            raise StorageError(
                f"{path}: the disk is full; {needed}. Free some and run the same command again: it continues"
            ) from error
        raise StorageError(f"{path}: cannot be written ({error.strerror or error}); name another place") from error
