"""Checking a dataset: every byte against its digests, and on request every pixel against its recipe.

The manifest is read once, row by row. While it is read, each row is held against the plan that the configuration
gives; the digests of a shard are compared when its last row was met; and each row is rendered again if that was asked
for. So no more than a shard's digests are in memory at a time, however many samples there are.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

import joblib
import numpy as np

from augment.renderer import Sample
from pipeline.errors import AugpipeError, ConfigError, DatasetError
from pipeline.files import require_plain_file
from pipeline.plan.records import describe_dataset
from pipeline.plan.samples import Plan, PlannedSample, PlannedShard, plan_from_inputs
from pipeline.render.rendering import SampleRenderer, manifest_row, sample_renderer, weigh_label
from pipeline.shards.config import RENDERER_VERSION, require_jobs
from pipeline.shards.dataset import Dataset, open_dataset
from pipeline.shards.digest import array_digest, content_digest, file_digest
from pipeline.shards.manifest import ManifestRow, read_manifest
from pipeline.shards.record import ShardRecord
from pipeline.shards.shard_file import Shard
from pipeline.source.known_stacks import recognise
from pipeline.source.stacks import Source
from pipeline.verify.origin import find_origin

FaultKind: TypeAlias = Literal["record", "digest", "replay"]
RowCallback: TypeAlias = Callable[[ManifestRow], None]


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is not as recorded.

    Attributes:
        kind: `digest` where a digest of a file, shard, manifest, image, label, weights or source slice differs,
            `replay` where a recipe does not give the stored pixels or weights again, `record` for all else.
        text: what was found, in one line.
        sample: the id of the sample, where it is about one.
    """

    kind: FaultKind
    text: str
    sample: str | None = None


@dataclass(frozen=True, slots=True)
class Verification:
    """What a check of a dataset found.

    Attributes:
        dataset: what was checked.
        n_checked: samples whose digests were compared.
        n_replayed: samples that were rendered again; 0 where that was not asked for.
        faults: everything that is not as recorded; empty where all is well.
        unread: why the manifest could not be read to its end; empty where it could.
    """

    dataset: Dataset
    n_checked: int
    n_replayed: int
    faults: tuple[Fault, ...]
    unread: str = ""

    @property
    def findings(self) -> tuple[str, ...]:
        """One line for every fault."""
        return tuple(fault.text for fault in self.faults)


def verify_dataset(
    dataset: Dataset | Path | str,
    *,
    jobs: int = -1,
    source: Source | None = None,
    sample_id: str | None = None,
    on_row: RowCallback | None = None,
) -> Verification:
    """Compare every file, row and array of a dataset with its digests, and its records with each other.

    Whatever follows from the options (the split of every slice, the place and recipe of every sample) is worked out
    again from them and compared.

    Args:
        dataset: its folder, or the dataset, opened.
        jobs: threads.
        source: the stacks that it was made from; with them, samples are rendered again and compared, too.
        sample_id: the one sample to render again; all of them unless given.
        on_row: called with every row of the manifest, in order, as it is read.

    Raises:
        ConfigError: there is no sample of that id.
        DatasetError: there is no dataset that could be checked.
    """
    require_jobs(jobs)
    check = _Check(open_dataset(dataset), on_row)
    return check.run(jobs, source, sample_id, digests=True)


def verify_records(dataset: Dataset | Path | str, *, on_row: RowCallback | None = None) -> Verification:
    """Compare dataset.json and the manifest with each other and with what follows from the options; no shard is read.

    Raises:
        DatasetError: one of the two is missing, or dataset.json is of another renderer version.
    """
    dataset = open_dataset(dataset)
    require_plain_file(dataset.manifest_path)
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
    require_jobs(jobs)
    dataset = open_dataset(dataset)
    check = _Check(dataset, None)
    replayed = check.run(jobs, source or find_origin(dataset, source_folder), sample_id, digests=False)
    if replayed.unread:
        raise DatasetError(replayed.unread)
    return replace(replayed, faults=tuple(check.replay_faults))


def check_dataset(
    dataset: Dataset | Path | str,
    *,
    replay: bool = False,
    source_folder: Path | None = None,
    sample_id: str | None = None,
    jobs: int = -1,
) -> Verification:
    """Verify a dataset, and on request replay it, in one pass.

    Raises:
        ConfigError: there is no sample of that id.
        DatasetError: there is no dataset that could be checked, or its source is not found and nothing else is wrong.
    """
    dataset = open_dataset(dataset)
    missing: DatasetError | None = None
    source = None
    if replay:
        try:
            source = find_origin(dataset, source_folder)
        except DatasetError as error:
            missing = error
    verification = verify_dataset(dataset, jobs=jobs, source=source, sample_id=sample_id)
    if missing is None:
        return verification
    if not verification.faults:
        raise missing
    return replace(verification, faults=(*verification.faults, Fault("replay", f"not replayed: {missing}")))


