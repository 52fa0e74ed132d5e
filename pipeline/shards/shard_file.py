"""One shard file, opened as untrusted input: everything is checked before any array is read.

An HDF5 file can name other files, hold arrays that decompress to terabytes, or run third-party filters. A shard
may do none of that: hard links only, no external or virtual storage, deflate as the only filter, sizes as recorded.
"""

import io
import os
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DatasetError
from pipeline.shards.record import MASK_DTYPE, SHARD_SCHEMA, WEIGHT_DTYPE, DatasetRecord, ShardRecord
from pipeline.shards.stored_files import find_stored_file, open_for_reading, system_reason

_MAX_ARRAY_BYTES = 1 << 36
_MAX_ID_BYTES = 64
_MAX_OPEN = 16  # files at a time; a process may have a thousand, a dataset more shards

_one_at_a_time = threading.RLock()  # as HDF5 itself does, and so that no file is closed while it is read
# A process that forks while one of its threads reads must not leave its child with a lock that nobody will release.
os.register_at_fork(
    before=_one_at_a_time.acquire, after_in_parent=_one_at_a_time.release, after_in_child=_one_at_a_time.release
)
_open_shards: list["Shard"] = []  # the one opened first is closed first


class Shard:
    """A validated shard, opened again by itself in every process that uses it.

    Args:
        folder: where the dataset lies.
        dataset: what dataset.json says about all of its shards.
        record: what dataset.json says about the shard.
        data: the file's bytes, where they have been read already; else it is read when it is needed.

    Raises:
        DatasetError: the file is missing, unreadable, or not what dataset.json says.
    """

    def __init__(self, folder: Path, dataset: DatasetRecord, record: ShardRecord, data: bytes | None = None) -> None:
        self.path = folder / record.file
        self.record = record
        self._dataset = dataset
        self._data = data
        self._target: Path | None = None  # where the file itself lies, once it was opened
        self._file: h5py.File | None = None
        self._owner = -1
        with _one_at_a_time:
            self._open()

    def __len__(self) -> int:
        return self.record.n

    def image(self, row: int) -> NDArray[Any]:
        """Return one image, (h, w) or (h, w, C)."""
        return self._read("images", row)

    def label(self, row: int) -> NDArray[Any]:
        """Return one label (h, w)."""
        return self._read("labels", row)

    def weight(self, row: int) -> NDArray[Any]:
        """Return the weights (h, w) of one sample's pixels.

        Raises:
            DatasetError: the dataset stores none, or they cannot be read.
        """
        if not self._dataset.has_weights:
            raise DatasetError(f"{self.path}: holds no weights; they are stored by augpipe build --weights unet2015")
        return self._read("weights", row)

    def mask(self, row: int) -> NDArray[Any]:
        """Return which pixels of one sample count, (h, w): 1, or 0.

        Raises:
            DatasetError: the split stores no masks, or they cannot be read.
        """
        if not self._dataset.has_masks(self.record.split):
            raise DatasetError(
                f"{self.path}: holds no masks; they are stored of plain splits, and by augpipe build --margin mask"
            )
        return self._read("masks", row)

    def array(self, name: str, row: int) -> NDArray[Any]:
        """Return what `DatasetRecord.array_names` names: the `image`, `label`, `weights` or `mask` of one sample."""
        return {"image": self.image, "label": self.label, "weights": self.weight, "mask": self.mask}[name](row)

    def ids(self) -> list[str]:
        """Return the ids in row order."""
        with _one_at_a_time, _readable(self.path):
            return [bytes(name).decode("ascii", "replace") for name in self._open()["ids"][:]]

    def close(self) -> None:
        """Close the file; it opens again when it is next read."""
        with _one_at_a_time:
            if self._file is not None and self._owner == os.getpid():
                self._file.close()
            self._file = None
            if self in _open_shards:
                _open_shards.remove(self)

    def __getstate__(self) -> dict[str, Any]:
        """Leave the open file behind: an HDF5 handle must not cross into another process."""
        return {**self.__dict__, "_file": None, "_owner": -1}

    def _read(self, name: str, row: int) -> NDArray[Any]:
        with _one_at_a_time, _readable(self.path):
            stored = self._open()[name]
            if not stored.id.get_create_plist().get_nfilters():
                array: NDArray[Any] = stored[row]
                return array
            skipped, chunk = stored.id.read_direct_chunk((row, *(0,) * (stored.ndim - 1)))
            shape, dtype = stored.shape[1:], stored.dtype  # another thread may close the file after this
        return inflate(self.path, chunk, shape, dtype, skipped=skipped)

    def _open(self) -> h5py.File:
        if self._file is None or self._owner != os.getpid():
            while len(_open_shards) >= _MAX_OPEN:
                _open_shards[0].close()
            target = find_stored_file(self.path)
            if self._target not in (None, target):
                raise DatasetError(
                    f"{self.path}: led to {self._target}, and now leads to {target}; open the dataset again"
                )
            with _readable(self.path):
                data = self._data
                file = open_for_reading(target, whole=True) if data is None else h5py.File(io.BytesIO(data), "r")
                try:
                    _require_shard(file, self.path, self._dataset, self.record)
                except BaseException:
                    file.close()
                    raise
            self._file, self._owner, self._target = file, os.getpid(), target
            _open_shards.append(self)
        return self._file


