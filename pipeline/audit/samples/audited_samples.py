"""The samples that are audited, of one of our datasets or of anybody's folders, and the threads that look at them."""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import combinations, zip_longest
from typing import Any, TypeVar

import cv2
import joblib
import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from augment.gray import as_plane
from pipeline.audit.record_checks import planned_slices
from pipeline.errors import AugpipeError, DatasetError
from pipeline.plan.split import SliceAddress, in_order
from pipeline.shards.context import offsets, slice_channels
from pipeline.shards.dataset import Dataset
from pipeline.shards.manifest import ManifestRow
from pipeline.shards.progress import Progress, track
from pipeline.shards.shard_file import Shard

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, eq=False)
class AuditedSample:
    """One sample of whatever is audited, or where samples show several slices, what one shows of one of them.

    Attributes:
        name: its id, or the name of its file; of a slice beside its own also where that lies: `... z+1`.
        split: train, val or test.
        claimed: the slice that the manifest says it shows; None where there is no manifest.
        image: reads (Y, X), or (Y, X, C) of several channels.
        label: reads (Y, X); None where the sample has no label.
        image_sha256: the digest of its image as the manifest records it; empty where it records none.
        part_of: the id of the sample, where this is what it shows beside its own slice; else empty.
    """

    name: str
    split: str
    claimed: SliceAddress | None
    image: Callable[[], NDArray[Any]]
    label: Callable[[], NDArray[Any]] | None = None
    image_sha256: str = ""
    part_of: str = ""

    @property
    def id(self) -> str:
        """The id of the sample, or the name of its file."""
        return self.part_of or self.name

    def plane(self) -> NDArray[Any]:
        """Return the image as (Y, X), whatever channels it has: what is looked for in others."""
        return as_plane(self.image())


@dataclass(frozen=True, slots=True, eq=False)
class AuditedSamples:
    """All samples of one audit.

    Attributes:
        name: what is audited, as the user named it.
        samples: all of them, split by split.
        owners: the splits that each slice belongs to, by the records; empty where there are no records.
        factor: by what images are reduced, as a source that they are compared with must be.
    """

    name: str
    samples: tuple[AuditedSample, ...]
    owners: Mapping[SliceAddress, set[str]]
    factor: int = 1

    @property
    def n_samples(self) -> dict[str, int]:
        """Samples in each split."""
        counts = Counter(sample.split for sample in self.samples if not sample.part_of)
        return {split: counts[split] for split in in_order(counts)}

    def only(self, samples: Collection[AuditedSample]) -> "AuditedSamples":
        """Return the same with only some of the samples, in the same order."""
        kept = set(samples)
        return replace(self, samples=tuple(sample for sample in self.samples if sample in kept))

    def pairs(self) -> list[tuple[str, str]]:
        """Return every (earlier, later) pair of splits in the order train, val, test."""
        return list(combinations(self.n_samples, 2))


class DatasetSamples:
    """Gathers the samples of a dataset while its manifest is read, row by row.

    Which split a slice belongs to is taken from the manifest and from dataset.json: a slice that either names counts.
    """

    def __init__(self, dataset: Dataset) -> None:
        self._dataset, self._context = dataset, dataset.record.config.context
        self._samples: list[AuditedSample] = []
        self._owners: defaultdict[SliceAddress, set[str]] = defaultdict(set)
        self.unread = ""
        # A shard is opened when it is first read, so that of a broken one only its own samples are lost.
        self._shards = {shard.file: cache(partial(dataset.open_shard, shard)) for shard in dataset.record.shards}
        for address, split in planned_slices(dataset.record):
            self._owners[address].add(split)

    def add(self, row: ManifestRow) -> None:
        """Add one more sample; where it cannot be looked at, `unread` says why."""
        shown = [SliceAddress(row.stack, z) for z, _ in row.shown]
        for address in shown:
            self._owners[address].add(row.split)
        if not (open_shard := self._shards.get(row.shard)):
            self.unread = f"{self._dataset.manifest_path}: {row.id} is in {row.shard}, which is not recorded"
            return
        image, label = (partial(_read, open_shard, array, row.row) for array in (Shard.image, Shard.label))
        if not self._context:
            self._samples.append(AuditedSample(row.id, row.split, shown[0], image, label, row.image_sha256))
            return
        places = sorted(offsets(self._context), key=bool)  # its own slice first, as in `shown`
        for offset, claimed in zip_longest(places, shown[: len(places)]):
            own, of_slice = not offset, partial(_read_slice, image, self._context, offset)
            name, part_of = (row.id, "") if own else (f"{row.id} z{offset:+d}", row.id)
            label_of = label if own else None
            self._samples.append(AuditedSample(name, row.split, claimed, of_slice, label_of, part_of=part_of))

    def gathered(self) -> AuditedSamples:
        """Return the samples so far."""
        return AuditedSamples(str(self._dataset.folder), tuple(self._samples), dict(self._owners))


def _read(open_shard: Callable[[], Shard], array: Callable[[Shard, int], NDArray[Any]], row: int) -> NDArray[Any]:
    """Return an image or a label (Y, X).

    Raises:
        DatasetError: it cannot be read, or has pixels that are not numbers.
    """
    shard = open_shard()
    pixels = array(shard, row)
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        raise DatasetError(f"{shard.path}, row {row}: holds pixels that are not numbers (NaN or infinity)")
    return pixels


def _read_slice(image: Callable[[], NDArray[Any]], context: int, offset: int) -> NDArray[Any]:
    return np.ascontiguousarray(slice_channels(image(), context, offset))


class Workers:
    """Does the same to many things, in threads, and reports the progress."""

    def __init__(self, parallel: joblib.Parallel, progress: Progress) -> None:
        self._parallel = parallel
        self._progress = progress

    def map(self, what: str, do: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
        """Return what `do` returns for every item, in order."""
        results = self._parallel(joblib.delayed(do)(item) for item in items)
        return list(track(results, self._progress, what, len(items), unit="steps"))

    def read_all(
        self, audited: AuditedSamples, what: str, read: Callable[[AuditedSample], Result]
    ) -> tuple[AuditedSamples, list[Result], str]:
        """Return the samples that can be read, what `read` returns for each, and why the others cannot be read."""

        def attempt(sample: AuditedSample) -> Result | AugpipeError:
            try:
                return read(sample)
            except AugpipeError as error:
                return error

        attempts = list(zip(audited.samples, self.map(what, attempt, audited.samples), strict=True))
        errors = [result for _, result in attempts if isinstance(result, AugpipeError)]
        done = [(sample, result) for sample, result in attempts if not isinstance(result, AugpipeError)]
        unread = f"{len(errors)} of {len(attempts)} samples could not be read: {errors[0]}" if errors else ""
        readable = replace(audited, samples=tuple(sample for sample, _ in done))
        return readable, [result for _, result in done], unread


@contextmanager
def start_workers(jobs: int, progress: Progress) -> Iterator[Workers]:
    """Start threads, each of which computes alone: libraries that start threads of their own may use only one."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        with threadpool_limits(1), joblib.Parallel(jobs, backend="threading", return_as="generator") as parallel:
            yield Workers(parallel, progress)
    finally:
        cv2.setNumThreads(threads)
