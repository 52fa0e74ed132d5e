"""A dataset as Python sequences: `open_dataset(path)["train"][0].image`."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from augment.recipe import Recipe
from pipeline.errors import ConfigError, DatasetError
from pipeline.shards.manifest import ManifestRow, read_manifest
from pipeline.shards.record import MANIFEST_FILE, WEIGHT_DTYPE, DatasetRecord, read_record, require_plain_file
from pipeline.shards.shard_file import Shard


@dataclass(frozen=True, slots=True, eq=False)
class StoredSample:
    """One sample: its id, image (h, w) and label (h, w)."""

    id: str
    image: NDArray[Any]
    label: NDArray[Any]


class StoredArrays:
    """The images, labels or weights of a split: an index gives (h, w), a slice (n, h, w), read when asked for."""

    def __init__(
        self,
        shards: Sequence[Shard],
        read: Callable[[Shard, int], NDArray[Any]],
        row_shape: tuple[int, int],
        dtype: np.dtype[Any],
    ) -> None:
        self._shards = shards
        self._read = read
        self._starts = np.cumsum([0, *(len(shard) for shard in shards)])
        self.dtype = dtype
        self.shape = (int(self._starts[-1]), *row_shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: int | slice) -> NDArray[Any]:
        """Return the array at one position, or those in a range."""
        if isinstance(rows, slice):
            picked = range(*rows.indices(len(self)))
            out = np.empty((len(picked), *self.shape[1:]), self.dtype)
            for place, row in zip(out, picked, strict=True):
                place[...] = self[row]
            return out
        shard, row = self._locate(rows)
        return self._read(shard, row)

    def __iter__(self) -> Iterator[NDArray[Any]]:
        """Yield the arrays one by one."""
        return (self[row] for row in range(len(self)))

    def _locate(self, row: int) -> tuple[Shard, int]:
        index = row + len(self) if row < 0 else row
        if not 0 <= index < len(self):
            raise IndexError(f"sample {row} of {len(self)}")
        position = int(np.searchsorted(self._starts, index, side="right")) - 1
        return self._shards[position], int(index - self._starts[position])


class Split(Sequence[StoredSample]):
    """The samples of one split: `images`, `labels`, and `weights` (None where the dataset stores none) as arrays.

    Raises:
        DatasetError: a shard is missing, unreadable, or not what dataset.json says.
    """

    def __init__(self, record: DatasetRecord, name: str) -> None:
        self.name = name
        self._record = record
        self.shards = tuple(Shard(record, shard) for shard in record.split_shards(name))
        self.images = StoredArrays(self.shards, Shard.image, record.window, record.image_dtype)
        self.labels = StoredArrays(self.shards, Shard.label, record.window, record.label_dtype)
        self.weights = StoredArrays(self.shards, Shard.weight, record.window, WEIGHT_DTYPE) if record.weights else None

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """The ids, in order."""
        return tuple(name for shard in self.shards for name in shard.ids())

    @cached_property
    def manifest(self) -> tuple[ManifestRow, ...]:
        """The manifest's rows of this split, in order."""
        path = self._record.folder / MANIFEST_FILE
        require_plain_file(path)
        rows = tuple(row for row in read_manifest(path) if row.split == self.name)
        if tuple(row.id for row in rows) != self.ids:
            raise DatasetError(f"{path}: its samples of {self.name} are not those of the shards; run augpipe verify")
        return rows

    @property
    def recipes(self) -> tuple[Recipe, ...]:
        """The recipes, in order."""
        return tuple(row.recipe for row in self.manifest)

    def __len__(self) -> int:
        return len(self.images)

    @overload
    def __getitem__(self, index: int) -> StoredSample: ...
    @overload
    def __getitem__(self, index: slice) -> list[StoredSample]: ...
    def __getitem__(self, index: int | slice) -> StoredSample | list[StoredSample]:
        """Return the sample at one position, or those in a range."""
        if isinstance(index, slice):
            return [self[row] for row in range(*index.indices(len(self)))]
        image = self.images[index]
        return StoredSample(self.ids[index], image, self.labels[index])


class Dataset(Mapping[str, Split]):
    """A dataset on disk: its splits by name, opened when they are first asked for."""

    def __init__(self, record: DatasetRecord) -> None:
        self.record = record
        self._splits: dict[str, Split] = {}

    def __iter__(self) -> Iterator[str]:
        """Yield the names of the splits."""
        return iter(self.splits)

    def __len__(self) -> int:
        return len(self.splits)

    def __contains__(self, split: object) -> bool:
        return split in self.splits

    @property
    def name(self) -> str:
        """The dataset's name."""
        return self.record.name

    @property
    def digest(self) -> str:
        """The dataset's digest, the one to cite: SHA-256 of dataset.json."""
        return self.record.sha256

    @property
    def splits(self) -> tuple[str, ...]:
        """The names of the splits."""
        return tuple(dict.fromkeys(shard.split for shard in self.record.shards))

    def __getitem__(self, split: str) -> Split:
        """Return one split.

        Raises:
            ConfigError: there is no such split.
            DatasetError: a shard cannot be read, or not be trusted.
        """
        if split not in self.splits:
            raise ConfigError(
                f"{self.record.folder}: expected one of the splits {', '.join(self.splits)}, got {split!r}"
            )
        if split not in self._splits:
            self._splits[split] = Split(self.record, split)
        return self._splits[split]


def open_dataset(folder: Path | str) -> Dataset:
    """Return the dataset in a folder, for reading.

    Raises:
        DatasetError: there is no complete dataset, or its record is not one that augpipe wrote.
    """
    return Dataset(read_record(Path(folder)))
