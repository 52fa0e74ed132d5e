"""Files that are read where they lie: through symbolic links to plain files, and on file systems without locks."""

import errno
import os
from pathlib import Path

import h5py

from pipeline.errors import DatasetError
from pipeline.files import has_locks, no_plain_file

_OF_CONTENT = (0, errno.EINVAL)  # EINVAL: an address in the file that is none
_REFUSED = (errno.EAGAIN, errno.EACCES)  # what a lock answers that another program holds
_NO_LOCK, _OTHER_LOCKING = "unable to lock file", "flag values don't match"
_BUSY = "another program has it open to write; wait for it, and run the same again"
_ASKED_FOR = "HDF5_USE_FILE_LOCKING asks for a lock, and the file system has none; unset it"


def find_stored_file(path: Path) -> Path:
    """Return the plain file that a path is, or that its symbolic links lead to, as caches of data sets are laid out.

    What is checked is to be read by the path that is returned: it has no links in it that could lead elsewhere by then.

    Raises:
        DatasetError: there is nothing, or what is there or at the end of the links is no plain file.
    """
    try:
        target = Path(os.path.realpath(path, strict=True)) if path.is_symlink() else path
        if target.is_file():
            return target
    except FileNotFoundError:
        pass
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror or error})") from error
    raise no_plain_file(path)


def open_for_reading(path: Path, *, whole: bool = False) -> h5py.File:
    """Return an HDF5 file, opened for reading; under no lock where the file system has none.

    HDF5 itself does without a lock only where the system says that it knows none (ENOSYS). Network file systems answer
    otherwise: ENOLCK, EOPNOTSUPP, and EAGAIN or EACCES as for a lock that somebody holds.

    Args:
        path: the file.
        whole: nobody writes it, as nobody does a shard, which gets its name when it is whole: it needs no lock at all.

    Raises:
        BlockingIOError: another program holds its lock.
        OSError: it cannot be opened, or is no HDF5 file.
    """
    failure = OSError()
    for locking in ("best-effort", False, True):  # a process opens a file again only as it has it open already
        try:
            return h5py.File(path, "r", locking=locking)
        except OSError as error:
            if _OTHER_LOCKING in str(error):
                continue
            if _NO_LOCK not in str(error):
                raise
            if not whole and error.errno in _REFUSED and has_locks(path.parent):
                raise BlockingIOError(error.errno, _BUSY) from error
            failure = error
    raise OSError(failure.errno, _ASKED_FOR) from failure


def system_reason(error: BaseException | None) -> str:
    """Return why the system did not let a file be read; empty where what is in the file is at fault."""
    if not isinstance(error, OSError) or error.errno is None or error.errno in _OF_CONTENT:
        return ""
    text = str(error.strerror)
    return os.strerror(error.errno) if text.startswith("Unable to") else text  # as HDF5's own begin, and go on and on
