"""One array of an HDF5 file as a stack, opened as untrusted input: everything is checked before any of it is read.

As in a shard, only hard links are followed, external and virtual storage is refused, and chunks are inflated here, no
further than they may be large: HDF5 itself knows no limit. The file is open only while it is read.
"""

import json
import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ConfigError
from pipeline.shards.stored_files import open_for_reading, system_reason
from pipeline.source.pages.address import split_address
from pipeline.source.pages.grid import GridSlices, ReadChunk, axes_of
from pipeline.source.pages.picture import PictureError, picture_errors

_DEFLATE, _SHUFFLE, _FLETCHER32, _LZF = 1, 2, 3, 32000
_FILTERS = (_DEFLATE, _SHUFFLE, _FLETCHER32, _LZF)
_CHECKSUM_BYTES = 4
_ROWS_BYTES = 1 << 26  # of rows that are read at once, where there are no chunks
_MAX_LISTED, _MAX_LINKS, _MAX_DEPTH = 5, 1 << 12, 16
_MAX_ATTRIBUTE_BYTES = 1 << 14
_AXES_ADVICE = (
    "say so in its attribute axes, a letter each of t, c, z, y and x (in Python: "
    "h5py.File(FILE, 'a')[ARRAY].attrs['axes'] = 'zyxc')"
)


def open_hdf5(path: Path, *, labels: bool) -> GridSlices:
    """Return the stack in an array of an HDF5 file, `stack.h5:/volumes/raw`, or in its only array, `stack.h5`.

    Its axes are those of its attribute `axes` or `axistags`, or the labels of its dimensions; else (Y, X) or (Z, Y, X).

    Raises:
        ConfigError: there is no such file or array, or several arrays and none is named.
        SourceError: the file is damaged, or the array is not one stack that is stored plainly in this very file.
    """
    file_path, name = split_address(path)
    with picture_errors(path):
        if not file_path.is_file():
            found = "a folder" if file_path.is_dir() else "something else" if file_path.exists() else "nothing"
            raise ConfigError(f"{file_path}: expected an HDF5 file, found {found}")
        with _opened(file_path) as file:
            name = name or _only_array(file, file_path)
            stored = _find_array(file, file_path, name)
            axes = _stored_axes(stored) or axes_of(stored.shape, _AXES_ADVICE)
            if len(axes) != stored.ndim:
                raise PictureError(f"axes {axes!r:.40} for an array of {stored.shape}; {_AXES_ADVICE}")
            array = _Array(file_path, name, stored)
            pixel_nm = _pixel_nm(stored, axes)
            n_stored = min(stored.id.get_storage_size(), file_path.stat().st_size)
    place = Path(f"{file_path}:/{name}")
    return GridSlices(place, (file_path,), array, axes, n_stored=n_stored, pixel_nm=pixel_nm, labels=labels)


