"""Identity of arrays, files and records: SHA-256 over one agreed form of each."""

import hashlib
import json
import math
import re
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

SHA256 = re.compile(r"[0-9a-f]{64}")
_BLOCK_BYTES = 1 << 20


def array_digest(array: NDArray[Any]) -> str:
    """Return the hex digest of an array: its dtype and shape in ASCII, then its little-endian C-order bytes."""
    little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    digest = hashlib.sha256(f"{little.dtype.str}{little.shape}".encode("ascii"))
    digest.update(little.data)
    return digest.hexdigest()


class StackDigest:
    """The digest of an array (Z, Y, X) that is met slice by slice: the same as `array_digest` of the whole."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self._dtype = dtype.newbyteorder("<")
        self._digest = hashlib.sha256(f"{self._dtype.str}{tuple(shape)}".encode("ascii"))

    def update(self, pixels: NDArray[Any]) -> None:
        """Take in the next slice (Y, X)."""
        self._digest.update(np.ascontiguousarray(pixels, dtype=self._dtype).data)

    def hexdigest(self) -> str:
        """Return the hex digest of what was taken in."""
        return self._digest.hexdigest()


def bytes_digest(data: bytes | bytearray | memoryview) -> str:
    """Return the hex digest of plain bytes."""
    return hashlib.sha256(data).hexdigest()


def file_digest(path: Path) -> str:
    """Return the hex digest of a file's bytes.

    Raises:
        OSError: the file cannot be read.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def content_digest(row_digests: list[tuple[str, ...]]) -> str:
    """Return the hex digest of a shard's content: the digests of its rows' arrays, joined in row order.

    Args:
        row_digests: for every row those of its image, its label, and its weights where it has any.
    """
    return bytes_digest("".join(digest for row in row_digests for digest in row).encode("ascii"))


def canonical_json(value: Any) -> bytes:
    """Return `value` as UTF-8 JSON that is the same wherever it is written: sorted keys, no spaces, one newline.

    Raises:
        ValueError: the value holds a number that is not finite.
    """

    def text(*, escaped: bool) -> str:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=escaped, allow_nan=False) + "\n"

    try:
        return text(escaped=False).encode("utf-8")
    except UnicodeEncodeError:  # a path that is no text, in a report: no record that is digested holds one
        return text(escaped=True).encode("ascii")


def parse_json(text: bytes | str, **options: Any) -> Any:
    """Return what JSON says, as `json.loads` does, but for numbers that are not finite, which JSON does not have.

    Raises:
        ValueError: it is not JSON, or holds NaN, Infinity, or a number too large for a float.
        RecursionError: it is nested too deeply.
    """
    return json.loads(text, parse_constant=_refuse_number, parse_float=_finite, **options)


def _finite(digits: str) -> float:
    return number if math.isfinite(number := float(digits)) else _refuse_number(digits)


def _refuse_number(digits: str) -> NoReturn:
    raise ValueError(f"expected finite numbers, found {digits:.40}")
