"""From a source to a dataset on disk: planned, rendered shard by shard, recorded, and renamed when it is whole."""

import math
import shutil
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, TypeAlias

import joblib

from pipeline.build.workspace import Workspace
from pipeline.errors import ConfigError, DamagedError, StorageError
from pipeline.files import require_removable, storage_errors
from pipeline.plan.plan import Plan, PlannedSample, PlannedShard, describe_dataset, make_plan
from pipeline.render.encoding import ShardMemory, encode_shard
from pipeline.render.rendering import ShardRenderer, context_slices, manifest_row
from pipeline.shards.config import BuildConfig, require_jobs
from pipeline.shards.dataset import Dataset, open_dataset
from pipeline.shards.digest import bytes_digest, canonical_json, content_digest
from pipeline.shards.manifest import ManifestRow
from pipeline.shards.progress import Progress, SilentProgress
from pipeline.shards.record import ShardRecord
from pipeline.source.build_info import describe_build
from pipeline.source.stacks import Source

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
        accept: called with dataset.json and the folder in which the dataset grew, before it gets its name; where it
            raises, nothing of the build is left.

    Raises:
        ConfigError: a split would be empty, or `out` is taken.
        DamagedError: the same dataset is there already, and is damaged.
        StorageError: the disk is full, or the folder cannot be written.
    """
    require_jobs(jobs)
    plan = make_plan(source, config or BuildConfig())
    workspace = Workspace(_folder(Path(out)) if out is not None else default_out(plan))
    build = _Build(source, plan, workspace, jobs, overwrite, offer_overwrite, progress or SilentProgress())
    if dry_run:
        return build.foresee()
    with workspace.locked():
        return build.run(accept)


def default_out(plan: Plan) -> Path:
    """Return the folder that a dataset goes to unless told otherwise."""
    config = plan.config
    fold = f"-fold{config.fold}of{config.folds}" if config.split == "kfold" else ""
    return Path("datasets") / f"{plan.name}-n{config.n}-seed{config.seed}{fold}"


def estimate_bytes(plan: Plan, n_samples: int, pixel_bytes: int) -> int:
    """Return about how many bytes the shards of so many samples take: images as they are, all else deflated."""
    height, width = plan.config.size
    return int(n_samples * height * width * (pixel_bytes + 0.1 + 0.6 * plan.config.weighted))


@dataclass(frozen=True, slots=True)
class _Build:
    """One call of `build_dataset`."""

    source: Source
    plan: Plan
    workspace: Workspace
    jobs: int
    overwrite: bool
    offer_overwrite: bool
    progress: Progress
    start: float = field(default_factory=time.perf_counter)

    def run(self, accept: Callable[[bytes, Path], None] | None) -> BuildResult:
        """Make the dataset, or reuse it, under the workspace's lock."""
        plan, source, workspace = self.plan, self.source, self.workspace
        existing = workspace.existing()
        if existing and existing.record.fingerprint == plan.fingerprint and self._is_whole(existing):
            return self._result("reused", "the same dataset is there, and every digest holds", existing)
        self._require_free(existing)
        if workspace.discard_other_partial(plan.fingerprint):
            self.progress.note(f"{workspace.partial}: discarded, it was the start of another dataset")
        shards, n_rendered = self._make_shards()
        manifest = workspace.write_manifest(shards)
        described = describe_dataset(plan, source.inputs, source.facts, manifest, shards, source.reading)
        record = canonical_json(described.to_json())
        if accept:
            with workspace.discarded_unless_accepted():
                accept(record, workspace.partial)
        build_info = describe_build(source, jobs=self.jobs, seconds=time.perf_counter() - self.start)
        if left := workspace.commit(canonical_json(build_info), record, replaces=existing):
            self.progress.note(f"warning: {left}: the dataset before could not be removed; remove it")
        return self._result("built", "", open_dataset(workspace.out), n_rendered)

    def foresee(self) -> BuildResult:
        """Return what `run` would do; nothing is written, not even a lock."""
        existing = self.workspace.existing()
        if existing and existing.record.fingerprint == self.plan.fingerprint:
            return self._result("would reuse", "the same dataset is there, if every digest holds", existing)
        self._require_free(existing)
        reason = "it would replace another dataset" if existing else "there is no such dataset yet"
        if (found := self.workspace.partial_fingerprint()) == self.plan.fingerprint:
            reason += "; an unfinished run of the same build would be continued"
        elif found:
            reason += "; an unfinished run of another build would be discarded"
        return replace(self._result("would build", reason), n_bytes=self._n_bytes(self.plan.n))

    def _make_shards(self) -> tuple[list[ShardRecord], int]:
        """Return the record of every shard, and how many samples had to be rendered for them."""
        plan, workspace = self.plan, self.workspace
        kept = {shard.file: record for shard in plan.shards() if (record := self._finished(shard))}
        missing = [shard for shard in plan.shards() if shard.file not in kept]
        n_missing = sum(shard.n for shard in missing)
        _require_space(workspace.out, self._n_bytes(n_missing))
        workspace.begin(plan.fingerprint)
        self.progress.start("rendering", plan.n, done=plan.n - n_missing)
        try:
            made = self._render_and_write(missing) if missing else {}
        finally:
            self.progress.stop()
        return [{**kept, **made}[shard.file] for shard in plan.shards()], n_missing

    def _finished(self, shard: PlannedShard) -> ShardRecord | None:
        """Return the record of a shard that an earlier run finished, if it is what this run would make."""
        if not (found := self.workspace.finished_shard(shard.file)):
            return None
        record, rows = found
        if (record.split, record.n, len(rows)) != (shard.split, shard.n, shard.n):
            return None
        if record.content_sha256 != content_digest([row.array_digests for row in rows]):
            return None
        is_planned = all(map(self._is_planned, self.plan.samples(shard), rows))
        return record if is_planned else None

    def _is_planned(self, sample: PlannedSample, row: ManifestRow) -> bool:
        slice_sha256 = self.source.stacks[sample.stack].slice_sha256[sample.z]
        recipe, context = self.plan.recipe(sample, row.recipe.attempt), context_slices(self.plan, self.source, sample)
        planned = manifest_row(sample, recipe, context, slice_sha256, row.digests)
        is_allowed = row.recipe.attempt < self.plan.n_attempts(sample)
        stores = self.plan.config.weighted, self.plan.config.has_masks(sample.split)
        return is_allowed and row == planned and ("weights" in row.digests, "mask" in row.digests) == stores

    def _render_and_write(self, shards: list[PlannedShard]) -> dict[str, ShardRecord]:
        """Render shard after shard; while one is rendered, the one before is hashed and written."""
        written: list[Future[ShardRecord]] = []
        memory = ShardMemory()
        with (
            ThreadPoolExecutor(1) as writer,
            joblib.Parallel(self.jobs, backend="threading", batch_size=1, return_as="generator") as parallel,
        ):
            beside = self.workspace.out.parent  # the same disk as the dataset
            renderer = ShardRenderer(self.plan, self.source, parallel, self.jobs, self.progress.advance, beside)
            for shard, rendered in zip(shards, renderer.render(shards), strict=True):
                for one_before in written[-1:]:
                    one_before.result()  # the memory is its own until then
                data = encode_shard(
                    memory,
                    rendered.images,
                    rendered.deflated,
                    [row.id for row in rendered.rows],
                    {"split": shard.split, "fingerprint": self.plan.fingerprint},
                )
                written.append(writer.submit(self._write, shard, data, rendered.rows))
            if note := renderer.clipping.note(sum(shard.n for shard in shards)):
                self.progress.note(note)
            return {record.file: record for record in (future.result() for future in written)}

    def _write(self, shard: PlannedShard, data: memoryview, rows: list[ManifestRow]) -> ShardRecord:
        content_sha256 = content_digest([row.array_digests for row in rows])
        with data:  # released at the end, so that its memory can be used again
            record = ShardRecord(shard.file, shard.split, shard.n, len(data), bytes_digest(data), content_sha256)
            self.workspace.finish_shard(record, data, rows)
        return record

    def _require_free(self, existing: Dataset | None) -> None:
        """Refuse to replace another dataset unasked, or what could not be removed or would be lost with it."""
        if foreign := self.workspace.foreign_files(existing):
            raise ConfigError(
                f"{self.workspace.out / foreign[0]}: is no part of the dataset there, and would be lost with it; move "
                "it, or choose another --out"
            )
        if existing and not self.overwrite:
            raise ConfigError(
                f"{existing.folder}: holds another dataset ({existing.name}, fingerprint "
                f"{existing.record.fingerprint:.12}; this build is {self.plan.fingerprint:.12}); choose another --out"
                + (", or --overwrite it" if self.offer_overwrite else "")
            )
        if existing:
            require_removable(self.workspace.out)

    def _is_whole(self, existing: Dataset) -> bool:
        """Return whether every digest of a dataset holds; where it does not, only `overwrite` lets the build go on."""
        from pipeline.verify.verification import verify_dataset

        findings = verify_dataset(existing, jobs=self.jobs).findings
        if findings and not self.overwrite:
            advice = "build it again with --overwrite" if self.offer_overwrite else "move it, or choose another --out"
            raise DamagedError(f"{findings[0]}; {advice}")
        return not findings

    def _n_bytes(self, n_samples: int) -> int:
        pixel_bytes = self.source.image_dtype.itemsize * math.prod(self.plan.image_shape[2:])
        return estimate_bytes(self.plan, n_samples, pixel_bytes)

    def _result(
        self, outcome: Outcome, reason: str, dataset: Dataset | None = None, n_rendered: int = 0
    ) -> BuildResult:
        return BuildResult(
            outcome=outcome,
            reason=reason,
            plan=self.plan,
            out=self.workspace.out,
            dataset=dataset,
            n_rendered=n_rendered,
            n_bytes=sum(shard.bytes for shard in dataset.record.shards) if dataset else 0,
            seconds=time.perf_counter() - self.start,
        )


def _folder(out: Path) -> Path:
    """Return the folder to make: its own path, not that of a link to it, nor one without a name such as `.`."""
    with storage_errors(out):
        folder = out.resolve() if out.is_symlink() or not out.name else out
    if not folder.name:
        raise ConfigError(f"out: expected a folder that can be made, got {out}")
    return folder


def _require_space(out: Path, n_bytes: int) -> None:
    """Refuse to start what cannot be finished, rather than fill the disk first."""
    with storage_errors(out):
        free = shutil.disk_usage(out.parent).free
    if free < n_bytes:
        raise StorageError(
            f"{out}: about {n_bytes / 1e6:.0f} MB are needed and {free / 1e6:.0f} MB are free; free some space and run "
            "the same command again, or choose another --out"
        )
