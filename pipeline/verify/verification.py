"""Checking a dataset: every byte against its digests, and on request every pixel against its recipe."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

import joblib
import numpy as np

from augment.renderer import Sample
from pipeline.errors import AugpipeError, ConfigError, DatasetError
from pipeline.plan.records import describe_plan
from pipeline.plan.samples import Plan, plan_from_inputs
from pipeline.render.samples import SampleRenderer, manifest_row, sample_renderer
from pipeline.render.weights import weigh_label
from pipeline.shards.config import RENDERER_VERSION, BuildConfig, require_jobs
from pipeline.shards.digest import array_digest, canonical_json, content_digest, file_digest
from pipeline.shards.manifest import ManifestRow, read_manifest
from pipeline.shards.record import (
    DATASET_FILE,
    MANIFEST_FILE,
    DatasetRecord,
    ShardRecord,
    read_record,
    require_plain_file,
)
from pipeline.shards.shard_file import Shard
from pipeline.source.known_stacks import recognise
from pipeline.source.stacks import Source
from pipeline.verify.origin import find_origin

FaultKind: TypeAlias = Literal["record", "digest", "replay"]


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
        record: the dataset.
        n_checked: samples whose digests were compared.
        n_replayed: samples that were rendered again; 0 where that was not asked for.
        faults: everything that is not as recorded; empty where all is well.
    """

    record: DatasetRecord
    n_checked: int
    n_replayed: int
    faults: tuple[Fault, ...]

    @property
    def findings(self) -> tuple[str, ...]:
        """One line for every fault."""
        return tuple(fault.text for fault in self.faults)


def verify_dataset(folder: Path | str, *, jobs: int = -1) -> Verification:
    """Compare every file, row and array of a dataset with its digests, and its records with each other.

    Whatever follows from the options (the split of every slice, the place and recipe of every sample) is worked out
    again from them and compared; the pixels themselves are the business of `replay_dataset`.

    Raises:
        DatasetError: there is no dataset that could be checked.
    """
    require_jobs(jobs)
    record = read_record(Path(folder))
    faults, rows_of_shard = _verify_records(record)
    faults += _stray_shards(record)
    with joblib.Parallel(jobs, backend="threading") as parallel:
        found = parallel(
            joblib.delayed(_check_shard)(record, shard, rows_of_shard[shard.file]) for shard in record.shards
        )
    faults += [fault for own, _ in found for fault in own]
    return Verification(record, n_checked=sum(n for _, n in found), n_replayed=0, faults=tuple(faults))


def verify_records(folder: Path | str) -> Verification:
    """Compare dataset.json and the manifest with each other and with what follows from the options; no shard is read.

    Raises:
        DatasetError: one of the two is missing, or dataset.json is of another renderer version.
    """
    record = read_record(Path(folder))
    require_plain_file(record.folder / MANIFEST_FILE)
    faults, _ = _verify_records(record)
    return Verification(record, n_checked=0, n_replayed=0, faults=tuple(faults))


def replay_dataset(
    folder: Path | str,
    source_folder: Path | None = None,
    *,
    source: Source | None = None,
    sample_id: str | None = None,
    jobs: int = -1,
) -> Verification:
    """Render samples again from their recipes and the source, and compare their array digests.

    Args:
        folder: the dataset.
        source_folder: where the stack is that it was made from, if not where build-info.json remembers it.
        source: the stack itself, where it has been read already.
        sample_id: one sample's id; all samples unless given.
        jobs: threads to render in.

    Raises:
        ConfigError: there is no sample of that id.
        DatasetError: the dataset cannot be read, was made by another renderer version, or its source is not found.
    """
    require_jobs(jobs)
    record = read_record(Path(folder))
    plan, _ = _plan_again(record)
    source = source or find_origin(record, source_folder)
    path = record.folder / MANIFEST_FILE
    require_plain_file(path)
    renderer = sample_renderer(source, plan.config.engine)
    with joblib.Parallel(jobs, backend="threading", return_as="generator") as parallel:
        found = parallel(
            joblib.delayed(_replay)(record, source, renderer, row)
            for row in read_manifest(path)
            if sample_id in (None, row.id)
        )
        faults, n_replayed = [], 0
        for fault in found:
            n_replayed += 1
            faults += [fault] * bool(fault)
    if not n_replayed:
        raise ConfigError(f"{path}: holds no sample {sample_id!r}; ids look like s000-z00000-r0000000")
    return Verification(record, n_checked=0, n_replayed=n_replayed, faults=tuple(faults))