class _Digests(NamedTuple):
    """What the manifest says of a stored sample, less its recipe."""

    id: str
    split: str
    row: int
    arrays: tuple[str, ...]


class _Result(NamedTuple):
    """What one task of a check found."""

    faults: list[Fault]
    n_checked: int = 0
    n_replayed: int = 0


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
        self.plan = _plan_again(dataset)
        self.faults = [Fault("record", text) for text in _check_record(dataset, self.plan)]
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
            require_plain_file(path)
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

    def run(self, jobs: int, source: Source | None, sample_id: str | None, *, digests: bool) -> Verification:
        """Read the manifest, and compare and render what its rows name, in threads."""
        renderer = sample_renderer(source, self.plan.config.engine) if source else None
        stray = list(_stray_shards(self.dataset)) if digests else []
        with joblib.Parallel(jobs, backend="threading", return_as="generator") as parallel:
            found: list[Fault] = []
            n_checked = n_replayed = 0
            for result in parallel(self._tasks(source, renderer, sample_id, digests=digests)):
                (self.replay_faults if result.n_replayed else found).extend(result.faults)
                n_checked += result.n_checked
                n_replayed += result.n_replayed
        if source and sample_id and not n_replayed and not self.unread:
            raise ConfigError(
                f"{self.dataset.manifest_path}: holds no sample {sample_id!r}; ids look like s000-z00000-r0000000"
            )
        return Verification(
            self.dataset,
            n_checked=n_checked,
            n_replayed=n_replayed,
            faults=(*self.faults, *stray, *found, *self.replay_faults),
            unread=self.unread,
        )

    def _tasks(
        self, source: Source | None, renderer: SampleRenderer | None, sample_id: str | None, *, digests: bool
    ) -> Iterator[Any]:
        """Yield what is to be done in threads: rows to render again, and shards to compare, each when it is met."""
        shards = {shard.file: shard for shard in self.dataset.record.shards}
        group: list[_Digests] = []
        current: str | None = None
        for row in self.rows():
            if source and renderer and sample_id in (None, row.id):
                yield joblib.delayed(_replay)(self.dataset, source, renderer, row)
            if digests and row.shard != current:
                if shard := shards.pop(current or "", None):
                    yield joblib.delayed(_check_shard)(self.dataset, shard, group)
                group, current = [], row.shard
            group.append(_Digests(row.id, row.split, row.row, row.array_digests))
        if digests:
            last = shards.pop(current or "", None)
            for shard, rows in ([(last, group)] if last else []) + [(shard, []) for shard in shards.values()]:
                yield joblib.delayed(_check_shard)(self.dataset, shard, rows)

    def _check_row(self, row: ManifestRow, samples: list[PlannedSample]) -> None:
        has_weights = self.dataset.record.has_weights
        if (row.weights_sha256 is not None) != has_weights:
            lacks = "lacks the digest of its weights" if has_weights else "has weights, which are not recorded"
            self._note("record", f"sample {row.id} {lacks}", row.id)
        if row.row >= len(samples):
            return
        sample = samples[row.row]
        if row != manifest_row(sample, self.plan.recipe(sample), row.source_sha256, *row.array_digests):
            text = f"{row.id} is not the sample that the seed and the split put there ({sample.id})"
            self._note("record", text, row.id)

    def _note(self, kind: FaultKind, text: str, sample: str | None = None) -> None:
        self.faults.append(Fault(kind, f"{self.dataset.manifest_path}: {text}", sample))


def _plan_again(dataset: Dataset) -> Plan:
    """Return the plan that a dataset's own options and inputs give.

    Raises:
        DatasetError: it was made by another renderer version, or no build has such options and inputs.
    """
    path, record = dataset.record_path, dataset.record
    if record.renderer != RENDERER_VERSION:
        raise DatasetError(
            f"{path}: rendered by version {record.renderer}, this augpipe is version {RENDERER_VERSION}; "
            "check it with the augpipe that made it"
        )
    try:
        return plan_from_inputs(record.config, record.name, record.inputs, record.source)
    except AugpipeError as error:
        raise DatasetError(f"{path}: not a dataset record of this version ({error})") from error


def _check_record(dataset: Dataset, plan: Plan) -> Iterator[str]:
    """Yield every part of dataset.json that contradicts another."""
    path, record = dataset.record_path, dataset.record
    expected = describe_dataset(plan, record.inputs, record.source, record.manifest, record.shards)
    for field in fields(record):
        if getattr(record, field.name) != getattr(expected, field.name):
            yield f"{path}: {field.name} is not what follows from its config and inputs"
    if any(not _is_planned(shard, planned) for shard, planned in zip_longest(record.shards, plan.shards())):
        yield f"{path}: its shards are not those that follow from its config"
    name, known = recognise(record.inputs, record.name)
    told = record.source.to_json()
    if name != record.name or any(told.get(key) != value for key, value in known.to_json().items()):
        yield f"{path}: what it says of its source is not what is known of these pixels"