def inflate(path: Path, chunk: bytes, shape: tuple[int, ...], dtype: np.dtype[Any], *, skipped: int) -> NDArray[Any]:
    """Return the array in a deflated chunk, inflated no further than it may be large: HDF5 itself knows no limit."""
    n_bytes = int(np.prod(shape)) * dtype.itemsize
    try:
        data = chunk if skipped else zlib.decompressobj().decompress(chunk, n_bytes + 1)
    except zlib.error as error:
        raise DatasetError(f"{path}: a chunk cannot be inflated ({error}); build or download it again") from error
    if len(data) != n_bytes:
        raise DatasetError(f"{path}: a chunk holds more or less than the {n_bytes} bytes of one sample")
    return np.frombuffer(data, dtype).reshape(shape).copy()


def _require_shard(file: h5py.File, path: Path, dataset: DatasetRecord, record: ShardRecord) -> None:
    others: dict[str, np.dtype[Any]] = {"weights": WEIGHT_DTYPE} if dataset.has_weights else {}
    others |= {"masks": MASK_DTYPE} if dataset.has_masks(record.split) else {}
    names, wanted = set(file), {"images", "labels", "ids", *others}
    if names != wanted:
        raise DatasetError(f"{path}: expected the arrays {sorted(wanted)}, found {sorted(names)[:8]}")
    n, (height, width) = record.n, dataset.window
    shape = (n, height, width)
    require_array(file, path, "images", (n, *dataset.image_shape), dataset.image_dtype, (1, *dataset.image_shape))
    require_array(file, path, "labels", shape, dataset.label_dtype, (1, height, width))
    for name, dtype in others.items():
        require_array(file, path, name, shape, dtype, (1, height, width))
    require_array(file, path, "ids", (n,), None, None)
    expected = {"schema": SHARD_SCHEMA, "split": record.split, "fingerprint": dataset.fingerprint}
    for name, value in expected.items():
        found = file.attrs.get(name)
        if not isinstance(found, bytes) or found.decode("ascii", "replace") != value:
            raise DatasetError(
                f"{path}: attribute {name} is {found!r:.80}, expected {value!r}; a shard of another dataset?"
            )


def require_array(
    file: h5py.File,
    path: Path,
    name: str,
    shape: tuple[int, ...],
    dtype: np.dtype[Any] | None,
    chunks: tuple[int, ...] | None,
) -> None:
    """Refuse an array that is not stored, plainly, in this very file, in the recorded shape and dtype."""
    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        raise DatasetError(f"{path}: {name} is a link to something else")
    array = file.get(name)
    if not isinstance(array, h5py.Dataset):
        raise DatasetError(f"{path}: {name} is not an array")
    creation = array.id.get_create_plist()
    if creation.get_external_count() or creation.get_layout() == h5py.h5d.VIRTUAL:
        raise DatasetError(f"{path}: {name} keeps its values in other files")
    filters = [creation.get_filter(i)[0] for i in range(creation.get_nfilters())]
    if filters not in ([], [h5py.h5z.FILTER_DEFLATE]):
        raise DatasetError(f"{path}: {name} uses filters {filters}; only deflate is allowed")
    text = dtype is None and array.dtype.kind == "S" and 0 < array.dtype.itemsize <= _MAX_ID_BYTES
    if array.shape != shape or not (text or array.dtype == dtype) or array.chunks != chunks:
        raise DatasetError(
            f"{path}: {name} is {array.shape} {array.dtype} in chunks {array.chunks}, expected {shape} "
            f"{dtype or 'ASCII'} in {chunks}"
        )
    if array.dtype.itemsize * int(np.prod(shape, dtype=object)) > _MAX_ARRAY_BYTES:
        raise DatasetError(f"{path}: {name} is larger than {_MAX_ARRAY_BYTES:,} bytes")


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turn what h5py raises on a damaged file into one typed error; what the system denies is not damaged."""
    try:
        yield
    except DatasetError:
        raise
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, IndexError) as error:
        if reason := system_reason(error):
            raise DatasetError(f"{path}: cannot be read ({reason}), which says nothing of what is in it") from error
        reason = " ".join(str(error).split())[:160]
        raise DatasetError(f"{path}: not a readable shard ({reason}); build or download it again") from error
