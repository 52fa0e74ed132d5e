"""Checks of pixels, P001 to P007 and S001: every sample is read once, in parallel, and then compared with the records.

With the source at hand, the slice that each sample shows is looked for in it. Without it, and for samples that show
none of its slices, samples of different splits are compared with each other.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, TypeAlias

from numpy.typing import NDArray

from pipeline.audit.audited_samples import AuditedSample, AuditedSamples, Workers, start_workers
from pipeline.audit.report import CHECKS, Check, Finding, Measures, Severity, Skip, conclude, skipped
from pipeline.audit.same_tissue import Repeat, Sibling, find_repeats, find_siblings
from pipeline.audit.slice_identification import LABEL_F1, Identification, SliceIdentifier
from pipeline.audit.split_overlap import find_closest
from pipeline.plan.split import SliceAddress, in_order
from pipeline.shards.digest import array_digest
from pipeline.shards.progress import Progress, SilentProgress

Identified: TypeAlias = Sequence[tuple[AuditedSample, Identification]]

_REBUILD = "assign whole slices to splits before augmenting, and build the set again"
_ADVICE = {
    "P001": "remove one of the two",
    "P002": _REBUILD,
    "P003": "the manifest is wrong or was changed: build the set again, and do not trust its split",
    "P004": "leave more slices out between the splits",
    "P005": "name the whole source, or allow unknown samples with --allow-unknown",
    "P006": "label and image were rendered apart or swapped: build the set again",
    "P007": _REBUILD,
    "S001": "remove one of them from the source, and build the set again",
}


@dataclass(frozen=True, slots=True, eq=False)
class PixelAudit:
    """What the pixel checks found, and how many samples they looked at, and found no slice for."""

    findings: list[Finding]
    checks: list[Check]
    n_samples: int = 0
    n_unknown: int = 0


def check_pixels(
    audited: AuditedSamples,
    slices: SliceIdentifier | None,
    missing: Skip,
    *,
    allow_unknown: bool,
    jobs: int,
    progress: Progress | None,
) -> PixelAudit:
    """Run the checks of pixels.

    Args:
        audited: the samples.
        slices: those that they were made from; None where they are not at hand.
        missing: why checks that need them are skipped then.
        allow_unknown: samples whose slice is not found are warnings.
        jobs: threads.
        progress: progress callback.
    """
    with start_workers(jobs, progress or SilentProgress()) as workers:
        if slices:
            return _check_with_source(audited, slices, workers, allow_unknown=allow_unknown)
        return _check_without_source(audited, missing, workers, allow_unknown=allow_unknown)


def _check_with_source(
    audited: AuditedSamples, slices: SliceIdentifier, workers: Workers, *, allow_unknown: bool
) -> PixelAudit:
    """Look for every sample's slice; samples that show none are compared with each other instead."""
    workers.map("learning slices", slices.learn, slices.addresses)
    repeats = find_repeats(slices, workers)
    slices.join((one, other) for one, other, _ in repeats)

    def look(sample: AuditedSample) -> tuple[str, Identification]:
        image = sample.image()
        return _digest(image), slices.identify(image, sample.label() if sample.label else None)

    readable, looked, unread = workers.read_all(audited, "looking at samples", look)
    digests = [digest for digest, _ in looked]
    seen = list(zip(readable.samples, (shown for _, shown in looked), strict=True))
    unknown = [
        (sample, shown)
        for (sample, shown), digest in zip(seen, digests, strict=True)
        if shown.found is None and not _is_lost(sample, digest, slices)
    ]
    siblings, _ = find_siblings(replace(readable, samples=tuple(sample for sample, _ in unknown)), workers)
    findings = [
        *find_identical(readable, digests),
        *find_leaking_slices(readable, seen),
        *find_false_claims(readable, seen),
        *([] if slices.independent else find_near_slices(readable, seen, slices.gap)),
        *find_unknown(unknown, allow_unknown=allow_unknown),
        *find_wrong_labels(seen),
        *siblings_found(siblings),
        *repeats_found(readable, repeats),
    ]
    n_claimed = sum(sample.claimed is not None for sample in audited.samples)
    n_labels = sum(shown.f1 is not None for _, shown in seen)
    limited = {  # checks that look at other things than samples, or not always; how many, and why at none
        "P003": (n_claimed, "there is no manifest"),
        "P004": (0 if slices.independent else len(audited.samples), "slices are independent fields of view"),
        "P006": (n_labels, "there are no labels, or too little in them to tell"),
        "P007": (len(unknown), "the source is at hand, P002 compares with it"),
        "S001": (len(slices.addresses), "there is no slice"),
    }
    checks = {check: conclude(check, findings, len(seen), unread) for check in CHECKS if check[0] == "P"}
    for check, (n, absent) in limited.items():
        checks[check] = conclude(check, findings, n, unread) if n else Check(check, "not applicable", 0, absent)
    return PixelAudit(findings, list(checks.values()), len(seen), len(unknown))


