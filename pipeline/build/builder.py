"""The conductor: from a source to a dataset on disk."""

import shutil
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias

import joblib

from pipeline.build.workspace import Workspace
from pipeline.errors import ConfigError, DamagedError, StorageError
from pipeline.files import storage_errors
from pipeline.plan.records import describe_dataset
from pipeline.plan.samples import Plan, PlannedShard, make_plan
from pipeline.render.encoding import ShardMemory, encode_shard
from pipeline.render.rendering import ShardRenderer, manifest_row
from pipeline.shards.config import BuildConfig, require_jobs
from pipeline.shards.dataset import Dataset, open_dataset
from pipeline.shards.digest import bytes_digest, canonical_json, content_digest
from pipeline.shards.manifest import ManifestRow
from pipeline.shards.progress import Progress, SilentProgress
from pipeline.shards.record import ShardRecord
from pipeline.source.build_info import describe_build
from pipeline.source.stacks import Source
from pipeline.verify.verification import verify_dataset

Outcome: TypeAlias = Literal["built", "reused", "would build", "would reuse"]


@dataclass(frozen=True, slots=True)
class BuildResult:
    """What a build did.

    Attributes:
        outcome: what happened, or for a dry run, would happen.
        reason: why.
        plan: what was asked for.
        out: the dataset's folder.
        dataset: the finished dataset; None for a dry run that would build.
        n_rendered: samples rendered in this run.
        n_bytes: of the shards, in bytes; estimated for a dry run.
        seconds: spent.
    """

    outcome: Outcome
    reason: str
    plan: Plan
    out: Path
    dataset: Dataset | None
    n_rendered: int
    n_bytes: int
    seconds: float


def build_dataset(
    source: Source,
    config: BuildConfig | None = None,
    *,
    out: Path | str | None = None,
    jobs: int = -1,
    overwrite: bool = False,
    offer_overwrite: bool = True,
    dry_run: bool = False,
    progress: Progress | None = None,
    accept: Callable[[bytes, Path], None] | None = None,
) -> BuildResult:
    """Make the dataset that `config` makes of `source`, or reuse it where it is there already.

    Args:
        source: the annotated stack.
        config: the options that decide the dataset's bytes.
        out: the dataset's folder; `datasets/<name>-n<N>-seed<S>` unless named.
        jobs: threads to render in; -1 for one a core. Decides the time taken, never a byte.
        overwrite: replace a dataset of another fingerprint, or the same one if it is damaged.
        offer_overwrite: whoever is told that `out` is taken can ask for that.
        dry_run: say what would be done, and do nothing.
        progress: progress callback.
        accept: is given dataset.json and the folder in which the dataset grew, before it gets its name; where it
            raises, nothing of the build is left.

    Raises:
        ConfigError: a split would be empty, or `out` is taken.
        DamagedError: the same dataset is there already, and is damaged.
        StorageError: the disk is full, or the folder cannot be written.
    """
    start = time.perf_counter()
    config, progress = config or BuildConfig(), progress or SilentProgress()
    require_jobs(jobs)
    plan = make_plan(source, config)
    workspace = Workspace(_folder(Path(out)) if out is not None else default_out(plan))
    if dry_run:
        return _foresee(plan, source, workspace, overwrite=overwrite, start=start)
    with workspace.locked():
        existing = workspace.existing()
        advice = "build it again with --overwrite" if offer_overwrite else "move it, or choose another --out"
        same = existing is not None and existing.record.fingerprint == plan.fingerprint
        if existing and same and _is_whole(existing, jobs, overwrite=overwrite, advice=advice):
            reason = "the same dataset is there, and every digest holds"
            return _result("reused", reason, plan, workspace, existing, 0, start)
        _require_free(workspace, existing, plan, overwrite=overwrite, offer_overwrite=offer_overwrite)
        if workspace.discard_other_partial(plan.fingerprint):
            progress.note(f"{workspace.partial}: discarded, it was the start of another dataset")
        shards, n_rendered = _make_shards(plan, source, workspace, jobs, progress)
        manifest = workspace.write_manifest(shards)
        dataset = canonical_json(describe_dataset(plan, source.inputs, source.facts, manifest, shards).to_json())
        if accept:
            with workspace.discarded_unless_accepted():
                accept(dataset, workspace.partial)
        build_info = describe_build(source, jobs=jobs, seconds=time.perf_counter() - start)
        workspace.commit(canonical_json(build_info), dataset, replaces=existing)
        return _result("built", "", plan, workspace, open_dataset(workspace.out), n_rendered, start)


