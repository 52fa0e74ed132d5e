"""The conductor: runs every check that a subject allows, in parallel over its samples, and gathers the report."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import cv2
import joblib
import numpy as np
from threadpoolctl import threadpool_limits

from augment.errors import AugpipeError, ConfigError, DatasetError
from pipeline.audit.features import Features, find_features
from pipeline.audit.identify import FOUND_INLIERS, RUNNER_UP_FACTOR, mirror
from pipeline.audit.manifest_checks import check_records
from pipeline.audit.pixel_checks import (
    check_claims,
    check_identical,
    check_labels,
    check_neighbours,
    check_repeats,
    check_siblings,
    check_sources_used,
    check_unknown,
    leaking,
)
from pipeline.audit.progress import AuditProgress
from pipeline.audit.repeats import find_repeats
from pipeline.audit.report import CHECKS, AuditReport, Check, Coverage, Finding, worst_first
from pipeline.audit.siblings import Sibling, SiblingIndex
from pipeline.audit.sightings import CONFIRMED_NCC, LABEL_F1, NCC_MARGIN, SeenSample, SourceEye
from pipeline.audit.subject import AuditedSample, Subject, dataset_subject
from pipeline.config import DEFAULT_GAP, require_jobs
from pipeline.digest import array_digest
from pipeline.shards import DatasetRecord, read_record
from pipeline.slices import Slices
from pipeline.source import Source

Item = TypeVar("Item")
Result = TypeVar("Result")

THRESHOLDS = {
    "inliers": FOUND_INLIERS,
    "runner_up_factor": RUNNER_UP_FACTOR,
    "ncc": CONFIRMED_NCC,
    "ncc_margin": NCC_MARGIN,
    "label_f1": LABEL_F1,
}


@dataclass(frozen=True, slots=True, eq=False)
class PixelAudit:
    """What the pixel checks found, and how many samples they covered."""

    findings: list[Finding]
    checks: list[Check]
    n_samples: int
    n_unknown: int


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
    _require_gap(gap)
    require_jobs(jobs)
    record = read_record(Path(folder))
    progress = progress or AuditProgress()
    findings, checks = check_records(record, gap=gap, jobs=jobs)
    independent = bool(record.values["config"]["independent"])
    subject, unread = _dataset_subject(record)
    pixels = PixelAudit([], _not_applicable("only the manifest was asked for", "P", "S", "R"), 0, 0)
    n_replayed = 0
    if not manifest_only:
        source, reason = _source(record.folder, source_folder)
        with _workers(jobs) as parallel:
            runner = _Runner(parallel, progress)
            if unread:
                pixels = PixelAudit([], _not_run(unread), 0, 0)
            elif source is None:
                pixels = _audit_without_source(subject, reason, runner)
            else:
                images, labels = zip(*((stack.images, stack.labels) for stack in source.stacks), strict=True)
                eye = SourceEye(images, labels, independent=independent, reach=gap)
                pixels = _audit_with_source(
                    subject, eye, runner, gap=gap, independent=independent, allow_unknown=allow_unknown
                )
        replay, replayed, n_replayed = _replay(record.folder, source_folder, source, reason, jobs)
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
    _require_gap(gap)
    require_jobs(jobs)
    if len(subject.n_samples) < 2:
        raise ConfigError(f"{subject.name}: expected samples in two splits, found {list(subject.n_samples) or 'none'}")
    with _workers(jobs) as parallel:
        runner = _Runner(parallel, progress or AuditProgress())
        if stacks is None:
            pixels = _audit_without_source(subject, "no source was named", runner)
        else:
            eye = SourceEye(stacks, None, independent=independent, reach=gap)
            pixels = _audit_with_source(
                subject, eye, runner, gap=gap, independent=independent, allow_unknown=allow_unknown
            )
    checks = [*_not_applicable("there is no manifest", "M", "R"), *pixels.checks]
    coverage = Coverage(len(subject.samples), pixels.n_samples, 0, pixels.n_unknown)
    return _report(subject, pixels.findings, checks, coverage, gap=gap, independent=independent, dataset_sha256=None)


class _Runner:
    """Does the same to many things, in threads, and tells the progress."""

    def __init__(self, parallel: joblib.Parallel, progress: AuditProgress) -> None:
        self._parallel = parallel
        self._progress = progress

    def map(self, what: str, do: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
        """Return what `do` returns for every item, in order."""
        self._progress.start(what, len(items))
        results = []
        try:
            for result in self._parallel(joblib.delayed(do)(item) for item in items):
                results.append(result)
                self._progress.step()
        finally:
            self._progress.stop()
        return results


def _audit_with_source(
    subject: Subject, eye: SourceEye, runner: _Runner, *, gap: int, independent: bool, allow_unknown: bool
) -> PixelAudit:
    """Look for every sample's slice."""
    runner.map("learning slices", eye.index.add, range(len(eye.addresses)))

    def look(sample: AuditedSample) -> tuple[str, SeenSample]:
        image = sample.image()
        return array_digest(image), eye.look(image, sample.label() if sample.label else None)

    subject, looked, unread = _read_all(subject, runner, "looking at samples", look)
    digests, seen = [digest for digest, _ in looked], [each for _, each in looked]
    repeats = find_repeats(eye, independent=independent, gap=gap, run=runner.map)
    findings = [
        *check_identical(subject, digests),
        *check_sources_used(subject, seen),
        *check_claims(subject, seen),
        *([] if independent else check_neighbours(subject, seen, gap)),
        *check_unknown(subject, seen, allow_unknown=allow_unknown),
        *check_labels(subject, seen),
        *check_repeats(subject, repeats),
    ]
    n = len(seen)
    n_claims = sum(sample.claimed is not None for sample in subject.samples)
    n_labels = sum(each.f1 is not None for each in seen)
    checks = [Check(check, _status(check, findings), n) for check in ("P001", "P002", "P005")]
    checks.append(Check("S001", _status("S001", findings), len(eye.addresses)))
    for check, looked_at, absent in (
        ("P003", n_claims, "there is no manifest"),
        ("P004", 0 if independent else n, "slices are independent fields of view"),
        ("P006", n_labels, "there are no labels, or too little in them to tell"),
    ):
        checks.append(
            Check(check, _status(check, findings), looked_at)
            if looked_at
            else Check(check, "not applicable", 0, absent)
        )
    checks.append(Check("P007", "not applicable", 0, "the source is at hand, P002 compares with it"))
    return PixelAudit(findings, _doubted(checks, unread), n, sum(each.found is None for each in seen))


