"""A Zarr array of version 2 or 3: what its metadata say, and its chunks, decoded no further than they may be large.

Zarr storage specification version 2; Zarr core specification version 3 with the codecs bytes, transpose, blosc, gzip,
zstd, crc32c and sharding_indexed. The zarr library's decoders know no limit of what a chunk becomes; these do.
"""

import bz2
import math
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pipeline.source.pages.grid import ReadChunk
from pipeline.source.pages.picture import PictureError
from pipeline.source.pages.zarr_store import Store

Unpack: TypeAlias = Callable[[bytes, int], bytes]  # no more than so many bytes

_MAX_AXES = 8
_MAX_SIDE = 1 << 40
_MAX_INDEX_BYTES = 1 << 24  # of a shard
_NO_CHUNK = (1 << 64) - 1  # of both numbers of a chunk that a shard does not have
_DTYPES = ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
_FLOATS = ("float16", "float32", "float64")
_SPELLED = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


class _Layout(NamedTuple):
    """How the bytes of a chunk become pixels: what unpacks them, their dtype in the file, and the order of axes."""

    unpack: tuple[Unpack, ...]
    stored: np.dtype[Any]
    axes: tuple[int, ...]


class _Shards(NamedTuple):
    """How chunks lie in shards: shards have this shape, each with an index at its end or its start."""

    shape: tuple[int, ...]
    at_end: bool
    has_checksum: bool


