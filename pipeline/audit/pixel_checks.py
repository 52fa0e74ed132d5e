"""Checks of what the pixels show: P001 to P007 and S001."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import TypeAlias

from pipeline.audit.report import Finding, Severity
from pipeline.audit.siblings import Sibling
from pipeline.audit.sightings import LABEL_F1, SeenSample
from pipeline.audit.subject import AuditedSample, Subject
from pipeline.plan.split import SPLITS, SliceAddress

SiblingPair: TypeAlias = tuple[AuditedSample, AuditedSample, Sibling]

_REBUILD = "assign whole slices to splits before augmenting, and build the set again"


def address_text(address: SliceAddress) -> str:
    """Return how findings call a slice."""
    return f"stack {address.stack}, z {address.z}"


def check_identical(subject: Subject, digests: Sequence[str]) -> list[Finding]:
    """P001: the same pixels in two splits; an empty digest is of a picture that shows nothing."""
    first: dict[tuple[str, str], AuditedSample] = {}
    findings = []
    for sample, digest in zip(subject.samples, digests, strict=True):
        for split in SPLITS if digest else ():
            other = first.get((digest, split))
            if split != sample.split and other:
                findings.append(
                    Finding(
                        check="P001",
                        severity="critical",
                        text=f"{sample.name} ({sample.split}) has the same pixels as {other.name} ({split})",
                        advice="remove one of the two",
                        sample=sample.name,
                        other=other.name,
                        splits=(split, sample.split),
                    )
                )
        first.setdefault((digest, sample.split), sample)
    return findings


def check_sources_used(subject: Subject, seen: Sequence[SeenSample]) -> list[Finding]:
    """P002: a slice seen in a sample is used by a split before its own, in the order train, val, test."""
    used = {address: set(splits) for address, splits in subject.used.items()}
    for sample, each in zip(subject.samples, seen, strict=True):
        if each.found:
            used.setdefault(each.found, set()).add(sample.split)
    findings = []
    for sample, each in zip(subject.samples, seen, strict=True):
        if each.found is None:
            continue
        users = set().union(*(used.get(address, set()) for address in (each.found, *each.twins)))
        earlier = [split for split in SPLITS[: SPLITS.index(sample.split)] if split in users]
        if earlier:
            findings.append(
                Finding(
                    check="P002",
                    severity="critical",
                    text=f"{sample.name} ({sample.split}) shows {address_text(each.found)}, which {earlier[0]} uses",
                    advice=_REBUILD,
                    sample=sample.name,
                    other=address_text(each.found),
                    splits=(earlier[0], sample.split),
                    measures=each.measures,
                )
            )
    return findings


def check_claims(subject: Subject, seen: Sequence[SeenSample]) -> list[Finding]:
    """P003: the slice seen is not the one that the manifest claims."""
    findings = []
    for sample, each in zip(subject.samples, seen, strict=True):
        if each.found is None or sample.claimed is None or sample.claimed in each.likely:
            continue
        owners = subject.used.get(each.found, frozenset())
        crosses = bool(owners - {sample.split})
        findings.append(
            Finding(
                check="P003",
                severity="critical" if crosses else "error",
                text=f"{sample.name} shows {address_text(each.found)}, not {address_text(sample.claimed)} as recorded",
                advice="the manifest is wrong or was changed: build the set again, and do not trust its split",
                sample=sample.name,
                other=address_text(each.found),
                splits=(*sorted(owners), sample.split) if crosses else (sample.split,),
                measures=each.measures,
            )
        )
    return findings


def check_neighbours(subject: Subject, seen: Sequence[SeenSample], gap: int) -> list[Finding]:
    """P004: slices seen in two splits lie within the gap of each other; one finding for a stack and pair of splits."""
    shown: dict[tuple[int, str], set[int]] = defaultdict(set)
    for sample, each in zip(subject.samples, seen, strict=True):
        if each.found:
            shown[each.found.stack, sample.split].add(each.found.z)
    findings = []
    for earlier, later in subject.pairs():
        for stack in sorted({stack for stack, _ in shown}):
            pairs = product(shown[stack, earlier], shown[stack, later])
            near = sorted((abs(a - b), a, b) for a, b in pairs if 0 < abs(a - b) <= gap)
            if near:
                distance, a, b = near[0]
                n_slices = len({z for _, _, z in near})
                severity: Severity = "critical" if distance == 1 else "error"
                findings.append(
                    Finding(
                        check="P004",
                        severity=severity,
                        text=f"slices seen in {later} lie within {gap} of slices seen in {earlier} (stack {stack}, "
                        f"{n_slices} of them): z {b} and z {a} are {distance} apart",
                        advice="leave more slices out between the splits",
                        other=f"stack {stack}, z {a}",
                        splits=(earlier, later),
                        measures={"distance": distance},
                    )
                )
    return findings


def check_unknown(
    unknown: Sequence[AuditedSample], subject: Subject, seen: Sequence[SeenSample], *, allow_unknown: bool
) -> list[Finding]:
    """P005: no slice was found for a sample."""
    missed = set(unknown)
    return [
        Finding(
            check="P005",
            severity="warning" if allow_unknown else "error",
            text=f"{sample.name} ({sample.split}) shows none of the source's slices ({each.inliers} features agree)",
            advice="name the whole source, or allow unknown samples with --allow-unknown",
            sample=sample.name,
            splits=(sample.split,),
            measures=each.measures,
        )
        for sample, each in zip(subject.samples, seen, strict=True)
        if sample in missed
    ]


def check_labels(subject: Subject, seen: Sequence[SeenSample]) -> list[Finding]:
    """P006: the label is not the slice's own, deformed as the image was."""
    return [
        Finding(
            check="P006",
            severity="error",
            text=f"{sample.name}: its label does not fit its image (F1 {each.f1:.2f} with the label of the slice)",
            advice="label and image were rendered apart or swapped: build the set again",
            sample=sample.name,
            other=address_text(each.found) if each.found else None,
            splits=(sample.split,),
            measures=each.measures,
        )
        for sample, each in zip(subject.samples, seen, strict=True)
        if each.f1 is not None and each.f1 < LABEL_F1
    ]


