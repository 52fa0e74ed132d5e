"""Checks of pixels, P001 to P007 and S001, and how each sample ended: proven, identified, compared or not compared.

A sample is proven where its recipe, rendered again from the source, gives what is stored: then it shows the slice that
is recorded, and nothing needs to be looked for. Of all others the slice is looked for in the source, where that is at
hand, and they are compared with the samples of other splits. What is neither found nor compared is told as such.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from augment.gray import as_plane
from pipeline.audit.pixel_findings import (
    ProvenSlice,
    find_false_claims,
    find_identical,
    find_leaking_slices,
    find_near_slices,
    find_unknown,
    find_wrong_labels,
    repeats_found,
    siblings_found,
)
from pipeline.audit.report import Check, Coverage, Finding, Skip, conclude, skipped
from pipeline.audit.samples.audited_samples import AuditedSample, AuditedSamples, Workers, start_workers
from pipeline.audit.search.repeats import find_repeats
from pipeline.audit.search.same_tissue import NOTHING_COMPARED, Compared, Sibling, find_siblings
from pipeline.audit.search.slice_identification import Identification, SliceIdentifier
from pipeline.shards.digest import array_digest
from pipeline.shards.progress import Progress, SilentProgress

SEARCHED_AGAIN = 20  # of so many proven samples, the slice of one is looked for all the same


@dataclass(frozen=True, slots=True, eq=False)
class PixelAudit:
    """What the pixel checks found, and how each sample ended; nothing was rendered again here.

    Attributes:
        findings: of all checks.
        checks: how each ended.
        coverage: how each sample ended.
        digests: of the pixels of every sample that could be read.
        shown: the slices that samples show, where there is a source.
        siblings: samples that show the same tissue, all that were found.
    """

    findings: list[Finding]
    checks: list[Check]
    coverage: Coverage
    digests: Mapping[AuditedSample, str] = field(default_factory=dict)
    shown: Mapping[AuditedSample, Identification | ProvenSlice] = field(default_factory=dict)
    siblings: Sequence[Sibling] = ()


def check_pixels(
    audited: AuditedSamples,
    slices: SliceIdentifier | None,
    missing: Skip,
    *,
    proven: Collection[str] = frozenset(),
    allow_unknown: bool,
    jobs: int,
    progress: Progress | None,
) -> PixelAudit:
    """Run the checks of pixels.

    Args:
        audited: the samples.
        slices: those that they were made from; None where they are not at hand.
        missing: why checks that need them are skipped then.
        proven: the ids of samples that were rendered again from these slices and came out as they are stored.
        allow_unknown: samples whose slice is not found are warnings.
        jobs: threads.
        progress: progress callback.
    """
    with start_workers(jobs, progress or SilentProgress()) as workers:
        if slices:
            return _check_with_source(audited, slices, workers, proven=proven, allow_unknown=allow_unknown)
        return _check_without_source(audited, missing, workers)


def _check_with_source(
    audited: AuditedSamples,
    slices: SliceIdentifier,
    workers: Workers,
    *,
    proven: Collection[str],
    allow_unknown: bool,
) -> PixelAudit:
    """Look for the slice of every sample that is not proven, and compare it with the samples of other splits."""
    workers.map("learning slices", slices.learn, slices.addresses)
    repeats = find_repeats(slices, workers)
    slices.join((one, other) for one, other, _ in repeats)
    certain = {
        sample: ProvenSlice(sample.claimed, slices.twins(sample.claimed))
        for sample in audited.samples
        if sample.claimed and sample.id in proven
    }

    def look(sample: AuditedSample) -> tuple[str, Identification]:
        image = sample.image()
        return array_digest(image), slices.identify(as_plane(image), sample.label() if sample.label else None)

    doubtful = audited.only(set(audited.samples) - set(certain))
    readable, looked, unread = workers.read_all(doubtful, "looking at samples", look)
    searched = {sample: seen for sample, (_, seen) in zip(readable.samples, looked, strict=True)}
    digests = {sample: sample.image_sha256 for sample in certain if sample.image_sha256}
    hashed, found, _ = workers.read_all(audited.only(set(certain) - set(digests)), "reading samples", _digest)
    digests |= zip(hashed.samples, found, strict=True)
    digests |= {sample: digest for sample, (digest, _) in zip(readable.samples, looked, strict=True)}
    checked, checks_seen, _ = workers.read_all(
        audited.only([*certain][::SEARCHED_AGAIN]),
        "checking proven samples",
        lambda sample: slices.check(sample.plane(), certain[sample].found),
    )
    searched_again = list(zip(checked.samples, checks_seen, strict=True))

    shown: dict[AuditedSample, Identification | ProvenSlice] = {**certain, **searched}
    seen = [(sample, shown[sample]) for sample in audited.samples if sample in shown]
    compared = _compare(audited.only(shown), set(certain), workers) if searched else NOTHING_COMPARED
    unknown = [(sample, each) for sample, each in searched.items() if each.found is None]
    lost = [sample for sample, _ in unknown if sample in set(compared.poor)]
    n_unread = len(doubtful.samples) - len(searched)
    # A sample that shows several slices ends as the worst of them does.
    not_compared = _whole([*lost, *(set(doubtful.samples) - set(searched))])
    not_found = _whole(sample for sample, _ in unknown) - not_compared
    coverage = Coverage(
        total=len(_whole(audited.samples)),
        proven=len(_whole(certain)),
        identified=len(_whole(searched) - not_found - not_compared),
        compared=len(not_found),
        not_compared=len(not_compared),
        searched_again=len(_whole(checked.samples)),
        in_part=len(_whole(compared.with_furniture)),
        sparse=len(_whole({sample for sample, _ in unknown} & set(compared.sparse))),
    )
    findings = [
        *find_identical(audited, digests),
        *find_leaking_slices(audited, seen),
        *find_false_claims(audited, [*searched.items(), *searched_again]),
        *([] if slices.independent else find_near_slices(audited, seen, slices.gap)),
        *find_unknown(unknown, allow_unknown=allow_unknown),
        *find_wrong_labels(seen),
        *siblings_found(compared.siblings),
        *repeats_found(audited, repeats),
    ]
    n_known = coverage.proven + coverage.identified
    has_records = any(sample.claimed for sample in audited.samples)
    n_labels = coverage.proven + sum(each.f1 is not None for each in searched.values())
    reached = _Reached(findings, len(audited.samples), unread, n_unread, lost)
    alone = "no slice was found, P007 compares samples with each other"
    checks = [
        reached.check("P001", len(digests), looks_closer=False),
        reached.check("P002", n_known, absent=alone),
        reached.check("P003", n_known, absent=alone) if has_records else _absent("P003", "there is no manifest"),
        reached.check("P004", n_known, absent=alone)
        if not slices.independent
        else _absent("P004", "slices are independent fields of view"),
        reached.check("P005", len(shown), looks_closer=False),
        reached.check(
            "P006", n_labels, absent="there are no labels, or too little in them to tell", looks_closer=False
        ),
        reached.check("P007", coverage.total - coverage.not_compared)
        if doubtful.samples
        else _absent("P007", "every sample is proven by rendering it again, P002 compares their slices"),
        conclude("S001", findings, len(slices.addresses)) if slices.addresses else _absent("S001", "there is no slice"),
    ]
    return PixelAudit(findings, checks, coverage, digests, shown, compared.siblings)


def _check_without_source(audited: AuditedSamples, missing: Skip, workers: Workers) -> PixelAudit:
    """Look for every sample's siblings in the splits before its own."""
    readable, read, unread = workers.read_all(audited, "reading samples", _digest)
    compared = _compare(readable, frozenset(), workers)
    digests = dict(zip(readable.samples, read, strict=True))
    findings = [*find_identical(audited, digests), *siblings_found(compared.siblings)]
    n, n_readable = len(audited.samples), len(read)
    n_compared = n_readable - len(compared.poor)
    whole, not_compared = _whole(audited.samples), _whole([*compared.poor, *set(audited.samples) - set(digests)])
    coverage = Coverage(
        len(whole),
        compared=len(whole - not_compared),
        not_compared=len(not_compared),
        in_part=len(_whole(compared.with_furniture)),
        sparse=len(_whole(compared.sparse)),
    )
    reached = _Reached(findings, n, unread, n - n_readable, compared.poor)
    checks = [reached.check("P001", n_readable, looks_closer=False), reached.check("P007", n_compared)]
    checks += skipped(missing, "P002", "P003", "P004", "P005", "P006", "S001")
    return PixelAudit(findings, checks, coverage, digests, siblings=compared.siblings)