def _audit_without_source(subject: Subject, reason: str, runner: _Runner) -> PixelAudit:
    """Look for every sample's siblings in the splits before its own."""
    first = next(iter(subject.n_samples), "")

    def learn(sample: AuditedSample) -> tuple[str, Features, Features]:
        image = sample.image()
        known = find_features(image)
        return array_digest(image), known, known if sample.split == first else find_features(mirror(image, True))

    subject, learnt, unread = _read_all(subject, runner, "learning samples", learn)
    siblings: dict[tuple[int, str], tuple[AuditedSample, Sibling]] = {}
    for earlier, later in subject.pairs():
        own = [number for number, sample in enumerate(subject.samples) if sample.split == earlier]
        others = [number for number, sample in enumerate(subject.samples) if sample.split == later]
        index = SiblingIndex([learnt[number][1] for number in own])
        looks = [learnt[number][1:] for number in others]
        found = runner.map(f"comparing {later} with {earlier}", partial(_find_sibling, index), looks)
        for number, sibling in zip(others, found, strict=True):
            if sibling:
                siblings[number, earlier] = subject.samples[own[sibling.key]], sibling
    findings = [*check_identical(subject, [each[0] for each in learnt]), *check_siblings(subject, siblings)]
    checks = [Check(check, _status(check, findings), len(learnt)) for check in ("P001", "P007")]
    absent = [check for check in CHECKS if check[0] in "PS" and check not in ("P001", "P007")]
    checks += [Check(check, "not applicable", 0, reason) for check in absent]
    return PixelAudit(findings, _doubted(checks, unread), len(learnt), 0)


