"""The files of a Zarr hierarchy, in a folder or in a zip file: no link is followed, and no more is read than asked."""

import io
import os
import re
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol

from pipeline.shards.digest import parse_json
from pipeline.source.pages.picture import PictureError

_KEY = re.compile(r"[^/\\\0]+(/[^/\\\0]+)*")
_MAX_JSON_BYTES = 1 << 24
_MAX_FILES = 1 << 20
_LOCAL_HEADER_BYTES = 30  # of APPNOTE.TXT, section 4.3.7, before the name
_ENCRYPTED, _UTF8 = 1, 1 << 11  # of its flags
_ZIP_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


class Store(Protocol):
    """Files by their keys, such as `0/c/1/2`."""

    def names(self, key: str) -> list[str]:
        """Return the names of the files and folders in a folder, in order; nothing where there is none."""

    def sizes(self, key: str) -> dict[str, int]:
        """Return the bytes of every file in a folder and in those in it, by its key."""

    def read(self, key: str, begin: int = 0, n_bytes: int | None = None, *, most: int) -> bytes | None:
        """Return bytes of a file, from its end where `begin` is negative; None where there is no such file.

        Raises:
            PictureError: they are more than `most`, or the file is no plain one.
        """


def open_store(place: Path) -> Store:
    """Return the files in a folder or in a zip file.

    Raises:
        PictureError: they are too many.
        OSError: it cannot be read; likewise zipfile's own errors.
    """
    return _FolderStore(place) if place.is_dir() else _ZipStore(place)


class _FolderStore:
    """Files in a folder; of a link among them, what it leads to is not read."""

    def __init__(self, folder: Path) -> None:
        self._root = folder.resolve()

    def names(self, key: str) -> list[str]:
        folder = self._plain(key)
        return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []

    def sizes(self, key: str) -> dict[str, int]:
        sizes: dict[str, int] = {}
        for path in self._plain(key).rglob("*"):
            if not path.is_dir():
                sizes[path.relative_to(self._root).as_posix()] = path.lstat().st_size
            if len(sizes) > _MAX_FILES:
                raise PictureError(f"more than {_MAX_FILES:,} files; write it with larger chunks")
        return dict(sorted(sizes.items()))

    def read(self, key: str, begin: int = 0, n_bytes: int | None = None, *, most: int) -> bytes | None:
        path = self._plain(key)
        if not path.exists():
            return None
        if not path.is_file():
            raise PictureError(f"{key} is no file; remove it")
        with path.open("rb") as file:
            return _part(file, os.fstat(file.fileno()).st_size, key, begin, n_bytes, most)

    def _plain(self, key: str) -> Path:
        path = self._root / _safe(key) if key else self._root
        if path.resolve() != path:
            raise PictureError(f"{key} is a link, which is not followed; copy what it leads to")
        return path


class _ZipStore:
    """Files in a zip file, stored or deflated."""

    def __init__(self, path: Path) -> None:
        self._path, self._start = path, ""
        with zipfile.ZipFile(path) as archive:
            found = [entry for entry in archive.filelist if not entry.is_dir()]
        if len(found) > _MAX_FILES:
            raise PictureError(f"more than {_MAX_FILES:,} files; write it with larger chunks")
        with path.open("rb") as file:
            self._members = {entry.filename: _Member(entry, _first_byte(file, entry)) for entry in found}
        if len(self._members) != len(found):
            raise PictureError("has two files of one name; zip it again")
        top = {name.partition("/")[0] for name in self._members}
        if len(top) == 1 and not top & set(self._members):  # the folder was zipped, not what is in it
            self._start = f"{top.pop()}/"

    def names(self, key: str) -> list[str]:
        folder = self._start + (f"{_safe(key)}/" if key else "")
        return sorted({name[len(folder) :].partition("/")[0] for name in self._members if name.startswith(folder)})

    def sizes(self, key: str) -> dict[str, int]:
        folder = self._start + (f"{_safe(key)}/" if key else "")
        return {
            name[len(self._start) :]: member.entry.compress_size
            for name, member in sorted(self._members.items())
            if name.startswith(folder)
        }

    def read(self, key: str, begin: int = 0, n_bytes: int | None = None, *, most: int) -> bytes | None:
        if (member := self._members.get(self._start + _safe(key))) is None:
            return None
        entry, place = member
        with self._path.open("rb") as file:
            if entry.compress_type == zipfile.ZIP_STORED:
                data = _part(file, entry.file_size, key, begin, n_bytes, most, place=place)
                return _checked(entry, data, key) if len(data) == entry.file_size else data
            packed = _part(file, entry.compress_size, key, 0, None, most, place=place)
        whole = _checked(entry, zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, most + 1), key)
        return _part(io.BytesIO(whole), len(whole), key, begin, n_bytes, most)