def default_out(plan: Plan) -> Path:
    """Return the folder that a dataset goes to unless told otherwise."""
    config = plan.config
    fold = f"-fold{config.fold}of{config.folds}" if config.split == "kfold" else ""
    return Path("datasets") / f"{plan.name}-n{config.n}-seed{config.seed}{fold}"


def estimate_bytes(plan: Plan, n_samples: int, itemsize: int) -> int:
    """Return about how many bytes the shards of so many samples take: images as they are, all else deflated."""
    height, width = plan.config.size
    return int(n_samples * height * width * (itemsize + 0.1 + 0.6 * plan.config.weighted))


def _make_shards(
    plan: Plan, source: Source, workspace: Workspace, jobs: int, progress: Progress
) -> tuple[list[ShardRecord], int]:
    """Return the record of every shard, and how many samples had to be rendered for them."""
    kept = {shard.file: record for shard in plan.shards() if (record := _finished(plan, source, workspace, shard))}
    missing = [shard for shard in plan.shards() if shard.file not in kept]
    n_missing = sum(shard.n for shard in missing)
    _require_space(workspace, estimate_bytes(plan, n_missing, source.image_dtype.itemsize))
    workspace.begin(plan.fingerprint)
    progress.start("rendering", plan.config.n, done=plan.config.n - n_missing)
    try:
        made = _render_and_write(plan, source, missing, workspace, jobs, progress) if missing else {}
    finally:
        progress.stop()
    return [{**kept, **made}[shard.file] for shard in plan.shards()], n_missing


def _finished(plan: Plan, source: Source, workspace: Workspace, shard: PlannedShard) -> ShardRecord | None:
    """Return the record of a shard that an earlier run finished, if it is what this run would make."""
    if not (found := workspace.finished_shard(shard.file)):
        return None
    record, rows = found
    samples = plan.samples(shard)
    if (record.split, record.n, len(rows)) != (shard.split, shard.n, shard.n):
        return None
    if record.content_sha256 != content_digest([row.array_digests for row in rows]):
        return None
    for sample, row in zip(samples, rows, strict=True):
        slice_sha256 = source.stacks[sample.stack].slice_sha256[sample.z]
        if row != manifest_row(sample, plan.recipe(sample), slice_sha256, *row.array_digests):
            return None
        if (row.weights_sha256 is not None) != plan.config.weighted:
            return None
    return record


def _render_and_write(
    plan: Plan,
    source: Source,
    shards: list[PlannedShard],
    workspace: Workspace,
    jobs: int,
    progress: Progress,
) -> dict[str, ShardRecord]:
    """Render shard after shard; while one is rendered, the one before is hashed and written."""
    written: list[Future[ShardRecord]] = []
    memory = ShardMemory(estimate_bytes(plan, max(shard.n for shard in shards), source.image_dtype.itemsize))
    with (
        ThreadPoolExecutor(1) as writer,
        joblib.Parallel(jobs, backend="threading", batch_size=1, return_as="generator") as parallel,
    ):
        renderer = ShardRenderer(plan, source, parallel, progress.advance)
        for shard in shards:
            rendered = renderer.render(shard)
            for one_before in written[-1:]:
                one_before.result()  # the memory is its own until then
            data = encode_shard(
                memory,
                rendered.images,
                rendered.deflated_labels,
                source.coding.dtype,
                [row.id for row in rendered.rows],
                {"split": shard.split, "fingerprint": plan.fingerprint},
                rendered.deflated_weights,
            )
            written.append(writer.submit(_write, workspace, shard, data, rendered.rows))
        return {record.file: record for record in (future.result() for future in written)}