def _digest(sample: AuditedSample) -> str:
    return array_digest(sample.image())


def _whole(samples: Iterable[AuditedSample]) -> set[tuple[str, str]]:
    """Return the split and the id of the samples that these are, or are parts of."""
    return {(sample.split, sample.id) for sample in samples}


def _compare(audited: AuditedSamples, certain: Collection[AuditedSample], workers: Workers) -> Compared:
    """Compare samples of different splits; siblings that are both certain do not count.

    Where there is one split alone, there is nothing that a sample should have been compared with.
    """
    compared = find_siblings(audited, workers)
    siblings = [each for each in compared.siblings if not (each.sample in certain and each.other in certain)]
    return compared._replace(siblings=siblings, poor=compared.poor if audited.pairs() else [])


@dataclass(frozen=True, slots=True)
class _Reached:
    """What checks of samples found, and the samples that they could not look at.

    Attributes:
        findings: of all checks.
        n: samples in all.
        unread: why some could not be read; empty where all could.
        n_unread: how many.
        poor: samples that were neither found in the source nor show enough to be compared.
    """

    findings: Sequence[Finding]
    n: int
    unread: str
    n_unread: int
    poor: Sequence[AuditedSample]

    def check(self, check: str, n: int, *, looks_closer: bool = True, absent: str = "there is no sample") -> Check:
        """Return how a check ended that looked at n samples; one that looks closer needs more than pixels."""
        n_poor = len(self.poor) if looks_closer else 0
        n_skipped = self.n_unread + n_poor
        if not n and not n_skipped:
            return _absent(check, absent)
        reasons = [self.unread] if self.unread else []
        if n_poor:
            shows = f"{self.poor[0].name}, for one, shows too little, or a pattern that repeats"
            reasons.append(f"{n_poor} of {self.n} samples not compared: {shows}")
        return conclude(check, self.findings, n, "; ".join(reasons), n_skipped=n_skipped)


def _absent(check: str, reason: str) -> Check:
    return Check(check, "not applicable", reason=reason)