class _Member(NamedTuple):
    """A file in a zip file, and where its bytes begin."""

    entry: zipfile.ZipInfo
    place: int


def _first_byte(file: BinaryIO, entry: zipfile.ZipInfo) -> int:
    """Return where the bytes of a file in a zip file begin: after its own header, which repeats its name.

    A name that is damaged in one of the two places would be a chunk that is not there, and so empty.
    """
    file.seek(entry.header_offset)
    start = file.read(_LOCAL_HEADER_BYTES).ljust(_LOCAL_HEADER_BYTES, b"\0")
    n_name, n_extra = struct.unpack_from("<HH", start, 26)
    name = file.read(n_name).decode("utf-8" if entry.flag_bits & _UTF8 else "cp437", "replace")
    if start[:4] != b"PK\3\4" or name != entry.orig_filename:
        raise PictureError(f"{entry.filename!a:.80} is not where the zip file says; damaged: copy it again")
    if entry.flag_bits & _ENCRYPTED or entry.compress_type not in _ZIP_METHODS:
        raise PictureError(
            f"{entry.filename!a:.80} is encrypted, or compressed in a way that is not read; zip it again"
        )
    return int(entry.header_offset + _LOCAL_HEADER_BYTES + n_name + n_extra)


def _checked(entry: zipfile.ZipInfo, data: bytes, key: str) -> bytes:
    if len(data) != entry.file_size or zlib.crc32(data) != entry.CRC:
        raise PictureError(f"{key} does not have the bytes that it was zipped with; copy it again")
    return data


def read_json(store: Store, key: str) -> dict[str, Any] | None:
    """Return the object in a file; None where there is no such file.

    Raises:
        PictureError: it holds anything else.
    """
    data = store.read(key, most=_MAX_JSON_BYTES)
    if data is None:
        return None
    try:
        values = parse_json(data)
    except (ValueError, RecursionError) as error:
        raise PictureError(f"{key} is no JSON ({' '.join(str(error).split())[:80]}); copy or write it again") from error
    if not isinstance(values, dict):
        raise PictureError(f"{key} holds no JSON object; copy or write it again")
    return values


def _part(file: BinaryIO, size: int, key: str, begin: int, n_bytes: int | None, most: int, *, place: int = 0) -> bytes:
    """Return some of so many bytes, which begin at a place in an open file."""
    begin = max(0, size + begin) if begin < 0 else begin
    n_bytes = size - begin if n_bytes is None else n_bytes
    if not 0 <= n_bytes <= most or begin + n_bytes > size:
        raise PictureError(f"{key}: expected {n_bytes:,} bytes at {begin:,}, at most {most:,}, in a file of {size:,}")
    file.seek(place + begin)
    data = file.read(n_bytes)
    if len(data) != n_bytes:
        raise PictureError(f"{key} is cut short; copy it again")
    return data


def _safe(key: str) -> str:
    """Return a key that stays in its folder."""
    if not _KEY.fullmatch(key) or {".", ".."} & set(key.split("/")):
        raise PictureError(f"{key!r:.80} is no place in a Zarr folder; write it again")
    return key
