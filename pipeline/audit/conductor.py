"""The conductor: runs every check that a subject allows, and gathers the report."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from pipeline.audit.identify import FOUND_INLIERS, RUNNER_UP_FACTOR
from pipeline.audit.manifest_checks import check_records, find_faults, is_independent
from pipeline.audit.pixel_audit import (
    PixelAudit,
    Runner,
    audit_with_source,
    audit_without_source,
    not_applicable,
    not_run,
    status_of,
    workers,
)
from pipeline.audit.pixel_checks import (
    leaking,
)
from pipeline.audit.progress import AuditProgress
from pipeline.audit.report import CHECKS, AuditReport, Check, Coverage, Finding, Status, worst_first
from pipeline.audit.sightings import CONFIRMED_NCC, LABEL_F1, NCC_MARGIN, SourceEye
from pipeline.audit.subject import Subject, dataset_subject
from pipeline.audit.usage import Unit, Use, count_leaking, count_uses, require_gap
from pipeline.errors import AugpipeError, ConfigError, DatasetError
from pipeline.shards import DatasetRecord, read_record
from pipeline.shards.config import DEFAULT_GAP, require_jobs
from pipeline.source.slices import Slices
from pipeline.source.stacks import Source

THRESHOLDS = {
    "inliers": FOUND_INLIERS,
    "runner_up_factor": RUNNER_UP_FACTOR,
    "ncc": CONFIRMED_NCC,
    "ncc_margin": NCC_MARGIN,
    "label_f1": LABEL_F1,
}


def audit_dataset(
    folder: Path | str,
    *,
    source_folder: Path | None = None,
    gap: int = DEFAULT_GAP,
    manifest_only: bool = False,
    allow_unknown: bool = False,
    jobs: int = -1,
    progress: AuditProgress | None = None,
) -> AuditReport:
    """Return what the records and the pixels of one of our datasets prove.

    Args:
        folder: the dataset.
        source_folder: where the stacks are that it was made from, if not where build-info.json remembers them.
        gap: slices of two splits must be further apart than this.
        manifest_only: look at no pixels.
        allow_unknown: samples whose slice is not found are warnings.
        jobs: threads; decides the time taken, nothing else.
        progress: is told how far the audit is.

    Raises:
        ConfigError: the gap is no number of slices.
        DatasetError: there is no dataset that could be audited, or the source named is not the one it was made from.
    """
    require_gap(gap)
    require_jobs(jobs)
    record = read_record(Path(folder))
    progress = progress or AuditProgress()
    findings, checks = check_records(record, gap=gap, jobs=jobs)
    independent = is_independent(record)
    subject, unread = _dataset_subject(record)
    pixels = PixelAudit([], not_applicable("only the manifest was asked for", "P", "S", "R"), 0, 0)
    n_replayed = 0
    if not manifest_only:
        source, status, reason = _find_source(record, source_folder)
        with workers(jobs) as parallel:
            runner = Runner(parallel, progress)
            if unread:
                pixels = PixelAudit([], not_run(unread), 0, 0)
            elif source is None:
                pixels = audit_without_source(subject, runner, status, reason, allow_unknown=allow_unknown)
            else:
                images, labels = zip(*((stack.images, stack.labels) for stack in source.stacks), strict=True)
                eye = SourceEye(images, labels, independent=independent, reach=gap)
                pixels = audit_with_source(
                    subject, eye, runner, gap=gap, independent=independent, allow_unknown=allow_unknown
                )
        replay, replayed, n_replayed = _replay(record.folder, source, status, reason, jobs)
        pixels.findings.extend(replay)
        pixels.checks.append(replayed)
    return _report(
        subject,
        [*findings, *pixels.findings],
        [*checks, *pixels.checks],
        Coverage(len(subject.samples), pixels.n_samples, n_replayed, pixels.n_unknown),
        gap=gap,
        independent=independent,
        dataset_sha256=record.sha256,
        leaking_by_records={} if unread else count_leaking(count_uses(_uses(subject))),
    )


def audit_samples(
    subject: Subject,
    stacks: Sequence[Slices] | None = None,
    *,
    gap: int = DEFAULT_GAP,
    independent: bool = False,
    allow_unknown: bool = False,
    jobs: int = -1,
    progress: AuditProgress | None = None,
) -> AuditReport:
    """Return what the pixels of any samples prove; see `pipeline.audit.bare` for what reads them from folders.

    Args:
        subject: the samples and their splits.
        stacks: what they were made from, each (Z, Y, X), where it is at hand.
        gap: slices of two splits must be further apart than this.
        independent: the slices are fields of view without neighbours.
        allow_unknown: samples whose slice is not found are warnings.
        jobs: threads; decides the time taken, nothing else.
        progress: is told how far the audit is.

    Raises:
        ConfigError: the gap is no number of slices, or there is nothing to compare.
        DatasetError: a sample cannot be read.
    """
    require_gap(gap)
    require_jobs(jobs)
    if len(subject.n_samples) < 2:
        raise ConfigError(f"{subject.name}: expected samples in two splits, found {list(subject.n_samples) or 'none'}")
    with workers(jobs) as parallel:
        runner = Runner(parallel, progress or AuditProgress())
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
    return _report(subject, pixels.findings, checks, coverage, gap=gap, independent=independent, dataset_sha256=None)


def _dataset_subject(record: DatasetRecord) -> tuple[Subject, str]:
    """Return a dataset as a subject, or an empty one and the reason why its manifest cannot be read."""
    try:
        return dataset_subject(record), ""
    except DatasetError as error:
        return Subject(str(record.folder), (), {}), str(error)


def _uses(subject: Subject) -> Iterator[Use]:
    """Yield which split takes which sample from which slice, as the manifest says."""
    for sample in subject.samples:
        if sample.claimed:
            yield Use(sample.name, sample.split, Unit(f"stack {sample.claimed.stack}", sample.claimed.z))


def _find_source(record: DatasetRecord, folder: Path | None) -> tuple[Source | None, Status, str]:
    """Return the source, or what becomes of the checks that need it, and why.

    One that was named must be the right one. One that is remembered and gone was not given; one that is there and
    cannot be read, or is another one now, was.
    """
    from pipeline.verify.origin import find_origin, is_at_hand

    if folder:
        return find_origin(record, folder), "passed", ""
    if not is_at_hand(record):
        return None, "not applicable", "the source is not at hand; name its folder with --source"
    try:
        return find_origin(record), "passed", ""
    except AugpipeError as error:
        return None, "not run", str(error)


def _replay(
    folder: Path, source: Source | None, status: Status, reason: str, jobs: int
) -> tuple[list[Finding], Check, int]:
    """R001, the one check that renders."""
    if source is None:
        return [], Check("R001", status, 0, reason), 0
    from pipeline.verify.verification import replay_dataset

    try:
        replayed = replay_dataset(folder, source=source, jobs=jobs)
    except AugpipeError as error:
        return [], Check("R001", "not run", 0, str(error)), 0
    findings = find_faults(replayed.faults)
    return findings, Check("R001", status_of("R001", findings), replayed.n_replayed), replayed.n_replayed


def _report(
    subject: Subject,
    findings: Iterable[Finding],
    checks: Iterable[Check],
    coverage: Coverage,
    *,
    gap: int,
    independent: bool,
    dataset_sha256: str | None,
    leaking_by_records: Mapping[str, int] | None = None,
) -> AuditReport:
    found = worst_first(list(findings))
    by_id = {check.id: check for check in checks}
    return AuditReport(
        subject=subject.name,
        dataset_sha256=dataset_sha256,
        gap=gap,
        independent=independent,
        checks=tuple(by_id[check] for check in CHECKS),
        findings=found,
        coverage=coverage,
        n_samples=subject.n_samples,
        n_leaking={
            split: max(n, (leaking_by_records or {}).get(split, 0)) for split, n in leaking(subject, found).items()
        },
        thresholds=THRESHOLDS,
    )
