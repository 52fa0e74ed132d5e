"""Files that appear under their real name only when they are whole, and are on the disk when they do."""

import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from augment.errors import StorageError

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


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


def sync_folder(folder: Path) -> None:
    """Flush a folder's list of names to the disk, so that a rename in it survives a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
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