def check_siblings(siblings: Sequence[SiblingPair]) -> list[Finding]:
    """P007: a sample shows the same tissue as one of an earlier split.

    Args:
        siblings: the sample, the one that it looks like, and what shows it.
    """
    return [
        Finding(
            check="P007",
            severity="critical",
            text=f"{sample.name} ({sample.split}) shows the same tissue as {other.name} ({other.split})",
            advice=_REBUILD,
            sample=sample.name,
            other=other.name,
            splits=(other.split, sample.split),
            measures={
                "inliers": sibling.match.inliers,
                "angle_deg": round(sibling.match.angle_deg, 1),
                "scale": round(1.0 / sibling.match.scale, 3),
                "mirrored": sibling.mirrored,
            },
        )
        for sample, other, sibling in siblings
    ]


def check_repeats(
    subject: Subject, repeats: Sequence[tuple[SliceAddress, SliceAddress, Mapping[str, float | int | bool | None]]]
) -> list[Finding]:
    """S001: two slices of the source show the same tissue.

    Args:
        subject: what is audited.
        repeats: the pairs, and what shows it.
    """
    findings = []
    for one, other, measures in repeats:
        owners = [subject.used.get(address, frozenset()) for address in (one, other)]
        crossing = sorted({(a, b) for a, b in product(*owners) if a != b})
        findings.append(
            Finding(
                check="S001",
                severity="critical" if crossing else "warning",
                text=f"{address_text(one)} and {address_text(other)} are the same slice",
                advice="remove one of them from the source, and build the set again",
                sample=address_text(one),
                other=address_text(other),
                splits=crossing[0] if crossing else (),
                measures=measures,
            )
        )
    return findings


def leaking(splits: Iterable[str], findings: Sequence[Finding]) -> dict[str, int]:
    """Return, for each split but train, how many samples show tissue that was trained on."""
    shown: dict[str, set[str]] = {split: set() for split in splits if split != "train"}
    for finding in findings:
        if finding.check in ("P001", "P002", "P007") and finding.sample and finding.splits[:1] == ("train",):
            shown[finding.splits[-1]].add(finding.sample)
    return {split: len(names) for split, names in shown.items()}
