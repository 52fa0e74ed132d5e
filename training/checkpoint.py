"""Files of a run, each of them whole or not there: checkpoints, the network, text."""

import io
import json
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from pipeline.files import sync_folder
from pipeline.shards import AugpipeError, StorageError


class RunError(AugpipeError):
    """The folder of a run that cannot be read, or is not what it should be."""


def write_file(path: Path, data: bytes) -> None:
    """Write a file under a temporary name, then give it its own.

    Raises:
        StorageError: it cannot be written; what had the name before is still there.
    """
    temporary = _temporary(path)
    try:
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)  # so that the renaming of one file cannot outlive a power cut that undoes another's
    except OSError as error:
        raise StorageError(
            f"{path}: cannot be written ({error.strerror or error}); free space or go elsewhere"
        ) from error


def remove_remains(paths: Iterable[Path]) -> None:
    """Remove what a process that was killed while it wrote these files has left."""
    for path in paths:
        _temporary(path).unlink(missing_ok=True)


def as_json(values: Any) -> bytes:
    """Return plain values as one line of JSON: UTF-8, sorted keys, no spaces."""
    return (json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=False) + "\n").encode()


def save(path: Path, values: dict[str, Any]) -> None:
    """Write tensors and plain values."""
    buffer = io.BytesIO()
    torch.save(values, buffer)
    write_file(path, buffer.getvalue())


def load(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Return what `save` wrote; nothing in the file is ever run.

    Raises:
        RunError: the file is missing, damaged, or holds more than tensors and plain values.
    """
    try:
        values = torch.load(path, map_location=device, weights_only=True)
    except FileNotFoundError as error:
        raise RunError(f"{path}: not there; is this the folder of a run of augtrain fit?") from error
    except Exception as error:  # torch raises many kinds on damaged files
        reason = " ".join(str(error).split())[:120]
        raise RunError(f"{path}: not a checkpoint that can be trusted ({reason}); train again") from error
    if not isinstance(values, dict):
        raise RunError(f"{path}: expected a checkpoint, found {type(values).__name__}; train again")
    return values


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.tmp")
