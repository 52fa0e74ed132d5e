"""Checking a dataset: every byte against its digests, and on request every pixel against its recipe.

The manifest is read once, row by row. While it is read, each row is held against the plan that the configuration
gives; the digests of a shard are compared when its last row was met; and each row is rendered again if that was asked
for. So no more than a shard's digests are in memory at a time, however many samples there are.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import joblib

from pipeline.errors import ConfigError, DatasetError
from pipeline.plan.plan import Plan, PlannedSample, with_places
from pipeline.render.rendering import SampleRenderer, manifest_row, sample_renderer
from pipeline.shards.config import require_jobs
from pipeline.shards.dataset import Dataset, open_dataset
from pipeline.shards.digest import file_digest
from pipeline.shards.manifest import ManifestRow, read_manifest
from pipeline.shards.stored_files import find_stored_file
from pipeline.source.origin import find_origin
from pipeline.source.stacks import Source
from pipeline.verify.records import check_record, plan_again
from pipeline.verify.samples import Fault, FaultKind, StoredDigests, check_shard, replay_sample

RowCallback: TypeAlias = Callable[[ManifestRow], None]


@dataclass(frozen=True, slots=True)
class Verification:
    """What a check of a dataset found.

    Attributes:
        dataset: what was checked.
        n_checked: samples whose digests were compared.
        n_replayed: samples that were rendered again; 0 where that was not asked for.
        faults: everything that is not as recorded; empty where all is well.
        unread: why the manifest could not be read to its end; empty where it could.
        proven: the samples whose stored bytes are those that their recipe gives when it is rendered again from the
            source, without any fault of their own; empty where that was not asked for.
    """

    dataset: Dataset
    n_checked: int
    n_replayed: int
    faults: tuple[Fault, ...]
    unread: str = ""
    proven: frozenset[str] = frozenset()

    @property
    def findings(self) -> tuple[str, ...]:
        """One line for every fault."""
        return tuple(fault.text for fault in self.faults)


def verify_dataset(
    dataset: Dataset | Path | str,
    *,
    replay: bool = False,
    source_folder: Path | None = None,
    source: Source | None = None,
    sample_id: str | None = None,
    jobs: int = -1,
    on_row: RowCallback | None = None,
    name_proven: bool = False,
) -> Verification:
    """Compare every file, row and array of a dataset with its digests, and its records with each other.

    Whatever follows from the options (the split of every slice, the place and recipe of every sample) is worked out
    again from them and compared.

    Args:
        dataset: its folder, or the dataset, opened.
        replay: render samples again, too, and compare their pixels.
        source_folder: where the stack for that is, if not where build-info.json remembers it.
        source: the stack itself, where it has been read already; its samples are then rendered again.
        sample_id: the one sample to render again; all of them unless given.
        jobs: threads.
        on_row: called with every row of the manifest, in order, as it is read.
        name_proven: keep the ids of samples that are proven; then memory grows with their number.

    Raises:
        ConfigError: there is no sample of that id.
        DatasetError: there is no dataset that could be checked, or its source is not found and nothing else is wrong.
    """
    dataset = open_dataset(dataset)
    missing: DatasetError | None = None
    if replay and source is None:
        try:
            source = find_origin(dataset, source_folder)
        except DatasetError as error:
            missing = error
    verification = _Check(dataset, on_row).run(jobs, source, sample_id, digests=True, name_proven=name_proven)
    if missing is None:
        return verification
    if not verification.faults:
        raise missing
    return replace(verification, faults=(*verification.faults, Fault("replay", f"not replayed: {missing}")))


def verify_records(dataset: Dataset | Path | str, *, on_row: RowCallback | None = None) -> Verification:
    """Compare dataset.json and the manifest with each other and with what follows from the options; no shard is read.

    Raises:
        DatasetError: one of the two is missing, or dataset.json is of another renderer version.
    """
    dataset = open_dataset(dataset)
    find_stored_file(dataset.manifest_path)
    check = _Check(dataset, on_row)
    for _ in check.rows():
        pass
    return Verification(dataset, 0, 0, tuple(check.faults), check.unread)


def replay_dataset(
    dataset: Dataset | Path | str,
    source_folder: Path | None = None,
    *,
    source: Source | None = None,
    sample_id: str | None = None,
    jobs: int = -1,
) -> Verification:
    """Render samples again from their recipes and the source, and compare their array digests.

    Args:
        dataset: its folder, or the dataset, opened.
        source_folder: where the stack is that it was made from, if not where build-info.json remembers it.
        source: the stack itself, where it has been read already.
        sample_id: one sample's id; all samples unless given.
        jobs: threads to render in.

    Raises:
        ConfigError: there is no sample of that id.
        DatasetError: the dataset cannot be read, was made by another renderer version, or its source is not found.
    """
    dataset = open_dataset(dataset)
    check = _Check(dataset, None)
    replayed = check.run(jobs, source or find_origin(dataset, source_folder), sample_id, digests=False)
    if replayed.unread:
        raise DatasetError(replayed.unread)
    return replace(replayed, faults=tuple(check.replay_faults))


class _Check:
    """One pass over a dataset's manifest.

    Args:
        dataset: what to check.
        on_row: called with every row.

    Raises:
        DatasetError: it was made by another renderer version, or no build has such options and inputs.
    """

    def __init__(self, dataset: Dataset, on_row: RowCallback | None) -> None:
        self.dataset = dataset
        self.plan = plan_again(dataset)
        self.faults = [Fault("record", text) for text in check_record(dataset, self.plan)]
        self.replay_faults: list[Fault] = []
        self.unread = ""
        self._on_row = on_row

    def rows(self) -> Iterator[ManifestRow]:
        """Yield the manifest's rows, and note what is wrong with them; whatever is, nothing is raised."""
        path, record = self.dataset.manifest_path, self.dataset.record
        recorded = {shard.file: shard for shard in record.shards}
        planned = {shard.file: shard for shard, _ in zip(self.plan.shards(), record.shards, strict=False)}
        n_met: Counter[str] = Counter()
        samples: list[PlannedSample] = []  # of the shard that is being read: rows come shard by shard
        try:
            find_stored_file(path)
            if path.stat().st_size != record.manifest.bytes or file_digest(path) != record.manifest.sha256:
                self._note("digest", "is not the manifest that dataset.json records (its digest differs)")
            for row in read_manifest(path):
                if self._on_row:
                    self._on_row(row)
                if row.shard in planned and (not samples or samples[0].shard != row.shard):
                    samples = self.plan.samples(planned[row.shard])
                if row.shard not in recorded:
                    text = f"sample {row.id} is said to be in {row.shard}, which dataset.json does not name"
                    self._note("record", text, row.id)
                elif row.row < n_met[row.shard]:
                    self._note("record", f"sample {row.id} is there twice, or out of order", row.id)
                else:
                    self._check_row(row, samples if row.shard in planned else [])
                    n_met[row.shard] += 1
                yield row
        except (DatasetError, OSError) as error:
            self.unread = str(error)
            self.faults.append(Fault("record", self.unread))
        else:
            for file, shard in recorded.items():
                if n_met[file] != shard.n:
                    self._note("record", f"lists {n_met[file]} samples of {file}, dataset.json records {shard.n}")

    def run(
        self,
        jobs: int,
        source: Source | None,
        sample_id: str | None,
        *,
        digests: bool,
        name_proven: bool = False,
    ) -> Verification:
        """Read the manifest, and compare and render what its rows name, in threads."""
        require_jobs(jobs)
        renderer = sample_renderer(source, self.plan.config) if source else None
        plan = with_places(self.plan, source) if source else self.plan
        stray = list(_stray_shards(self.dataset)) if digests else []
        with joblib.Parallel(jobs, backend="threading", return_as="generator") as parallel:
            found: list[Fault] = []
            errors: list[DatasetError] = []
            rendered: set[str] = set()
            compared: set[str] = set()
            n_checked = n_replayed = 0
            for result in parallel(self._tasks(source, plan, renderer, sample_id, digests=digests)):
                (self.replay_faults if result.n_replayed else found).extend(result.faults)
                n_checked += result.n_checked
                n_replayed += result.n_replayed
                errors += [result.error] if result.error else []
                if name_proven:
                    (rendered if result.n_replayed else compared).update(result.samples)
        if errors:  # raised here and not in a thread: joblib would warn of the tasks that it cancels
            raise errors[0]
        if source and sample_id and not n_replayed and not self.unread:
            raise ConfigError(
                f"{self.dataset.manifest_path}: holds no sample {sample_id!r}; ids look like s000-z00000-r0000000"
            )
        faults = (*self.faults, *stray, *found, *self.replay_faults)
        return Verification(
            self.dataset,
            n_checked=n_checked,
            n_replayed=n_replayed,
            faults=faults,
            unread=self.unread,
            proven=frozenset(rendered & compared - {fault.sample for fault in faults}),
        )

    def _tasks(
        self,
        source: Source | None,
        plan: Plan,
        renderer: SampleRenderer | None,
        sample_id: str | None,
        *,
        digests: bool,
    ) -> Iterator[Any]:
        """Yield what is to be done in threads: rows to render again, and shards to compare, each when it is met."""
        shards = {shard.file: shard for shard in self.dataset.record.shards}
        group: list[StoredDigests] = []
        current: str | None = None
        for row in self.rows():
            if source and renderer and sample_id in (None, row.id):
                yield joblib.delayed(replay_sample)(self.dataset, source, plan, renderer, row)
            if digests and row.shard != current:
                if shard := shards.pop(current or "", None):
                    yield joblib.delayed(check_shard)(self.dataset, shard, group)
                group, current = [], row.shard
            group.append(StoredDigests(row.id, row.split, row.row, row.array_digests))
        if digests:
            last = shards.pop(current or "", None)
            for shard, rows in ([(last, group)] if last else []) + [(shard, []) for shard in shards.values()]:
                yield joblib.delayed(check_shard)(self.dataset, shard, rows)

    def _check_row(self, row: ManifestRow, samples: list[PlannedSample]) -> None:
        stored = self.dataset.record.array_names(row.split)
        for name, what in {"weights": "weights, which are", "mask": "a mask, which is"}.items():
            if (name in row.digests) != (name in stored):
                lacks = f"lacks the digest of its {name}" if name in stored else f"has {what} not recorded"
                self._note("record", f"sample {row.id} {lacks}", row.id)
        if row.row >= len(samples):
            return
        sample = samples[row.row]
        recipe, beside = self.plan.recipe_again(sample, row.recipe), tuple(each.z for each in row.context)
        planned = manifest_row(sample, recipe, row.context, row.source_sha256, row.digests)
        if row != planned or beside != self.plan.context(sample):
            text = f"{row.id} is not the sample that the seed and the split put there ({sample.id})"
            self._note("record", text, row.id)

    def _note(self, kind: FaultKind, text: str, sample: str | None = None) -> None:
        self.faults.append(Fault(kind, f"{self.dataset.manifest_path}: {text}", sample))


def _stray_shards(dataset: Dataset) -> Iterator[Fault]:
    """Yield every file among the shards that is not recorded; where only the records count, it does no harm."""
    recorded = {shard.file for shard in dataset.record.shards}
    for stray in sorted(found.name for found in dataset.folder.glob("*.h5") if found.name not in recorded):
        text = f"{dataset.folder / stray}: lies among the shards and is not recorded; readers of *.h5 would read it"
        yield Fault("record", text)