def check_dataset(
    folder: Path | str,
    *,
    replay: bool = False,
    source_folder: Path | None = None,
    sample_id: str | None = None,
    jobs: int = -1,
) -> Verification:
    """Verify a dataset, and on request replay it; a record that is already found wrong may make the replay fail.

    Raises:
        ConfigError: there is no sample of that id.
        DatasetError: there is no dataset that could be checked, or its source is not found.
    """
    verification = verify_dataset(folder, jobs=jobs)
    if not replay:
        return verification
    try:
        replayed = replay_dataset(folder, source_folder, sample_id=sample_id, jobs=jobs)
    except DatasetError as error:
        if not verification.findings:
            raise
        replayed = replace(verification, faults=(Fault("replay", f"not replayed: {error}"),))
    return replace(
        verification,
        n_replayed=replayed.n_replayed,
        faults=(*verification.faults, *replayed.faults),
    )


def _replay(record: DatasetRecord, source: Source, renderer: SampleRenderer, row: ManifestRow) -> Fault | None:
    """Return what is wrong with a sample when it is rendered again, if anything is."""

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
    if record.weights:
        digests += (array_digest(weigh_label(out.label, source.coding.kind)),)
    return None if digests == row.array_digests else fault("its label gives other weights than those recorded")


def _plan_again(record: DatasetRecord) -> tuple[Plan, dict[str, Any]]:
    """Return the plan that a dataset's own options and inputs give, and what dataset.json must then say.

    Raises:
        DatasetError: it was made by another renderer version, or its record is not one of this version.
    """
    path, values = record.folder / DATASET_FILE, record.values
    if (version := values.get("renderer")) != RENDERER_VERSION:
        raise DatasetError(
            f"{path}: rendered by version {version!r:.40}, this augpipe is version {RENDERER_VERSION}; "
            "check it with the augpipe that made it"
        )
    try:
        config, inputs, facts = BuildConfig.from_json(values["config"]), values["inputs"], dict(values["source"])
        plan = plan_from_inputs(config, record.name, inputs, facts)
        return plan, describe_plan(plan, inputs, facts)
    except (AugpipeError, LookupError, TypeError, ValueError, AttributeError) as error:
        raise DatasetError(f"{path}: not a record of this version ({type(error).__name__}: {error})") from error


def _verify_records(record: DatasetRecord) -> tuple[list[Fault], dict[str, list[ManifestRow]]]:
    """Return what is wrong with dataset.json and the manifest, and the manifest's rows by shard."""
    plan, expected = _plan_again(record)
    faults = [Fault("record", text) for text in _check_record(record, plan, expected)]
    rows_of_shard: dict[str, list[ManifestRow]] = {shard.file: [] for shard in record.shards}
    try:
        faults += _check_manifest(record, plan, rows_of_shard)
    except DatasetError as error:
        faults.append(Fault("record", str(error)))
    return faults, rows_of_shard


def _check_record(record: DatasetRecord, plan: Plan, expected: dict[str, Any]) -> Iterator[str]:
    """Yield every part of dataset.json that contradicts another."""
    path, values = record.folder / DATASET_FILE, record.values
    for key, value in expected.items():
        if canonical_json(values.get(key)) != canonical_json(value):
            yield f"{path}: {key} is not what follows from its config and inputs"
    planned = [(shard.file, shard.split, shard.n) for shard in plan.shards()]
    if [(shard.file, shard.split, shard.n) for shard in record.shards] != planned:
        yield f"{path}: its shards are not those that follow from its config"
    name, facts = recognise(values["inputs"], record.name)
    if name != record.name or any(values["source"].get(key) != facts[key] for key in facts):
        yield f"{path}: what it says of its source is not what is known of these pixels"


