"""Tensors and plain values in files, which appear whole or not at all."""

import io
import json
from pathlib import Path
from typing import Any

import torch

from pipeline.errors import AugpipeError
from pipeline.files import write_atomically


class RunError(AugpipeError):
    """The folder of a run that cannot be read, or is not what it should be."""


def as_json(values: Any) -> bytes:
    """Return plain values as one line of JSON: UTF-8, sorted keys, no spaces."""
    return (json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=False) + "\n").encode()


def save(path: Path, values: dict[str, Any]) -> None:
    """Write tensors and plain values."""
    buffer = io.BytesIO()
    torch.save(values, buffer)
    write_atomically(path, [buffer.getvalue()])


def load(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Return what `save` wrote; nothing in the file is ever run.

    Raises:
        RunError: the file is missing, damaged, or holds more than tensors and plain values.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise RunError(f"{path}: not there; is this the folder of a run of augtrain fit?") from error
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error.strerror or error})") from error
    try:
        values = torch.load(io.BytesIO(data), map_location=device, weights_only=True)
    except Exception as error:  # torch raises many kinds on damaged files
        reason = " ".join(str(error).split())[:120]
        raise RunError(f"{path}: not a checkpoint that can be trusted ({reason}); train again") from error
    if not isinstance(values, dict):
        raise RunError(f"{path}: expected a checkpoint, found {type(values).__name__}; train again")
    return values