def _is_planned(shard: ShardRecord | None, planned: PlannedShard | None) -> bool:
    if shard is None or planned is None:
        return False
    return (shard.file, shard.split, shard.n) == (planned.file, planned.split, planned.n)


def _stray_shards(dataset: Dataset) -> Iterator[Fault]:
    """Yield every file among the shards that is not recorded; where only the records count, it does no harm."""
    recorded = {shard.file for shard in dataset.record.shards}
    for stray in sorted(found.name for found in dataset.folder.glob("*.h5") if found.name not in recorded):
        text = f"{dataset.folder / stray}: lies among the shards and is not recorded; readers of *.h5 would read it"
        yield Fault("record", text)


def _check_shard(dataset: Dataset, shard: ShardRecord, rows: list[_Digests]) -> _Result:
    """Return what is wrong with one shard's bytes, rows and arrays, and how many of its samples were compared."""
    path = dataset.folder / shard.file
    faults: list[Fault] = []
    try:
        require_plain_file(path)
        if path.stat().st_size != shard.bytes:
            text = f"{path}: has {path.stat().st_size:,} bytes, dataset.json records {shard.bytes:,}"
            faults.append(Fault("digest", text))
        elif file_digest(path) != shard.sha256:
            text = f"{path}: its bytes are not those that dataset.json records (its digest differs)"
            faults.append(Fault("digest", text))
        opened = dataset.open_shard(shard)
        try:
            faults += _check_rows(opened, rows, has_weights=dataset.record.has_weights)
        finally:
            opened.close()
    except PermissionError as error:
        raise DatasetError(f"{path}: may not be read, so it was not checked ({error.strerror})") from error
    except (DatasetError, OSError) as error:
        return _Result([*faults, Fault("record", str(error))])
    return _Result(faults, n_checked=shard.n)


def _check_rows(shard: Shard, rows: list[_Digests], *, has_weights: bool) -> Iterator[Fault]:
    """Yield the digests that differ.

    Raises:
        DatasetError: the shard holds other samples than these rows, or cannot be read to its end.
    """
    path, record = shard.path, shard.record
    places = [(row.split, row.row) for row in rows]
    if [row.id for row in rows] != shard.ids() or places != [(record.split, k) for k in range(len(shard))]:
        raise DatasetError(f"{path}: its samples are not those that the manifest lists for it")
    readers = {"image": shard.image, "label": shard.label, **({"weights": shard.weight} if has_weights else {})}
    digests = []
    for k, row in enumerate(rows):
        found = {name: array_digest(read(k)) for name, read in readers.items()}
        digests.append(tuple(found.values()))
        recorded = dict(zip(readers, row.arrays, strict=False))
        for name, digest in found.items():
            if digest != recorded.get(name):
                text = f"{path}: the {name} of {row.id} (row {k}) is not what the manifest records"
                yield Fault("digest", text, row.id)
    if content_digest(digests) != record.content_sha256:
        yield Fault("digest", f"{path}: its content is not what dataset.json records")


def _replay(dataset: Dataset, source: Source, renderer: SampleRenderer, row: ManifestRow) -> _Result:
    """Return what is wrong with a sample when it is rendered again, if anything is."""
    fault = _replay_fault(dataset, source, renderer, row)
    return _Result([fault] if fault else [], n_replayed=1)


def _replay_fault(dataset: Dataset, source: Source, renderer: SampleRenderer, row: ManifestRow) -> Fault | None:
    record = dataset.record

    def fault(text: str, kind: FaultKind = "replay") -> Fault:
        return Fault(kind, f"{row.id}: {text}", row.id)

    try:
        stack = source.stacks[row.stack]
        if row.source_sha256 != stack.slice_sha256[row.z]:
            return fault(f"its source_sha256 is not that of slice {row.z} of the source", "digest")
        if row.recipe.window != record.window:
            return fault(f"its recipe's window {row.recipe.window} is not the dataset's {record.window}")
        out = Sample(np.empty(record.window, stack.images.dtype), np.empty(record.window, stack.labels.dtype))
        renderer(row.stack, row.z, row.recipe, out)
    except IndexError:
        return fault("the source has no such slice")
    except ConfigError as error:
        return fault(f"its recipe cannot be rendered ({error})")
    digests: tuple[str, ...] = tuple(map(array_digest, out))
    if digests != (row.image_sha256, row.label_sha256):
        return fault("rendering its recipe again gives other pixels than those recorded")
    if record.has_weights:
        digests += (array_digest(weigh_label(out.label, source.coding.kind)),)
    return None if digests == row.array_digests else fault("its label gives other weights than those recorded")
