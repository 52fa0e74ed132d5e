"""Looking at every sample of a subject, in parallel: for its slice in the source, or for its siblings."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import cv2
import joblib
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from pipeline.audit.features import Features, find_features
from pipeline.audit.identify import mirror
from pipeline.audit.pixel_checks import (
    SiblingPair,
    check_claims,
    check_identical,
    check_labels,
    check_neighbours,
    check_repeats,
    check_siblings,
    check_sources_used,
    check_unknown,
)
from pipeline.audit.repeats import find_repeats
from pipeline.audit.report import CHECKS, Check, Finding, Status
from pipeline.audit.siblings import COMPARABLE_FEATURES, Sibling, SiblingIndex
from pipeline.audit.sightings import SeenSample, SourceEye
from pipeline.audit.subject import AuditedSample, Subject
from pipeline.errors import AugpipeError
from pipeline.shards.digest import array_digest
from pipeline.shards.progress import Progress, track

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

    def __init__(self, parallel: joblib.Parallel, progress: Progress) -> None:
        self._parallel = parallel
        self._progress = progress

    def map(self, what: str, do: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
        """Return what `do` returns for every item, in order."""
        results = self._parallel(joblib.delayed(do)(item) for item in items)
        return list(track(results, self._progress, what, len(items), unit="steps"))


def audit_with_source(
    subject: Subject, eye: SourceEye, runner: Runner, *, gap: int, independent: bool, allow_unknown: bool
) -> PixelAudit:
    """Look for every sample's slice; samples that show none are compared with each other instead."""
    runner.map("learning slices", eye.index.add, range(len(eye.addresses)))
    repeats = find_repeats(eye, independent=independent, gap=gap, run=runner.map)
    eye.join((one, other) for one, other, _ in repeats)

    def look(sample: AuditedSample) -> tuple[str, SeenSample]:
        image = sample.image()
        return _digest(image), eye.look(image, sample.label() if sample.label else None)

    whole = subject
    subject, looked, unread = _read_all(subject, runner, "looking at samples", look)
    digests, seen = [digest for digest, _ in looked], [each for _, each in looked]
    lost = _lost_sections(subject, digests, eye)
    unknown = [
        sample for sample, each in zip(subject.samples, seen, strict=True) if each.found is None and sample not in lost
    ]
    siblings, _ = find_siblings(replace(subject, samples=tuple(unknown)), runner)
    findings = [
        *check_identical(subject, digests),
        *check_sources_used(subject, seen),
        *check_claims(subject, seen),
        *([] if independent else check_neighbours(subject, seen, gap)),
        *check_unknown(unknown, subject, seen, allow_unknown=allow_unknown),
        *check_labels(subject, seen),
        *check_siblings(siblings),
        *check_repeats(subject, repeats),
    ]
    looked_at = {
        "P003": (sum(sample.claimed is not None for sample in whole.samples), "there is no manifest"),
        "P004": (0 if independent else len(whole.samples), "slices are independent fields of view"),
        "P006": (sum(each.f1 is not None for each in seen), "there are no labels, or too little in them to tell"),
        "P007": (len(unknown), "the source is at hand, P002 compares with it"),
        "S001": (len(eye.addresses), ""),
    }
    checks = []
    for check in (check for check in CHECKS if check[0] in "PS"):
        n, absent = looked_at.get(check, (len(seen), ""))
        checks.append(Check(check, status_of(check, findings), n) if n else Check(check, "not applicable", 0, absent))
    return PixelAudit(findings, _doubted(checks, unread), len(seen), len(unknown))


def audit_without_source(
    subject: Subject, runner: Runner, status: Status, reason: str, *, allow_unknown: bool
) -> PixelAudit:
    """Look for every sample's siblings in the splits before its own."""
    subject, digests, unread = _read_all(subject, runner, "reading samples", lambda sample: _digest(sample.image()))
    siblings, blank = find_siblings(subject, runner)
    findings = [*check_identical(subject, digests), *check_siblings(siblings)]
    checks = [Check(check, status_of(check, findings), len(digests)) for check in ("P001", "P007")]
    absent = [check for check in CHECKS if check[0] in "PS" and check not in ("P001", "P007")]
    checks += [Check(check, status, 0, reason) for check in absent]
    if blank and not allow_unknown:
        unread = unread or (
            f"{len(blank)} of {len(digests)} samples show too little to be compared, such as {blank[0]}; allow them "
            "with --allow-unknown"
        )
    return PixelAudit(findings, _doubted(checks, unread), len(digests), len(blank))


def find_siblings(
    subject: Subject, runner: Runner
) -> tuple[list[tuple[AuditedSample, AuditedSample, Sibling]], list[str]]:
    """Return samples with the one of an earlier split that shows the same tissue, and those with too few features."""
    if not subject.samples:
        return [], []
    first = subject.samples[0].split

    def learn(sample: AuditedSample) -> tuple[Features, Features]:
        image = sample.image()
        known = find_features(image)
        return known, known if sample.split == first else find_features(mirror(image, mirrored=True))

    learnt = runner.map("learning samples", learn, subject.samples)
    found: list[SiblingPair] = []
    for earlier, later in subject.pairs():
        own = [number for number, sample in enumerate(subject.samples) if sample.split == earlier]
        others = [number for number, sample in enumerate(subject.samples) if sample.split == later]
        index = SiblingIndex([learnt[number][0] for number in own])
        looks = [learnt[number] for number in others]
        siblings = runner.map(f"comparing {later} with {earlier}", partial(_find_sibling, index), looks)
        found += [
            (subject.samples[number], subject.samples[own[sibling.key]], sibling)
            for number, sibling in zip(others, siblings, strict=True)
            if sibling
        ]
    few = [
        sample.name
        for sample, (known, _) in zip(subject.samples, learnt, strict=True)
        if len(known) < COMPARABLE_FEATURES
    ]
    return found, few


def _lost_sections(subject: Subject, digests: Sequence[str], eye: SourceEye) -> set[AuditedSample]:
    """Return the samples of one gray level whose slice is so, too: a section that was lost shows no tissue."""
    known = set(eye.addresses)
    return {
        sample
        for sample, digest in zip(subject.samples, digests, strict=True)
        if not digest and sample.claimed in known and sample.claimed and not _digest(eye.image(sample.claimed))
    }


def _digest(image: NDArray[Any]) -> str:
    """Return the digest of a picture; an empty one where it is of one gray level, which shows nothing."""
    return "" if image.min() == image.max() else array_digest(image)


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