def _check_without_source(
    audited: AuditedSamples, missing: Skip, workers: Workers, *, allow_unknown: bool
) -> PixelAudit:
    """Look for every sample's siblings in the splits before its own."""
    readable, digests, unread = workers.read_all(audited, "reading samples", lambda sample: _digest(sample.image()))
    siblings, few_features = find_siblings(readable, workers)
    findings = [*find_identical(readable, digests), *siblings_found(siblings)]
    n, n_few = len(digests), len(few_features)
    if n_few and not allow_unknown:
        unread = unread or (
            f"{n_few} of {n} samples show too little to be compared, such as {few_features[0]}; allow them "
            "with --allow-unknown"
        )
    checks = [conclude(check, findings, n, unread) for check in ("P001", "P007")]
    checks += skipped(missing, "P002", "P003", "P004", "P005", "P006", "S001")
    return PixelAudit(findings, checks, n, n_few)


def find_identical(audited: AuditedSamples, digests: Sequence[str]) -> Iterator[Finding]:
    """Yield P001: the same pixels in two splits; an empty digest is of a picture that shows nothing."""
    first: defaultdict[str, dict[str, AuditedSample]] = defaultdict(dict)
    for sample, digest in zip(audited.samples, digests, strict=True):
        for split, other in first[digest].items() if digest else ():
            if split != sample.split:
                text = f"{sample.name} ({sample.split}) has the same pixels as {other.name} ({split})"
                yield _finding("P001", "critical", text, sample.name, other.name, (split, sample.split))
        first[digest].setdefault(sample.split, sample)


def find_leaking_slices(audited: AuditedSamples, seen: Identified) -> Iterator[Finding]:
    """Yield P002: a slice seen in a sample is used by a split before its own, in the order train, val, test."""
    users = defaultdict(set, {address: set(splits) for address, splits in audited.owners.items()})
    shown_slices = [(sample, shown, slice_) for sample, shown in seen for slice_ in shown.shown]
    for sample, _, found in shown_slices:
        users[found].add(sample.split)
    for sample, shown, found in shown_slices:
        twins = shown.twins if found == shown.found else frozenset()
        earlier, *_ = in_order({sample.split, *users[found], *(user for twin in twins for user in users[twin])})
        if earlier != sample.split:
            place = address_text(found)
            text = f"{sample.name} ({sample.split}) shows {place}, which {earlier} uses"
            yield _finding("P002", "critical", text, sample.name, place, (earlier, sample.split), shown.measures)


def find_false_claims(audited: AuditedSamples, seen: Identified) -> Iterator[Finding]:
    """Yield P003: the slice seen is not the one that the manifest claims."""
    for sample, shown in seen:
        if shown.found is None or sample.claimed is None or sample.claimed in shown.likely:
            continue
        owners = audited.owners.get(shown.found, set())
        severity: Severity = "error"
        splits: tuple[str, ...] = (sample.split,)
        if owners - {sample.split}:
            severity, splits = "critical", (*sorted(owners), sample.split)
        place = address_text(shown.found)
        text = f"{sample.name} shows {place}, not {address_text(sample.claimed)} as recorded"
        yield _finding("P003", severity, text, sample.name, place, splits, shown.measures)