def _read_all(
    subject: Subject, runner: _Runner, what: str, read: Callable[[AuditedSample], Result]
) -> tuple[Subject, list[Result], str]:
    """Return the part of a subject that can be read, what `read` returns for it, and why the rest cannot be."""

    def attempt(sample: AuditedSample) -> Result | AugpipeError:
        try:
            return read(sample)
        except AugpipeError as error:
            return error

    attempts = runner.map(what, attempt, subject.samples)
    results = [each for each in attempts if not isinstance(each, AugpipeError)]
    errors = [each for each in attempts if isinstance(each, AugpipeError)]
    kept = [
        sample for sample, each in zip(subject.samples, attempts, strict=True) if not isinstance(each, AugpipeError)
    ]
    unread = f"{len(errors)} of {len(attempts)} samples could not be read: {errors[0]}" if errors else ""
    return replace(subject, samples=tuple(kept)), results, unread


def _doubted(checks: list[Check], unread: str) -> list[Check]:
    """Return the checks; those that passed have not where samples could not be read."""
    return [
        replace(each, status="not run", reason=unread) if unread and each.status == "passed" else each
        for each in checks
    ]


def _dataset_subject(record: DatasetRecord) -> tuple[Subject, str]:
    """Return a dataset as a subject, or an empty one and the reason why its manifest cannot be read."""
    try:
        return dataset_subject(record), ""
    except DatasetError as error:
        return Subject(str(record.folder), (), {}), str(error)


def _find_sibling(index: SiblingIndex, look: tuple[Features, Features]) -> Sibling | None:
    return index.find(*look)


def _source(folder: Path, source_folder: Path | None) -> tuple[Source | None, str]:
    """Return the source, or why it is not at hand; one that was named must be the right one."""
    from pipeline.origin import find_origin

    try:
        return find_origin(read_record(folder), source_folder), ""
    except (AugpipeError, LookupError) as error:
        if source_folder:
            raise
        return None, f"the source is not at hand: {error}"


def _replay(
    folder: Path, source_folder: Path | None, source: Source | None, reason: str, jobs: int
) -> tuple[list[Finding], Check, int]:
    """R001, the one check that renders."""
    if source is None:
        return [], Check("R001", "not applicable", 0, reason), 0
    from pipeline.verify import replay_dataset

    try:
        replayed = replay_dataset(folder, source_folder, jobs=jobs)
    except AugpipeError as error:
        return [], Check("R001", "not run", 0, str(error)), 0
    findings = [Finding("R001", "error", text, "build the set again") for text in replayed.findings]
    return findings, Check("R001", _status("R001", findings), replayed.n_replayed), replayed.n_replayed


def _report(
    subject: Subject,
    findings: Iterable[Finding],
    checks: Iterable[Check],
    coverage: Coverage,
    *,
    gap: int,
    independent: bool,
    dataset_sha256: str | None,
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
        n_leaking=leaking(subject, found),
        thresholds=THRESHOLDS,
    )


def _status(check: str, findings: Sequence[Finding]) -> Any:
    return "failed" if any(finding.check == check for finding in findings) else "passed"


def _not_applicable(reason: str, *kinds: str) -> list[Check]:
    return [Check(check, "not applicable", 0, reason) for check in CHECKS if check[0] in kinds]


def _not_run(reason: str) -> list[Check]:
    return [Check(check, "not run", 0, reason) for check in CHECKS if check[0] in "PS"]


@contextmanager
def _workers(jobs: int) -> Iterator[joblib.Parallel]:
    """Give threads, each of which computes alone: libraries that bring threads of their own are held to one."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        with threadpool_limits(1), joblib.Parallel(jobs, backend="threading", return_as="generator") as parallel:
            yield parallel
    finally:
        cv2.setNumThreads(threads)


def _require_gap(gap: int) -> None:
    if isinstance(gap, bool) or not isinstance(gap, int | np.integer) or gap < 0:
        raise ConfigError(f"gap: expected 0 or more slices, got {gap!r}")