class ZarrArray:
    """An array in a store.

    Args:
        store: what it lies in.
        key: where.
        metadata: its `.zarray` or `zarr.json`.

    Raises:
        PictureError: its metadata are broken, or it is stored in a way that is not read.
    """

    def __init__(self, store: Store, key: str, metadata: Mapping[str, Any]) -> None:
        self._store, self._start = store, f"{key}/" if key else ""
        try:
            self._shards: _Shards | None = None
            self.shape = _sides(metadata["shape"], lowest=0)
            if metadata["zarr_format"] == 2:
                self._read_second(metadata)
            elif metadata["zarr_format"] == 3:
                self._read_third(metadata)
            else:
                raise PictureError(f"expected Zarr of version 2 or 3, found {metadata['zarr_format']!r:.40}")
        except (LookupError, TypeError, ValueError, OverflowError, AttributeError) as error:
            problem = " ".join(str(error).split())[:80]
            raise PictureError(f"its metadata are not those of a Zarr array ({problem}); write it again") from error
        if not 2 <= len(self.shape) == len(self.chunks) <= _MAX_AXES:
            raise PictureError(f"expected pixels (Z, Y, X), found {self.shape} in chunks of {self.chunks}")
        self._index = lru_cache(maxsize=8)(self._read_index)

    @contextmanager
    def opened(self) -> Iterator[ReadChunk]:
        """Lend what reads a chunk."""
        yield self._read

    def has_chunk(self, key: str) -> bool:
        """Return whether a key in the store is that of one of its chunks, or of its shards."""
        place = key.removeprefix(self._start + self._prefix).split(self._separator)
        steps = self._shards.shape if self._shards else self.chunks
        return len(place) == len(steps) and all(
            number.isascii() and number.isdecimal() and number == str(int(number)) and int(number) * step < side
            for number, step, side in zip(place, steps, self.shape, strict=True)
        )

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_index"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._index = lru_cache(maxsize=8)(self._read_index)

    def _read_second(self, metadata: Mapping[str, Any]) -> None:
        """Take the metadata of version 2: `.zarray`."""
        self.chunks = _sides(metadata["chunks"])
        stored = np.dtype(str(metadata["dtype"]))
        if metadata.get("filters"):
            raise PictureError(f"is stored with the filter {_id(metadata['filters'][0], 'id')}, which is not read")
        compressor = metadata.get("compressor")
        unpack = () if compressor is None else (_unpacker(_id(compressor, "id")),)
        n_axes = len(self.chunks)
        order, separator = metadata["order"], metadata.get("dimension_separator", ".")
        if order not in ("C", "F") or separator not in (".", "/"):
            raise PictureError(f"chunks in the order {order!r:.40}, named with {separator!r:.40}; write it again")
        axes = tuple(range(n_axes)) if order == "C" else tuple(reversed(range(n_axes)))
        self._take(stored, metadata.get("fill_value"), _Layout(unpack, stored, axes))
        self._prefix, self._separator = "", separator

    def _read_third(self, metadata: Mapping[str, Any]) -> None:
        """Take the metadata of version 3: `zarr.json`."""
        if metadata["chunk_grid"]["name"] != "regular" or metadata.get("storage_transformers"):
            raise PictureError("is stored with other chunks than equal ones, which is not read; write it again")
        outer = _sides(metadata["chunk_grid"]["configuration"]["chunk_shape"])
        if metadata["data_type"] not in _DTYPES + _FLOATS:
            raise PictureError(f"expected whole or real numbers, found {metadata['data_type']!r:.40}")
        native, codecs = np.dtype(metadata["data_type"]), metadata["codecs"]
        self.chunks = outer
        if _id(codecs[0]) == "sharding_indexed":
            if len(codecs) != 1:
                raise PictureError("is stored in shards with further codecs, which is not read; write it again")
            shards = codecs[0]["configuration"]
            self.chunks = _sides(shards["chunk_shape"])
            if len(outer) != len(self.chunks) or any(
                side % step for side, step in zip(outer, self.chunks, strict=True)
            ):
                raise PictureError(f"shards of {outer} in chunks of {self.chunks}; write it again")
            index = [_id(codec) for codec in shards["index_codecs"]]
            if index not in (["bytes"], ["bytes", "crc32c"]):
                raise PictureError(f"shards with an index stored as {index!r:.80}, which is not read; write it again")
            at_end = shards.get("index_location", "end") != "start"
            self._shards, codecs = _Shards(outer, at_end, len(index) == 2), shards["codecs"]
        self._take(native, metadata["fill_value"], _layout(codecs, native, len(self.chunks)))
        encoding = metadata["chunk_key_encoding"]
        separator = encoding.get("configuration", {}).get("separator", "/" if encoding["name"] == "default" else ".")
        if encoding["name"] not in ("default", "v2") or separator not in ("/", "."):
            raise PictureError(f"chunks with names of the kind {encoding['name']!r:.40}, which is not read")
        self._prefix, self._separator = f"c{separator}" if encoding["name"] == "default" else "", separator

    def _take(self, dtype: np.dtype[Any], fill: Any, layout: _Layout) -> None:
        if dtype.name not in _DTYPES + _FLOATS:
            raise PictureError(f"expected whole or real numbers, found {dtype}")
        self.dtype, self._layout = dtype.newbyteorder("="), layout
        number = 0 if fill is None else _SPELLED.get(fill, fill) if isinstance(fill, str) else fill
        if isinstance(number, str):  # the bytes of a float
            self._fill = np.frombuffer(bytes.fromhex(number.removeprefix("0x")), self.dtype.newbyteorder(">"))[0]
        else:
            self._fill = np.array(number, self.dtype)[()]

    def _read(self, index: tuple[int, ...]) -> NDArray[Any]:
        n_bytes = math.prod(self.chunks) * self.dtype.itemsize
        most = 2 * n_bytes + (1 << 16)
        if self._shards is None:
            data = self._store.read(self._key(index), most=most)
        else:
            data = self._from_shard(index, self._shards, most)
        if data is None:
            return np.full(self.chunks, self._fill, self.dtype)
        for unpack in self._layout.unpack:
            data = unpack(data, n_bytes + 4 * len(self._layout.unpack))
        if len(data) != n_bytes:
            raise PictureError(f"a chunk holds more or less than {n_bytes:,} bytes; damaged: copy it again")
        axes = self._layout.axes
        block = np.frombuffer(data, self._layout.stored).reshape([self.chunks[axis] for axis in axes])
        return block.transpose([axes.index(axis) for axis in range(len(axes))]).astype(self.dtype, copy=False)

    def _from_shard(self, index: tuple[int, ...], shards: _Shards, most: int) -> bytes | None:
        """Return the bytes of a chunk in a shard; None where it has none."""
        per_shard = [side // step for side, step in zip(shards.shape, self.chunks, strict=True)]
        key = self._key(tuple(number // n for number, n in zip(index, per_shard, strict=True)))
        table = self._index(key)
        if table is None:
            return None
        inner = tuple(number % n for number, n in zip(index, per_shard, strict=True))
        begin, n_bytes = (int(number) for number in table[np.ravel_multi_index(inner, per_shard)])
        return None if begin == n_bytes == _NO_CHUNK else self._store.read(key, begin, n_bytes, most=most)

    def _read_index(self, key: str) -> NDArray[np.uint64] | None:
        """Return where the chunks of a shard are and how many bytes each has, (N, 2); None where there is no shard."""
        if self._shards is None:
            return None
        n_chunks = math.prod(self._shards.shape) // math.prod(self.chunks)
        n_bytes = 16 * n_chunks + 4 * self._shards.has_checksum
        data = self._store.read(key, -n_bytes if self._shards.at_end else 0, n_bytes, most=_MAX_INDEX_BYTES)
        if data is None:
            return None
        if self._shards.has_checksum:
            data = _checked(data)
        return np.frombuffer(data, "<u8").reshape(-1, 2)

    def _key(self, index: tuple[int, ...]) -> str:
        return f"{self._start}{self._prefix}{self._separator.join(map(str, index))}"


def _sides(values: Any, lowest: int = 1) -> tuple[int, ...]:
    """Return the sides of a shape."""
    if not isinstance(values, list) or not all(type(side) is int and lowest <= side < _MAX_SIDE for side in values):
        raise PictureError(f"a shape or chunks of {values!r:.80}; write it again")
    return tuple(values)


def _id(codec: Any, key: str = "name") -> str:
    return str(codec if isinstance(codec, str) else codec[key])


def _layout(codecs: Sequence[Any], dtype: np.dtype[Any], n_axes: int) -> _Layout:
    """Return how chunks are stored, by version 3's list of codecs: from an array to one of bytes, then to others."""
    axes, stored = tuple(range(n_axes)), None
    unpack: list[Unpack] = []
    for codec in codecs:
        name = _id(codec)
        settings = {} if isinstance(codec, str) else codec.get("configuration") or {}
        if stored is not None:
            unpack.insert(0, _unpacker(name.removeprefix("numcodecs.")))
        elif name == "transpose":
            order = settings["order"]
            if sorted(order) != list(range(n_axes)):
                raise PictureError(f"axes in the order {order!r:.40}; write it again")
            axes = tuple(axes[place] for place in order)
        elif name == "bytes":
            stored = dtype.newbyteorder(">" if settings.get("endian") == "big" else "<")
        else:
            raise PictureError(f"is stored with the codec {name!r:.40}, which is not read; write it with gzip or zstd")
    if stored is None:
        raise PictureError("its codecs do not say how numbers are bytes; write it again")
    return _Layout(tuple(unpack), stored, axes)


def _unpacker(name: str) -> Unpack:
    try:
        return _UNPACKERS[name]
    except KeyError:
        raise PictureError(f"is stored with the codec {name!r:.40}, which is not read; write it with zstd") from None


def _inflate(data: bytes, most: int) -> bytes:
    """Return what zlib or gzip has packed."""
    return _whole(zlib.decompressobj(zlib.MAX_WBITS | 32), data, most)


def _unpack_bz2(data: bytes, most: int) -> bytes:
    return _whole(bz2.BZ2Decompressor(), data, most)


def _whole(decompressor: Any, data: bytes, most: int) -> bytes:
    """Return what a stream holds, if it goes on to its end, where its checksum is."""
    unpacked: bytes = decompressor.decompress(data, most + 1)
    if not decompressor.eof:
        raise PictureError("a chunk is cut short, or would become larger than it is; damaged: copy it again")
    return unpacked


def _unpack_zstd(data: bytes, most: int) -> bytes:
    import imagecodecs

    return bytes(imagecodecs.zstd_decode(data, out=most))


def _unpack_lz4(data: bytes, most: int) -> bytes:
    """Return what numcodecs has packed: four bytes tell the size."""
    import imagecodecs

    if int.from_bytes(data[:4], "little") > most:
        raise PictureError("a chunk would become larger than it is; damaged: copy it again")
    return bytes(imagecodecs.lz4_decode(data, header=True))


def _unpack_blosc(data: bytes, most: int) -> bytes:
    """Return what Blosc 1 has packed: bytes 4 to 7 of its header are the size, 12 to 15 that of the packed data."""
    import imagecodecs

    if int.from_bytes(data[4:8], "little") > most or int.from_bytes(data[12:16], "little") != len(data):
        raise PictureError("a chunk would become larger than it is, or is cut short; damaged: copy it again")
    return bytes(imagecodecs.blosc_decode(data))


def _checked(data: bytes, _most: int = 0) -> bytes:
    """Return bytes without the checksum that follows them."""
    data, told = data[:-4], data[-4:]
    if _crc32c(data) != int.from_bytes(told, "little"):
        raise PictureError("the checksum of a chunk is wrong; damaged: copy it again")
    return data


def _crc32c(data: bytes) -> int:
    """Return the checksum of RFC 3720, appendix B.4: polynomial 0x1EDC6F41, reflected."""
    table, value = _crc32c_table(), 0xFFFFFFFF
    for byte in data:
        value = table[(value ^ byte) & 255] ^ value >> 8
    return value ^ 0xFFFFFFFF


@lru_cache(maxsize=1)
def _crc32c_table() -> tuple[int, ...]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)  # noqa: PLW2901  # eight steps of one byte
        table.append(value)
    return tuple(table)


_UNPACKERS: dict[str, Unpack] = {
    "blosc": _unpack_blosc,
    "bz2": _unpack_bz2,
    "crc32c": _checked,
    "gzip": _inflate,
    "lz4": _unpack_lz4,
    "zlib": _inflate,
    "zstd": _unpack_zstd,
}