def find_near_slices(audited: AuditedSamples, seen: Identified, gap: int) -> Iterator[Finding]:
    """Yield P004: slices seen in two splits lie within the gap of each other; one for each stack and two splits."""
    places: defaultdict[tuple[int, str], set[int]] = defaultdict(set)
    for sample, shown in seen:
        for found in shown.shown:
            places[found.stack, sample.split].add(found.z)
    for (earlier, later), stack in product(audited.pairs(), sorted({stack for stack, _ in places})):
        near = find_closest(places[stack, earlier], places[stack, later], gap)
        if near:
            text = (
                f"slices seen in {later} lie within {gap} of slices seen in {earlier} (stack {stack}, {near.n_there} "
                f"of them): z {near.there} and z {near.here} are {near.distance} apart"
            )
            place, splits = f"stack {stack}, z {near.here}", (earlier, later)
            yield _finding("P004", near.severity, text, None, place, splits, {"distance": near.distance})


def find_unknown(unknown: Identified, *, allow_unknown: bool) -> Iterator[Finding]:
    """Yield P005: no slice was found for a sample."""
    severity: Severity = "warning" if allow_unknown else "error"
    for sample, shown in unknown:
        where = f"{sample.name} ({sample.split})"
        text = f"{where} shows none of the source's slices ({shown.inliers} features agree)"
        yield _finding("P005", severity, text, sample.name, None, (sample.split,), shown.measures)


def find_wrong_labels(seen: Identified) -> Iterator[Finding]:
    """Yield P006: the label is not the slice's own, deformed as the image was."""
    for sample, shown in seen:
        if shown.found and shown.f1 is not None and shown.f1 < LABEL_F1:
            text = f"{sample.name}: its label does not fit its image (F1 {shown.f1:.2f} with the label of the slice)"
            place = address_text(shown.found)
            yield _finding("P006", "error", text, sample.name, place, (sample.split,), shown.measures)


def siblings_found(siblings: Iterable[Sibling]) -> Iterator[Finding]:
    """Yield P007: a sample shows the same tissue as one of an earlier split."""
    for sample, other, measures in siblings:
        text = f"{sample.name} ({sample.split}) shows the same tissue as {other.name} ({other.split})"
        yield _finding("P007", "critical", text, sample.name, other.name, (other.split, sample.split), measures)


def repeats_found(audited: AuditedSamples, repeats: Iterable[Repeat]) -> Iterator[Finding]:
    """Yield S001: two slices of the source show the same tissue."""
    for repeat in repeats:
        owners = [audited.owners.get(address, set()) for address in (repeat.one, repeat.other)]
        crossing = sorted({(one, other) for one, other in product(*owners) if one != other})
        one, other = address_text(repeat.one), address_text(repeat.other)
        severity: Severity = "critical" if crossing else "warning"
        splits = crossing[0] if crossing else ()
        yield _finding("S001", severity, f"{one} and {other} are the same slice", one, other, splits, repeat.measures)


def count_leaking_samples(splits: Iterable[str], findings: Iterable[Finding]) -> dict[str, int]:
    """Return, for each split but train, how many samples show tissue that was trained on."""
    leaking: dict[str, set[str]] = {split: set() for split in splits if split != "train"}
    for finding in findings:
        if finding.check in ("P001", "P002", "P007") and finding.sample and finding.splits[:1] == ("train",):
            leaking[finding.splits[-1]].add(finding.sample)
    return {split: len(names) for split, names in leaking.items()}


def address_text(address: SliceAddress) -> str:
    """Return how findings call a slice."""
    return f"stack {address.stack}, z {address.z}"


def _finding(
    check: str,
    severity: Severity,
    text: str,
    sample: str | None,
    other: str | None,
    splits: tuple[str, ...],
    measures: Measures | None = None,
) -> Finding:
    return Finding(check, severity, text, _ADVICE[check], sample, other, splits, measures or {})


def _digest(image: NDArray[Any]) -> str:
    """Return the digest of a picture; an empty one where it is of one gray level, which shows nothing."""
    return "" if image.min() == image.max() else array_digest(image)


def _is_lost(sample: AuditedSample, digest: str, slices: SliceIdentifier) -> bool:
    """Return whether a sample and its slice are both of one gray level: a section that was lost shows no tissue."""
    claimed = sample.claimed
    return not digest and claimed is not None and claimed in slices.addresses and not _digest(slices.image(claimed))
