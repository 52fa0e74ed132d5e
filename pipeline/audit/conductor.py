"""The conductor: runs every check that a subject allows, and gathers the report."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from pipeline.audit.identify import FOUND_INLIERS, RUNNER_UP_FACTOR
from pipeline.audit.manifest_checks import check_records
from pipeline.audit.pixel_audit import (
    PixelAudit,
    Runner,
    audit_with_source,
    audit_without_source,
    not_applicable,
    not_run,
    workers,
)
from pipeline.audit.pixel_checks import (
    leaking,
)
from pipeline.audit.report import CHECKS, AuditReport, Check, Coverage, Finding, Status, worst_first
from pipeline.audit.sightings import CONFIRMED_NCC, LABEL_F1, NCC_MARGIN, SourceEye
from pipeline.audit.subject import DatasetSubject, Subject
from pipeline.audit.usage import Usage, count_leaking, in_order, require_gap
from pipeline.errors import AugpipeError, ConfigError
from pipeline.shards.config import DEFAULT_GAP, require_jobs
from pipeline.shards.dataset import Dataset, open_dataset
from pipeline.shards.manifest import ManifestRow
from pipeline.shards.progress import Progress, SilentProgress
from pipeline.source.stacks import Slices, Source

THRESHOLDS = {
    "inliers": FOUND_INLIERS,
    "runner_up_factor": RUNNER_UP_FACTOR,
    "ncc": CONFIRMED_NCC,
    "ncc_margin": NCC_MARGIN,
    "label_f1": LABEL_F1,
}


def audit_dataset(
    dataset: Dataset | Path | str,
    *,
    source_folder: Path | None = None,
    gap: int = DEFAULT_GAP,
    manifest_only: bool = False,
    allow_unknown: bool = False,
    jobs: int = -1,
    progress: Progress | None = None,
    on_row: Callable[[ManifestRow], None] | None = None,
) -> AuditReport:
    """Return what the records and the pixels of one of our datasets prove.

    Args:
        dataset: its folder, or the dataset, opened.
        source_folder: where the stacks are that it was made from, if not where build-info.json remembers them.
        gap: slices of two splits must be further apart than this.
        manifest_only: look at no pixels; then no row of the manifest is kept in memory.
        allow_unknown: samples whose slice is not found are warnings.
        jobs: threads; decides the time taken, nothing else.
        progress: progress callback.
        on_row: called with every row of the manifest, which is read once.

    Raises:
        ConfigError: the gap is no number of slices.
        DatasetError: there is no dataset that could be audited, or the source named is not the one it was made from.
    """
    require_gap(gap)
    require_jobs(jobs)
    dataset = open_dataset(dataset)
    progress = progress or SilentProgress()
    independent = dataset.record.config.independent
    gathered = DatasetSubject(dataset)
    if manifest_only:
        records = check_records(dataset, gap=gap, jobs=jobs, on_row=on_row)
        pixels = PixelAudit([], not_applicable("only the manifest was asked for", "P", "S", "R"), 0, 0)
        unread = records.unread
    else:
        source, status, reason = _find_source(dataset, source_folder)

        def take(row: ManifestRow) -> None:
            gathered.add(row)
            if on_row:
                on_row(row)

        records = check_records(dataset, gap=gap, jobs=jobs, source=source, on_row=take)
        unread = records.unread or gathered.unread
        with workers(jobs) as parallel:
            runner = Runner(parallel, progress)
            if unread:
                pixels = PixelAudit([], not_run(unread), 0, 0)
            elif source is None:
                pixels = audit_without_source(gathered.subject(), runner, status, reason, allow_unknown=allow_unknown)
            else:
                images, labels = zip(*((stack.images, stack.labels) for stack in source.stacks), strict=True)
                eye = SourceEye(images, labels, independent=independent, reach=gap)
                pixels = audit_with_source(
                    gathered.subject(), eye, runner, gap=gap, independent=independent, allow_unknown=allow_unknown
                )
        if source is None:
            pixels.checks.append(Check("R001", status, 0, reason))
    n_samples = {} if unread else {split: records.usage.samples[split] for split in in_order(records.usage.samples)}
    by_slices = Usage(records.usage.samples, records.usage.units, {})
    return _report(
        str(dataset.folder),
        [*records.findings, *pixels.findings],
        [*records.checks, *pixels.checks],
        Coverage(sum(n_samples.values()), pixels.n_samples, records.n_replayed, pixels.n_unknown),
        n_samples,
        gap=gap,
        independent=independent,
        dataset_sha256=dataset.digest,
        leaking_by_records={} if unread else count_leaking(by_slices),
    )


def audit_samples(
    subject: Subject,
    stacks: Sequence[Slices] | None = None,
    *,
    gap: int = DEFAULT_GAP,
    independent: bool = False,
    allow_unknown: bool = False,
    jobs: int = -1,
    progress: Progress | None = None,
) -> AuditReport:
    """Return what the pixels of any samples prove; see `pipeline.audit.bare` for what reads them from folders.

    Args:
        subject: the samples and their splits.
        stacks: what they were made from, each (Z, Y, X), where it is at hand.
        gap: slices of two splits must be further apart than this.
        independent: the slices are fields of view without neighbours.
        allow_unknown: samples whose slice is not found are warnings.
        jobs: threads; decides the time taken, nothing else.
        progress: progress callback.

    Raises:
        ConfigError: the gap is no number of slices, or there is nothing to compare.
        DatasetError: a sample cannot be read.
    """
    require_gap(gap)
    require_jobs(jobs)
    if len(subject.n_samples) < 2:
        raise ConfigError(f"{subject.name}: expected samples in two splits, found {list(subject.n_samples) or 'none'}")
    with workers(jobs) as parallel:
        runner = Runner(parallel, progress or SilentProgress())
        if stacks is None:
            pixels = audit_without_source(
                subject, runner, "not applicable", "no source was named", allow_unknown=allow_unknown
            )
        else:
            eye = SourceEye(stacks, None, independent=independent, reach=gap)
            pixels = audit_with_source(
                subject, eye, runner, gap=gap, independent=independent, allow_unknown=allow_unknown
            )
    checks = [*not_applicable("there is no manifest", "M", "R"), *pixels.checks]
    coverage = Coverage(len(subject.samples), pixels.n_samples, 0, pixels.n_unknown)
    return _report(
        subject.name,
        pixels.findings,
        checks,
        coverage,
        subject.n_samples,
        gap=gap,
        independent=independent,
        dataset_sha256=None,
    )


def _find_source(dataset: Dataset, folder: Path | None) -> tuple[Source | None, Status, str]:
    """Return the source, or what becomes of the checks that need it, and why.

    One that was named must be the right one. One that is remembered and gone was not given; one that is there and
    cannot be read, or is another one now, was.
    """
    from pipeline.verify.origin import find_origin, is_at_hand

    if folder:
        return find_origin(dataset, folder), "passed", ""
    if not is_at_hand(dataset):
        return None, "not applicable", "the source is not at hand; name its folder with --source"
    try:
        return find_origin(dataset), "passed", ""
    except AugpipeError as error:
        return None, "not run", str(error)


def _report(
    name: str,
    findings: Iterable[Finding],
    checks: Iterable[Check],
    coverage: Coverage,
    n_samples: Mapping[str, int],
    *,
    gap: int,
    independent: bool,
    dataset_sha256: str | None,
    leaking_by_records: Mapping[str, int] | None = None,
) -> AuditReport:
    found = worst_first(list(findings))
    by_id = {check.id: check for check in checks}
    return AuditReport(
        subject=name,
        dataset_sha256=dataset_sha256,
        gap=gap,
        independent=independent,
        checks=tuple(by_id[check] for check in CHECKS),
        findings=found,
        coverage=coverage,
        n_samples=n_samples,
        n_leaking={
            split: max(n, (leaking_by_records or {}).get(split, 0)) for split, n in leaking(n_samples, found).items()
        },
        thresholds=THRESHOLDS,
    )
