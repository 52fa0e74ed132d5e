"""What is audited: samples with their splits, from one of our datasets or from bare folders, read one at a time."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DatasetError
from pipeline.plan.split import SPLITS, SliceAddress
from pipeline.shards.manifest import read_manifest
from pipeline.shards.record import MANIFEST_FILE, DatasetRecord, ShardRecord, require_plain_file
from pipeline.shards.shard_file import Shard


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


def dataset_subject(record: DatasetRecord) -> Subject:
    """Return one of our datasets as a subject.

    Which split a slice belongs to is taken from the manifest and from dataset.json: a slice that either names counts.

    Raises:
        DatasetError: the manifest cannot be read.
    """
    used: dict[SliceAddress, set[str]] = {}
    for address, split in planned_slices(record):
        used.setdefault(address, set()).add(split)
    shards = {shard.file: _LazyShard(record, shard) for shard in record.shards}
    samples = []
    require_plain_file(record.folder / MANIFEST_FILE)
    for row in read_manifest(record.folder / MANIFEST_FILE):
        claimed = SliceAddress(row.stack, row.z)
        used.setdefault(claimed, set()).add(row.split)
        if row.shard not in shards:
            raise DatasetError(f"{record.folder / MANIFEST_FILE}: {row.id} is in {row.shard}, which is not recorded")
        shard = shards[row.shard]
        samples.append(
            AuditedSample(row.id, row.split, claimed, partial(shard.image, row.row), partial(shard.label, row.row))
        )
    return Subject(str(record.folder), tuple(samples), {address: frozenset(splits) for address, splits in used.items()})


def planned_slices(record: DatasetRecord) -> set[tuple[SliceAddress, str]]:
    """Return every slice with every split that dataset.json gives it to; nothing where it says nothing sensible."""
    try:
        slices = record.values["split"]["slices"]
        return {
            (SliceAddress(part["stack"], z), split)
            for split in SPLITS
            for part in slices.get(split, ())
            for z in part["z"]
            if type(z) is int and type(part["stack"]) is int
        }
    except (AttributeError, LookupError, TypeError):  # M001 says that it is not what follows from the config
        return set()


class _LazyShard:
    """A shard that is opened when it is first read, so that a broken one takes none but its own samples with it."""

    def __init__(self, record: DatasetRecord, shard: ShardRecord) -> None:
        self._path = record.folder / shard.file
        self._open = lru_cache(maxsize=1)(partial(Shard, record, shard))

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
