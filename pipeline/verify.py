"""Checking a dataset: every byte against its digests, and on request every pixel against its recipe."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import joblib
import numpy as np

from augment.errors import AugpipeError, ConfigError, DatasetError
from augment.renderer import Sample
from pipeline.config import RENDERER_VERSION, BuildConfig, build_fingerprint
from pipeline.digest import array_digest, content_digest, file_digest
from pipeline.manifest import ManifestRow, read_manifest
from pipeline.origin import find_origin
from pipeline.render import sample_renderer
from pipeline.shards.record import MANIFEST_FILE, DatasetRecord, ShardRecord, read_record, require_plain_file
from pipeline.shards.shard import Shard


@dataclass(frozen=True, slots=True)
class Verification:
    """What a check of a dataset found.

    Attributes:
        record: the dataset.
        n_checked: samples whose digests were compared.
        n_replayed: samples that were rendered again; 0 where that was not asked for.
        findings: one line for everything that is not as recorded; empty where all is well.
    """

    record: DatasetRecord
    n_checked: int
    n_replayed: int
    findings: tuple[str, ...]

    def with_replay(self, replayed: "Verification") -> "Verification":
        """Return both checks as one."""
        return Verification(self.record, self.n_checked, replayed.n_replayed, (*self.findings, *replayed.findings))


def verify_dataset(folder: Path | str, *, jobs: int = -1) -> Verification:
    """Compare every file, row and array of a dataset with the digests that it records.

    Raises:
        DatasetError: there is no dataset that could be checked.
    """
    record = read_record(Path(folder))
    findings = list(_check_record(record))
    rows_of_shard: dict[str, list[ManifestRow]] = {shard.file: [] for shard in record.shards}
    try:
        findings += _check_manifest(record, rows_of_shard)
    except DatasetError as error:
        findings.append(str(error))
    with joblib.Parallel(jobs, backend="threading") as parallel:
        found = parallel(
            joblib.delayed(_check_shard)(record, shard, rows_of_shard[shard.file]) for shard in record.shards
        )
    findings += [line for lines in found for line in lines]
    return Verification(record, n_checked=record.n, n_replayed=0, findings=tuple(findings))


def replay_dataset(
    folder: Path | str, source_folder: Path | None = None, *, sample_id: str | None = None, jobs: int = -1
) -> Verification:
    """Render samples again from their recipes and the source, and compare their array digests.

    Args:
        folder: the dataset.
        source_folder: where the stack is that it was made from, if not where build-info.json remembers it.
        sample_id: one sample's id; all samples unless given.
        jobs: threads to render in.

    Raises:
        ConfigError: there is no sample of that id.
        DatasetError: the dataset cannot be read, was made by another renderer version, or its source is not found.
    """
    record = read_record(Path(folder))
    config = BuildConfig.from_json(record.values["config"])
    if record.values["renderer"] != RENDERER_VERSION:
        raise DatasetError(
            f"{record.folder}: rendered by version {record.values['renderer']}, this augpipe has version "
            f"{RENDERER_VERSION}; replay it with the augpipe that made it"
        )
    source = find_origin(record, source_folder)
    path = record.folder / MANIFEST_FILE
    rows = [row for row in read_manifest(path) if sample_id in (None, row.id)]
    if not rows:
        raise ConfigError(f"{path}: holds no sample {sample_id!r}; ids look like s000-z00000-r0000000")
    renderer = sample_renderer(source, config.engine)

    def replay(row: ManifestRow) -> str | None:
        stack = source.stacks[row.stack]
        out = Sample(np.empty(row.recipe.window, stack.images.dtype), np.empty(row.recipe.window, stack.labels.dtype))
        renderer(row.stack, row.z, row.recipe, out)
        same = (array_digest(out.image), array_digest(out.label)) == (row.image_sha256, row.label_sha256)
        return None if same else f"{row.id}: rendering its recipe again gives other pixels than those recorded"

    with joblib.Parallel(jobs, backend="threading", return_as="generator") as parallel:
        findings = tuple(line for line in parallel(joblib.delayed(replay)(row) for row in rows) if line)
    return Verification(record, n_checked=0, n_replayed=len(rows), findings=findings)


def _check_record(record: DatasetRecord) -> Iterator[str]:
    values = record.values
    try:
        BuildConfig.from_json(values["config"])
        expected = build_fingerprint(values["config"], record.name, values["inputs"])
    except (AugpipeError, KeyError) as error:
        yield f"{record.folder / 'dataset.json'}: not a record of this version ({error})"
        return
    if values.get("renderer") == RENDERER_VERSION and record.fingerprint != expected:
        yield f"{record.folder / 'dataset.json'}: its fingerprint is not that of its config and inputs"


def _check_manifest(record: DatasetRecord, rows_of_shard: dict[str, list[ManifestRow]]) -> Iterator[str]:
    """Sort the manifest's rows by shard on the way."""
    path = record.folder / MANIFEST_FILE
    require_plain_file(path)
    if path.stat().st_size != record.manifest_bytes or file_digest(path) != record.manifest_sha256:
        yield f"{path}: is not the manifest that dataset.json records (its digest differs)"
    seen: set[str] = set()
    for row in read_manifest(path):
        if row.id in seen:
            yield f"{path}: sample {row.id} is there twice"
        seen.add(row.id)
        if row.shard not in rows_of_shard:
            yield f"{path}: sample {row.id} is said to be in {row.shard}, which dataset.json does not name"
            continue
        rows_of_shard[row.shard].append(row)


def _check_shard(record: DatasetRecord, shard: ShardRecord, rows: list[ManifestRow]) -> list[str]:
    """Return what is wrong with one shard's bytes, rows and arrays."""
    path = record.folder / shard.file
    findings = []
    try:
        require_plain_file(path)
        if path.stat().st_size != shard.bytes:
            findings.append(f"{path}: has {path.stat().st_size:,} bytes, dataset.json records {shard.bytes:,}")
        elif file_digest(path) != shard.sha256:
            findings.append(f"{path}: its bytes are not those that dataset.json records (its digest differs)")
        opened = Shard(record, shard)
        try:
            findings += _check_rows(opened, rows)
        finally:
            opened.close()
    except (DatasetError, OSError) as error:
        findings.append(str(error))
    return findings


def _check_rows(shard: Shard, rows: list[ManifestRow]) -> Iterator[str]:
    path, record = shard.path, shard.record
    ids = shard.ids()
    places = [(row.split, row.row) for row in rows]
    if [row.id for row in rows] != ids or places != [(record.split, k) for k in range(len(shard))]:
        yield f"{path}: its samples are not those that the manifest lists for it"
        return
    digests = []
    for k, row in enumerate(rows):
        image, label = array_digest(shard.images(k)), array_digest(shard.labels(k))
        digests.append((image, label))
        if image != row.image_sha256:
            yield f"{path}: the image of {row.id} (row {k}) is not the one that the manifest records"
        if label != row.label_sha256:
            yield f"{path}: the label of {row.id} (row {k}) is not the one that the manifest records"
    if content_digest(digests) != record.content_sha256:
        yield f"{path}: its content is not what dataset.json records"
