"""Looking at every sample of a subject, in parallel: for its slice in the source, or for its siblings."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

import cv2
import joblib
from threadpoolctl import threadpool_limits

from augment.errors import AugpipeError
from pipeline.audit.features import Features, find_features
from pipeline.audit.identify import mirror
from pipeline.audit.pixel_checks import (
    check_claims,
    check_identical,
    check_labels,
    check_neighbours,
    check_repeats,
    check_siblings,
    check_sources_used,
    check_unknown,
)
from pipeline.audit.progress import AuditProgress
from pipeline.audit.repeats import find_repeats
from pipeline.audit.report import CHECKS, Check, Finding, Status
from pipeline.audit.siblings import Sibling, SiblingIndex
from pipeline.audit.sightings import SeenSample, SourceEye
from pipeline.audit.subject import AuditedSample, Subject
from pipeline.digest import array_digest

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, eq=False)
class PixelAudit:
    """What the pixel checks found, and how many samples they covered."""

    findings: list[Finding]
    checks: list[Check]
    n_samples: int
    n_unknown: int


class Runner:
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


def audit_with_source(
    subject: Subject, eye: SourceEye, runner: Runner, *, gap: int, independent: bool, allow_unknown: bool
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
    checks = [Check(check, status_of(check, findings), n) for check in ("P001", "P002", "P005")]
    checks.append(Check("S001", status_of("S001", findings), len(eye.addresses)))
    for check, looked_at, absent in (
        ("P003", n_claims, "there is no manifest"),
        ("P004", 0 if independent else n, "slices are independent fields of view"),
        ("P006", n_labels, "there are no labels, or too little in them to tell"),
    ):
        checks.append(
            Check(check, status_of(check, findings), looked_at)
            if looked_at
            else Check(check, "not applicable", 0, absent)
        )
    checks.append(Check("P007", "not applicable", 0, "the source is at hand, P002 compares with it"))
    return PixelAudit(findings, _doubted(checks, unread), n, sum(each.found is None for each in seen))


def audit_without_source(subject: Subject, reason: str, runner: Runner) -> PixelAudit:
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
    checks = [Check(check, status_of(check, findings), len(learnt)) for check in ("P001", "P007")]
    absent = [check for check in CHECKS if check[0] in "PS" and check not in ("P001", "P007")]
    checks += [Check(check, "not applicable", 0, reason) for check in absent]
    return PixelAudit(findings, _doubted(checks, unread), len(learnt), 0)


def _read_all(
    subject: Subject, runner: Runner, what: str, read: Callable[[AuditedSample], Result]
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


def _find_sibling(index: SiblingIndex, look: tuple[Features, Features]) -> Sibling | None:
    return index.find(*look)


def status_of(check: str, findings: Sequence[Finding]) -> Status:
    """Return how a check ended that found these, whatever its severity."""
    return "failed" if any(finding.check == check for finding in findings) else "passed"


def not_applicable(reason: str, *kinds: str) -> list[Check]:
    """Return the checks whose ids begin with one of these letters, as not applicable."""
    return [Check(check, "not applicable", 0, reason) for check in CHECKS if check[0] in kinds]


def not_run(reason: str) -> list[Check]:
    """Return the checks of pixels and source, as not run."""
    return [Check(check, "not run", 0, reason) for check in CHECKS if check[0] in "PS"]


@contextmanager
def workers(jobs: int) -> Iterator[joblib.Parallel]:
    """Give threads, each of which computes alone: libraries that bring threads of their own are held to one."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        with threadpool_limits(1), joblib.Parallel(jobs, backend="threading", return_as="generator") as parallel:
            yield parallel
    finally:
        cv2.setNumThreads(threads)
