"""An opened dataset: its record, its manifest, and its splits as Python sequences."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self, overload

from numpy.typing import NDArray

from augment.recipe import Recipe
from pipeline.errors import DatasetError, UnknownSplitError
from pipeline.shards.arrays import StoredArrays
from pipeline.shards.digest import bytes_digest
from pipeline.shards.manifest import ManifestRow, read_manifest
from pipeline.shards.record import (
    DATASET_FILE,
    MANIFEST_FILE,
    MASK_DTYPE,
    WEIGHT_DTYPE,
    DatasetRecord,
    ShardRecord,
    parse_record,
)
from pipeline.shards.shard_file import Shard
from pipeline.shards.stored_files import find_stored_file

_MAX_RECORD_BYTES = 1 << 28


@dataclass(frozen=True, slots=True, eq=False)
class StoredSample:
    """One sample: its id, image (h, w), or (h, w, C) of several channels, and label (h, w)."""

    id: str
    image: NDArray[Any]
    label: NDArray[Any]


class Split(Sequence[StoredSample]):
    """The samples of one split: `images`, `labels`, and `weights` and `masks` (None where it stores none) as arrays.

    Raises:
        DatasetError: a shard is missing, unreadable, or not what dataset.json says.
    """

    def __init__(self, dataset: "Dataset", name: str) -> None:
        self.name = name
        self._dataset = dataset
        record = dataset.record
        self.shards = tuple(dataset.open_shard(shard) for shard in record.split_shards(name))
        self.images = StoredArrays(self.shards, Shard.image, "images", record.image_shape, record.image_dtype)
        self.labels = StoredArrays(self.shards, Shard.label, "labels", record.window, record.label_dtype)
        self.weights = (
            StoredArrays(self.shards, Shard.weight, "weights", record.window, WEIGHT_DTYPE)
            if record.has_weights
            else None
        )
        self.masks = (
            StoredArrays(self.shards, Shard.mask, "masks", record.window, MASK_DTYPE)
            if record.has_masks(name)
            else None
        )

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """The ids, in order."""
        return tuple(name for shard in self.shards for name in shard.ids())

    @cached_property
    def manifest(self) -> tuple[ManifestRow, ...]:
        """The manifest's rows of this split, in order.

        Raises:
            DatasetError: they cannot be read, or are not those of the shards.
        """
        rows = tuple(row for row in self._dataset.manifest if row.split == self.name)
        if tuple(row.id for row in rows) != self.ids:
            path = self._dataset.manifest_path
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
    """A dataset on disk, opened: its splits by name, each opened when it is first asked for.

    Attributes:
        folder: where it lies.
        record: dataset.json.
        digest: the one to cite, SHA-256 of dataset.json.
    """

    def __init__(self, folder: Path, record: DatasetRecord, digest: str) -> None:
        self.folder = folder
        self.record = record
        self.digest = digest
        self._splits: dict[str, Split] = {}

    __eq__ = object.__eq__  # that of Mapping would open and compare every split
    __hash__ = object.__hash__

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<dataset {self.name}: {self.n} samples in {', '.join(self.splits)}, at {self.folder}>"

    def __iter__(self) -> Iterator[str]:
        """Yield the names of the splits."""
        return iter(self.splits)

    def __len__(self) -> int:
        return len(self.splits)

    def __contains__(self, split: object) -> bool:
        return split in self.splits

    def __getitem__(self, split: str) -> Split:
        """Return one split.

        Raises:
            UnknownSplitError: there is no such split.
            DatasetError: a shard cannot be read, or not be trusted.
        """
        if split not in self.splits:
            raise UnknownSplitError(
                f"{self.folder}: expected one of the splits {', '.join(self.splits)}, got {split!r}"
            )
        if split not in self._splits:
            self._splits[split] = Split(self, split)
        return self._splits[split]

    @property
    def name(self) -> str:
        """The dataset's name."""
        return self.record.name

    @property
    def n(self) -> int:
        """Samples in all splits."""
        return self.record.n

    @property
    def splits(self) -> tuple[str, ...]:
        """The names of the splits."""
        return self.record.splits

    @property
    def record_path(self) -> Path:
        """Where dataset.json is."""
        return self.folder / DATASET_FILE

    @property
    def manifest_path(self) -> Path:
        """Where the manifest is."""
        return self.folder / MANIFEST_FILE

    @property
    def linked_files(self) -> tuple[str, ...]:
        """The names of its files that are symbolic links, as caches make them; what they lead to is what is read."""
        named = (self.record_path, self.manifest_path, *(self.folder / shard.file for shard in self.record.shards))
        return tuple(path.name for path in named if path.is_symlink())

    def rows(self) -> Iterator[ManifestRow]:
        """Yield the manifest's rows, of which none is kept.

        Raises:
            DatasetError: the manifest cannot be read, or holds another number of samples than the shards.
        """
        find_stored_file(self.manifest_path)
        n = 0
        for row in read_manifest(self.manifest_path):
            n += 1
            yield row
        if n != self.n:
            raise DatasetError(
                f"{self.manifest_path}: expected {self.n} samples, as the shards hold, found {n}; run augpipe verify"
            )

    @cached_property
    def manifest(self) -> tuple[ManifestRow, ...]:
        """All rows of the manifest, read once and kept."""
        return tuple(self.rows())

    def open_shard(self, shard: ShardRecord, data: bytes | None = None) -> Shard:
        """Return a shard, validated.

        Args:
            shard: which one.
            data: the bytes of its file, where they have been read already.

        Raises:
            DatasetError: it is missing, unreadable, or not what dataset.json says.
        """
        return Shard(self.folder, self.record, shard, data)

    def close(self) -> None:
        """Close every shard; one that is read again is opened again."""
        for split in self._splits.values():
            for shard in split.shards:
                shard.close()


def open_dataset(folder: Dataset | Path | str) -> Dataset:
    """Return the dataset in a folder, for reading; one that is open already, as it is.

    Raises:
        DatasetError: there is no complete dataset, or its record is not one that augpipe wrote.
    """
    if isinstance(folder, Dataset):
        return folder
    folder = Path(folder)
    path = folder / DATASET_FILE
    try:
        if not folder.is_dir():
            found = "a file" if folder.exists() else "nothing"
            raise DatasetError(f"{folder}: expected the folder of a dataset, found {found}")
        target = find_stored_file(path)
        if target.stat().st_size > _MAX_RECORD_BYTES:
            raise DatasetError(f"{path}: larger than {_MAX_RECORD_BYTES:,} bytes; not a dataset record")
        data = target.read_bytes()
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror or error})") from error
    return Dataset(folder, parse_record(data, where=path), bytes_digest(data))
