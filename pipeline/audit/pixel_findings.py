"""Findings P001 to P007 and S001, from what samples show and from the records."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import TypeAlias

from pipeline.audit.report import Finding, Measures, Severity
from pipeline.audit.samples.audited_samples import AuditedSample, AuditedSamples
from pipeline.audit.search.repeats import Repeat
from pipeline.audit.search.same_tissue import Sibling
from pipeline.audit.search.slice_identification import LABEL_F1, Identification
from pipeline.audit.splits.split_overlap import find_closest
from pipeline.plan.split import SliceAddress, in_order

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
class ProvenSlice:
    """The slice that a proven sample shows, told as the search tells what it finds.

    Attributes:
        found: the slice.
        twins: slices that are the same, because the source holds it more than once.
        f1: nothing to measure: its label was rendered with its image.
        measures: none.
    """

    found: SliceAddress
    twins: frozenset[SliceAddress]
    f1: None = None
    measures: Measures = field(default_factory=dict)

    @property
    def shown(self) -> list[SliceAddress]:
        """All slices that it shows."""
        return [self.found]

    @property
    def likely(self) -> frozenset[SliceAddress]:
        """The slices that it shows."""
        return self.twins | {self.found}


Identified: TypeAlias = Sequence[tuple[AuditedSample, Identification | ProvenSlice]]


def find_identical(audited: AuditedSamples, digests: Mapping[AuditedSample, str]) -> Iterator[Finding]:
    """Yield P001: the same pixels in two splits, unless they are all of one gray level, which shows nothing."""
    first: defaultdict[str, dict[str, AuditedSample]] = defaultdict(dict)
    blank: dict[str, bool] = {}
    for sample in audited.samples:
        if not (digest := digests.get(sample)):
            continue
        for split, other in first[digest].items():
            if split != sample.split and digest not in blank:
                image = sample.image()
                blank[digest] = bool(image.min() == image.max())
            if split != sample.split and not blank[digest]:
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
        twins = shown.twins if found == shown.found else ()
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


def find_unknown(unknown: Iterable[tuple[AuditedSample, Identification]], *, allow_unknown: bool) -> Iterator[Finding]:
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
    """Yield P007: a sample shows the same tissue as one of an earlier split; of several, the first is told."""
    best: dict[tuple[AuditedSample, str], Sibling] = {}
    for sibling in siblings:
        best.setdefault((sibling.sample, sibling.other.split), sibling)
    for sample, other, measures in best.values():
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


def count_leaking_samples(
    splits: Iterable[str], findings: Iterable[Finding], audited: AuditedSamples
) -> dict[str, int]:
    """Return, for each split but train, how many samples show tissue that was trained on."""
    id_of = {(sample.split, sample.name): sample.id for sample in audited.samples}
    leaking: dict[str, set[str]] = {split: set() for split in splits if split != "train"}
    for finding in findings:
        if finding.check in ("P001", "P002", "P007") and finding.sample and finding.splits[:1] == ("train",):
            leaking[finding.splits[-1]].add(id_of[finding.splits[-1], finding.sample])
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