class _Array:
    """An array of an HDF5 file in chunks; one that has none is read some rows at a time."""

    def __init__(self, path: Path, name: str, stored: h5py.Dataset) -> None:
        self._path, self._name = path, name
        self.shape: tuple[int, ...] = stored.shape
        self.dtype: np.dtype[Any] = stored.dtype
        self._stored_chunks = stored.chunks
        n_rows = max(1, _ROWS_BYTES // (stored.dtype.itemsize * max(1, stored.shape[-1])))
        plain = (*[1] * (stored.ndim - 2), max(1, min(n_rows, stored.shape[-2])), max(1, stored.shape[-1]))
        self.chunks: tuple[int, ...] = stored.chunks or plain

    @contextmanager
    def opened(self) -> Iterator[ReadChunk]:
        with _opened(self._path) as file:
            stored = _find_array(file, self._path, self._name)
            if (stored.shape, stored.dtype, stored.chunks) != (self.shape, self.dtype, self._stored_chunks):
                raise PictureError("changed while it was being used; run the same again")
            yield lambda index: self._read(stored, index)

    def _read(self, stored: h5py.Dataset, index: tuple[int, ...]) -> NDArray[Any]:
        begin = tuple(number * step for number, step in zip(index, self.chunks, strict=True))
        if self._stored_chunks is None:
            block = tuple(slice(first, first + step) for first, step in zip(begin, self.chunks, strict=True))
            rows: NDArray[Any] = stored[block]
            return rows
        found = stored.id.get_chunk_info_by_coord(begin)
        if found.byte_offset is None:
            return np.full(self.chunks, stored.fillvalue, self.dtype)
        if found.size > 2 * math.prod(self.chunks) * self.dtype.itemsize + (1 << 16):
            raise PictureError(f"a chunk of {found.size:,} bytes, more than it holds; damaged: write it again")
        mask, data = stored.id.read_direct_chunk(begin)
        return _decode(data, mask, stored, self.chunks)


@contextmanager
def _opened(path: Path) -> Iterator[h5py.File]:
    try:
        file = open_for_reading(path)
    except OSError as error:
        if reason := system_reason(error):
            raise PictureError(f"cannot be read ({reason})") from error
        reason = " ".join(str(error).split())[:160]
        raise PictureError(f"not a readable HDF5 file ({reason}); copy or write it again") from error
    with file:
        yield file


def _find_array(file: h5py.File, path: Path, name: str) -> h5py.Dataset:
    """Return an array that lies plainly in this very file."""
    found: Any = file
    for part in name.split("/"):
        link = found.get(part, getlink=True) if isinstance(found, h5py.Group) else None
        if link is None:
            raise ConfigError(f"{path}: has no array /{name}; {_listed(file, path)}")
        if not isinstance(link, h5py.HardLink):
            raise PictureError("is a link to something else; copy the array itself into the file")
        found = found.get(part)
    if not isinstance(found, h5py.Dataset):
        raise ConfigError(f"{path}: /{name} is no array; {_listed(file, path)}")
    if found.shape is None or found.ndim < 2 or found.dtype.kind not in "buif":
        raise PictureError(f"expected pixels (Z, Y, X), found {found.shape} {found.dtype}; name another array")
    creation = found.id.get_create_plist()
    if creation.get_external_count() or creation.get_layout() == h5py.h5d.VIRTUAL:
        raise PictureError("keeps its values in other files, which are not read; copy the array itself into the file")
    filters = [creation.get_filter(place) for place in range(creation.get_nfilters())]
    if other := [each for each in filters if each[0] not in _FILTERS]:
        called = other[0][3].decode("ascii", "replace")[:40] or other[0][0]
        raise PictureError(
            f"is stored with the filter {called}, which is not read; write it with gzip (h5repack -f GZIP=4 OLD NEW)"
        )
    return found


def _only_array(file: h5py.File, path: Path) -> str:
    """Return the name of the only array that can be a stack."""
    names = list(islice(_arrays(file), _MAX_LISTED + 1))
    if len(names) != 1:
        raise ConfigError(f"{path}: {_listed(file, path)}")
    return names[0]


def _listed(file: h5py.File, path: Path) -> str:
    names = list(islice(_arrays(file), _MAX_LISTED + 1))
    if not names:
        return "it has no array of pixels"
    more = ", ..." if len(names) > _MAX_LISTED else ""
    listed = ", ".join(f"/{name}" for name in names[:_MAX_LISTED])
    return f"it has {listed}{more}: name one, as {path.name}:/{names[0]}"


def _arrays(group: h5py.Group, start: str = "", depth: int = 0) -> Iterator[str]:
    """Yield the names of the arrays that can be stacks, found without following any link but hard ones."""
    for name in islice(group, _MAX_LINKS):
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            continue
        item = group.get(name)
        if isinstance(item, h5py.Dataset):
            if item.shape is not None and item.ndim >= 2 and item.dtype.kind in "buif":
                yield f"{start}{name}"
        elif isinstance(item, h5py.Group) and depth < _MAX_DEPTH:
            yield from _arrays(item, f"{start}{name}/", depth + 1)


def _stored_axes(stored: h5py.Dataset) -> str:
    """Return the axes that an array says it has, a letter each; nothing where it says nothing."""
    if text := _text(stored, "axes"):
        return text.lower()
    if text := _text(stored, "axistags"):  # of vigra, which ilastik writes
        try:
            return "".join(str(axis["key"]) for axis in json.loads(text)["axes"]).lower()
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            raise PictureError("its attribute axistags cannot be read; remove it, or set axes") from error
    labels = [dimension.label for dimension in stored.dims]
    return "".join(labels).lower() if all(len(label) == 1 for label in labels) else ""


def _pixel_nm(stored: h5py.Dataset, axes: str) -> tuple[float, float] | None:
    """Return the (y, x) size of a pixel: CREMI's attribute `resolution` is in nm, `element_size_um` of others not."""
    for name, unit_nm in (("resolution", 1.0), ("element_size_um", 1e3)):
        if name not in stored.attrs or stored.attrs.get_id(name).get_storage_size() > _MAX_ATTRIBUTE_BYTES:
            continue
        sizes = np.asarray(stored.attrs[name])
        spatial = [axis for axis in axes if axis in "zyx"]
        if sizes.shape == (len(spatial),) and sizes.dtype.kind in "uif" and (sizes > 0).all():
            size = dict(zip(spatial, sizes.tolist(), strict=True))
            return size["y"] * unit_nm, size["x"] * unit_nm
    return None


def _text(stored: h5py.Dataset, name: str) -> str:
    """Return a short attribute of text; nothing where there is none."""
    if name not in stored.attrs or stored.attrs.get_id(name).get_storage_size() > _MAX_ATTRIBUTE_BYTES:
        return ""
    value = stored.attrs[name]
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype.kind in "OSU":
        return "".join(each.decode("utf-8", "replace") if isinstance(each, bytes) else str(each) for each in value)
    return value if isinstance(value, str) else ""


def _decode(data: bytes, mask: int, stored: h5py.Dataset, chunks: tuple[int, ...]) -> NDArray[Any]:
    """Return a chunk from its bytes, undoing the filters from the last to the first; set bits of the mask skip one."""
    import imagecodecs

    creation, dtype = stored.id.get_create_plist(), stored.dtype
    n_bytes = math.prod(chunks) * dtype.itemsize
    most = n_bytes + _CHECKSUM_BYTES * creation.get_nfilters()
    for place in reversed(range(creation.get_nfilters())):
        code, _, values, _ = creation.get_filter(place)
        if mask >> place & 1:
            continue
        if code == _DEFLATE:
            data = _inflate(data, most)
        elif code == _LZF:
            data = bytes(imagecodecs.lzf_decode(data, out=most))
        elif code == _FLETCHER32:
            data, told = data[:-_CHECKSUM_BYTES], data[-_CHECKSUM_BYTES:]
            if imagecodecs.h5checksum_fletcher32(data) != int.from_bytes(told, "little"):
                raise PictureError("the checksum of a chunk is wrong; damaged: copy it again")
        elif len(data) % (width := values[0] if values else dtype.itemsize) == 0:
            data = np.frombuffer(data, np.uint8).reshape(width, -1).T.tobytes()
    if len(data) != n_bytes:
        raise PictureError(f"a chunk holds more or less than {n_bytes:,} bytes; damaged: write it again")
    return np.frombuffer(data, dtype).reshape(chunks)


def _inflate(data: bytes, most: int) -> bytes:
    """Return what a stream holds, if it goes on to its end, where its checksum is."""
    inflater = zlib.decompressobj()
    try:
        inflated = inflater.decompress(data, most + 1)
    except zlib.error as error:
        raise PictureError(f"a chunk cannot be inflated ({error}); damaged: write it again") from error
    if not inflater.eof:
        raise PictureError("a chunk is cut short, or would become larger than it is; damaged: write it again")
    return inflated