def _stray_shards(record: DatasetRecord) -> Iterator[Fault]:
    """Yield every file among the shards that is not recorded; where only the records count, it does no harm."""
    recorded = {shard.file for shard in record.shards}
    for stray in sorted(found.name for found in record.folder.glob("*.h5") if found.name not in recorded):
        text = f"{record.folder / stray}: lies among the shards and is not recorded; readers of *.h5 would read it"
        yield Fault("record", text)


def _check_manifest(record: DatasetRecord, plan: Plan, rows_of_shard: dict[str, list[ManifestRow]]) -> Iterator[Fault]:
    """Sort the manifest's rows by shard on the way."""
    path = record.folder / MANIFEST_FILE
    require_plain_file(path)
    if path.stat().st_size != record.manifest_bytes or file_digest(path) != record.manifest_sha256:
        yield Fault("digest", f"{path}: is not the manifest that dataset.json records (its digest differs)")
    seen: set[str] = set()
    for row in read_manifest(path):
        if row.id in seen:
            yield Fault("record", f"{path}: sample {row.id} is there twice", row.id)
        seen.add(row.id)
        if (row.weights_sha256 is not None) != record.weights:
            lacks = "lacks the digest of its weights" if record.weights else "has weights, which are not recorded"
            yield Fault("record", f"{path}: sample {row.id} {lacks}", row.id)
        if row.shard not in rows_of_shard:
            text = f"{path}: sample {row.id} is said to be in {row.shard}, which dataset.json does not name"
            yield Fault("record", text, row.id)
            continue
        rows_of_shard[row.shard].append(row)
    for shard in plan.shards():
        for sample, row in zip(plan.samples(shard), rows_of_shard.get(shard.file, []), strict=False):
            if row != manifest_row(sample, plan.recipe(sample), row.source_sha256, *row.array_digests):
                text = f"{path}: {row.id} is not the sample that the seed and the split put there ({sample.id})"
                yield Fault("record", text, row.id)


def _check_shard(record: DatasetRecord, shard: ShardRecord, rows: list[ManifestRow]) -> tuple[list[Fault], int]:
    """Return what is wrong with one shard's bytes, rows and arrays, and how many of its samples were compared."""
    path = record.folder / shard.file
    faults: list[Fault] = []
    try:
        require_plain_file(path)
        if path.stat().st_size != shard.bytes:
            text = f"{path}: has {path.stat().st_size:,} bytes, dataset.json records {shard.bytes:,}"
            faults.append(Fault("digest", text))
        elif file_digest(path) != shard.sha256:
            text = f"{path}: its bytes are not those that dataset.json records (its digest differs)"
            faults.append(Fault("digest", text))
        opened = Shard(record, shard)
        try:
            faults += _check_rows(opened, rows, weighted=record.weights)
        finally:
            opened.close()
    except PermissionError as error:
        raise DatasetError(f"{path}: may not be read, so it was not checked ({error.strerror})") from error
    except (DatasetError, OSError) as error:
        return [*faults, Fault("record", str(error))], 0
    return faults, shard.n


def _check_rows(shard: Shard, rows: list[ManifestRow], *, weighted: bool) -> Iterator[Fault]:
    """Yield the digests that differ.

    Raises:
        DatasetError: the shard holds other samples than these rows, or cannot be read to its end.
    """
    path, record = shard.path, shard.record
    places = [(row.split, row.row) for row in rows]
    if [row.id for row in rows] != shard.ids() or places != [(record.split, k) for k in range(len(shard))]:
        raise DatasetError(f"{path}: its samples are not those that the manifest lists for it")
    digests = []
    for k, row in enumerate(rows):
        found = {"image": array_digest(shard.image(k)), "label": array_digest(shard.label(k))}
        if weighted:
            found["weights"] = array_digest(shard.weight(k))
        digests.append(tuple(found.values()))
        for name in (name for name, digest in found.items() if digest != getattr(row, f"{name}_sha256")):
            text = f"{path}: the {name} of {row.id} (row {k}) is not what the manifest records"
            yield Fault("digest", text, row.id)
    if content_digest(digests) != record.content_sha256:
        yield Fault("digest", f"{path}: its content is not what dataset.json records")