def _write(workspace: Workspace, shard: PlannedShard, data: memoryview, rows: list[ManifestRow]) -> ShardRecord:
    record = ShardRecord(
        file=shard.file,
        split=shard.split,
        n=shard.n,
        bytes=len(data),
        sha256=bytes_digest(data),
        content_sha256=content_digest([row.array_digests for row in rows]),
    )
    workspace.finish_shard(record, data, rows)
    return record


def _foresee(plan: Plan, source: Source, workspace: Workspace, *, overwrite: bool, start: float) -> BuildResult:
    """Return what a build would do; nothing is written, not even a lock."""
    existing = workspace.existing()
    if existing and existing.record.fingerprint == plan.fingerprint:
        return _result(
            "would reuse", "the same dataset is there, if every digest holds", plan, workspace, existing, 0, start
        )
    _require_free(workspace, existing, plan, overwrite=overwrite, offer_overwrite=True)
    reason = "it would replace another dataset" if existing else "there is no such dataset yet"
    if (found := workspace.partial_fingerprint()) == plan.fingerprint:
        reason += "; an unfinished run of the same build would be continued"
    elif found:
        reason += "; an unfinished run of another build would be discarded"
    n_bytes = estimate_bytes(plan, plan.config.n, source.image_dtype.itemsize)
    result = _result("would build", reason, plan, workspace, None, 0, start)
    return replace(result, n_bytes=n_bytes)


def _folder(out: Path) -> Path:
    """Return the folder to make: its own path, not that of a link to it, nor one without a name such as `.`."""
    with storage_errors(out):
        folder = out.resolve() if out.is_symlink() or not out.name else out
    if not folder.name:
        raise ConfigError(f"out: expected a folder that can be made, got {out}")
    return folder


def _require_free(
    workspace: Workspace, existing: Dataset | None, plan: Plan, *, overwrite: bool, offer_overwrite: bool
) -> None:
    if foreign := workspace.foreign_files(existing):
        raise ConfigError(
            f"{workspace.out / foreign[0]}: is no part of the dataset there, and would be lost with it; move it, or "
            "choose another --out"
        )
    if existing and not overwrite:
        raise ConfigError(
            f"{existing.folder}: holds another dataset ({existing.name}, fingerprint "
            f"{existing.record.fingerprint:.12}; this build is {plan.fingerprint:.12}); choose another --out"
            + (", or --overwrite it" if offer_overwrite else "")
        )


def _is_whole(existing: Dataset, jobs: int, *, overwrite: bool, advice: str) -> bool:
    """Return whether every digest of a dataset holds; where it does not, only `overwrite` lets the build go on."""
    findings = verify_dataset(existing, jobs=jobs).findings
    if findings and not overwrite:
        raise DamagedError(f"{findings[0]}; {advice}")
    return not findings


def _require_space(workspace: Workspace, n_bytes: int) -> None:
    """Refuse to start what cannot be finished, rather than fill the disk first."""
    with storage_errors(workspace.out):
        free = shutil.disk_usage(workspace.out.parent).free
    if free < n_bytes:
        raise StorageError(
            f"{workspace.out}: about {n_bytes / 1e6:.0f} MB are needed and {free / 1e6:.0f} MB are free; free some "
            "space and run the same command again, or choose another --out"
        )


def _result(
    outcome: Outcome,
    reason: str,
    plan: Plan,
    workspace: Workspace,
    dataset: Dataset | None,
    n_rendered: int,
    start: float,
) -> BuildResult:
    return BuildResult(
        outcome=outcome,
        reason=reason,
        plan=plan,
        out=workspace.out,
        dataset=dataset,
        n_rendered=n_rendered,
        n_bytes=sum(shard.bytes for shard in dataset.record.shards) if dataset else 0,
        seconds=time.perf_counter() - start,
    )
