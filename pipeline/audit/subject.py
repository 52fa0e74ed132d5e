"""What is audited: samples with their splits, from one of our datasets or from bare folders, read one at a time."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DatasetError
from pipeline.plan.split import SPLITS, SliceAddress
from pipeline.shards.dataset import Dataset
from pipeline.shards.manifest import ManifestRow
from pipeline.shards.record import DatasetRecord, ShardRecord


@dataclass(frozen=True, slots=True, eq=False)
class AuditedSample:
    """One sample of whatever is audited.

    Attributes:
        name: its id, or the name of its file.
        split: train, val or test.
        claimed: the slice that the manifest says it shows; None where nothing says.
        image: reads (Y, X).
        label: reads (Y, X); None where there is none.
    """

    name: str
    split: str
    claimed: SliceAddress | None
    image: Callable[[], NDArray[Any]]
    label: Callable[[], NDArray[Any]] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """All that is audited.

    Attributes:
        name: as it was named.
        samples: all of them, split by split.
        used: the splits that each slice belongs to, by the records; empty where there are none.
    """

    name: str
    samples: tuple[AuditedSample, ...]
    used: Mapping[SliceAddress, frozenset[str]]

    @property
    def n_samples(self) -> dict[str, int]:
        """Samples in each split."""
        counts = {split: sum(sample.split == split for sample in self.samples) for split in SPLITS}
        return {split: count for split, count in counts.items() if count}

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Yield every (earlier, later) pair of splits in the order train, val, test."""
        splits = list(self.n_samples)
        for k, later in enumerate(splits):
            for earlier in splits[:k]:
                yield earlier, later


class DatasetSubject:
    """Gathers one of our datasets as a subject while its manifest is read, row by row.

    Which split a slice belongs to is taken from the manifest and from dataset.json: a slice that either names counts.
    """

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self._samples: list[AuditedSample] = []
        self._used: dict[SliceAddress, set[str]] = {}
        self.unread = ""
        self._shards = {shard.file: _LazyShard(dataset, shard) for shard in dataset.record.shards}
        for address, split in planned_slices(dataset.record):
            self._used.setdefault(address, set()).add(split)

    def add(self, row: ManifestRow) -> None:
        """Take in one more sample; `unread` says why one of them cannot be looked at."""
        claimed = SliceAddress(row.stack, row.z)
        self._used.setdefault(claimed, set()).add(row.split)
        if shard := self._shards.get(row.shard):
            read = partial(shard.image, row.row), partial(shard.label, row.row)
            self._samples.append(AuditedSample(row.id, row.split, claimed, *read))
        else:
            self.unread = f"{self.dataset.manifest_path}: {row.id} is in {row.shard}, which is not recorded"

    def subject(self) -> Subject:
        """Return what was gathered."""
        used = {address: frozenset(splits) for address, splits in self._used.items()}
        return Subject(str(self.dataset.folder), tuple(self._samples), used)


def dataset_subject(dataset: Dataset) -> Subject:
    """Return one of our datasets as a subject.

    Raises:
        DatasetError: the manifest cannot be read.
    """
    gathered = DatasetSubject(dataset)
    for row in dataset.manifest:
        gathered.add(row)
    return gathered.subject()


def planned_slices(record: DatasetRecord) -> set[tuple[SliceAddress, str]]:
    """Return every slice with every split that dataset.json gives it to."""
    return {
        (SliceAddress(part.stack, z), split)
        for split in SPLITS
        for part in record.split.slices.get(split, ())
        for z in part.z
    }


class _LazyShard:
    """A shard that is opened when it is first read, so that a broken one takes none but its own samples with it."""

    def __init__(self, dataset: Dataset, shard: ShardRecord) -> None:
        self._path = dataset.folder / shard.file
        self._open = lru_cache(maxsize=1)(partial(dataset.open_shard, shard))

    def image(self, row: int) -> NDArray[Any]:
        """Return an image (Y, X).

        Raises:
            DatasetError: it cannot be read, or holds what is no gray level.
        """
        image = self._open().image(row)
        if image.dtype.kind == "f" and not np.isfinite(image).all():
            raise DatasetError(f"{self._path}, row {row}: holds pixels that are not numbers (NaN or infinity)")
        return image

    def label(self, row: int) -> NDArray[Any]:
        """Return a label (Y, X)."""
        return self._open().label(row)
