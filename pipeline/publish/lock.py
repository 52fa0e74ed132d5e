"""Locks on folders, which leave no file behind."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from augment.errors import StorageError


@contextmanager
def held(folder: Path, *, wait: bool) -> Iterator[None]:
    """Hold a folder for this process alone.

    Args:
        folder: what to hold.
        wait: wait for whoever holds it, instead of giving up.

    Raises:
        StorageError: somebody else holds it.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield
    except BlockingIOError as error:
        raise StorageError(f"{folder}: is being published by another augpipe; wait for it") from error
    finally:
        os.close(descriptor)
