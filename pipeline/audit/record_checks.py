"""Checks of records: M001 to M005 (and R001) of a dataset and groups in it, M006."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.audit.report import Check, Finding, conclude
from pipeline.audit.splits.region_overlap import find_overlapping
from pipeline.audit.splits.split_overlap import (
    SplitCounts,
    Unit,
    find_near,
    find_shared,
    find_spread,
    require_gap,
    slice_unit,
    split_row,
)
from pipeline.plan.split import SPLITS, SliceAddress
from pipeline.shards.blank import blank_digests
from pipeline.shards.context import neighbours
from pipeline.shards.dataset import Dataset
from pipeline.shards.manifest import ManifestRow
from pipeline.shards.record import DatasetRecord
from pipeline.source.stacks import Source

if TYPE_CHECKING:
    from pipeline.verify.samples import Fault

_CHECK_OF = {"record": "M001", "digest": "M002", "replay": "R001"}
_ADVICE = {
    "M001": "do not use it as it is; build it again, or download it again",
    "M002": "its bytes are not those that were built; build it again, or download it again",
    "R001": "its pixels or its recipe were changed; build it again",
}
_NO_NEIGHBOURS = "the slices are fields of view without neighbours"


@dataclass(frozen=True, slots=True)
class RecordAudit:
    """What M001 to M005 and R001 found, and how each of them ended.

    Attributes:
        findings: of all of them.
        checks: one each; R001 only where the source is at hand.
        counts: how many samples each split takes from which slice.
        unread: why the manifest could not be read to its end; empty where it could.
        n_replayed: samples that were rendered again.
        proven: the ids of those that came out as they are stored, with no other fault.
    """

    findings: list[Finding]
    checks: list[Check]
    counts: SplitCounts
    unread: str
    n_replayed: int
    proven: frozenset[str]


def check_records(
    dataset: Dataset,
    *,
    gap: int,
    jobs: int = -1,
    source: Source | None = None,
    on_row: Sequence[Callable[[ManifestRow], None]] = (),
) -> RecordAudit:
    """Return what M001 to M005 find in a dataset's records and bytes, and R001 where the source is at hand.

    Where the manifest cannot be read to its end, M003 to M005 look at what comes before, and did not pass.

    Args:
        dataset: the dataset.
        gap: slices of two splits must be further apart than this.
        jobs: threads to compute digests in.
        source: what it was made from, to render samples again.
        on_row: what is called with every row of the manifest, which is read once.

    Raises:
        ConfigError: the gap is below 0.
        DatasetError: there is no dataset that could be checked.
    """
    from pipeline.verify.verification import verify_dataset

    require_gap(gap)
    counts = SplitCounts()

    def count(row: ManifestRow) -> None:
        counts.add(split_row(row))
        for callback in on_row:
            callback(row)

    verification = verify_dataset(dataset, jobs=jobs, source=source, on_row=count, name_proven=source is not None)
    record, unread, n = dataset.record, verification.unread, dataset.n
    independent = record.config.independent
    planned = {(slice_unit(address.stack, address.z), split) for address, split in planned_slices(record)}
    members = set() if independent else counts.members | planned
    findings = [
        *find_faults(verification.faults),
        *find_shared(counts, blank_digests(record) if counts.shared_contents else ()),
        *find_overlapping(record),
        *find_near(members, gap, record.config.context),
        *find_spread(counts.units, total=len(counts.units)),
    ]
    n_missed = n - verification.n_checked
    missed = f"the digests of {n_missed} of {n} samples could not be compared" if n_missed else ""
    n_replayed = 0 if unread else verification.n_replayed
    checks = [
        conclude("M001", findings, n),
        conclude("M002", findings, verification.n_checked, missed),
        conclude("M003", findings, len(counts.contents), unread),
        conclude("M004", findings, len({unit for unit, _ in members}), unread),
        conclude("M005", findings, len(counts.units), unread),
    ]
    if independent:
        checks[3] = Check("M004", "not applicable", reason=_NO_NEIGHBOURS)
    if record.n_groups:
        findings += find_cut_groups(record, counts.members | planned, counts)
        checks.append(conclude("M006", findings, record.n_groups, unread))
    if source:
        checks.append(conclude("R001", findings, n_replayed, unread))
    return RecordAudit(findings, checks, counts, unread, n_replayed, verification.proven)


def find_faults(faults: Iterable["Fault"]) -> list[Finding]:
    """Return the faults of a verification as findings: M001, M002, or R001 where it replayed."""
    checks = ((_CHECK_OF[fault.kind], fault) for fault in faults)
    return [Finding(check, "error", fault.text, _ADVICE[check], fault.sample) for check, fault in checks]


def find_cut_groups(record: DatasetRecord, members: Iterable[tuple[Unit, str]], counts: SplitCounts) -> list[Finding]:
    """Return M006: groups that a dataset records, with slices in several splits.

    Args:
        record: which slice belongs to what.
        members: every slice with every split that it is in, whether it has samples there or not.
        counts: how many samples each split takes from which slice.
    """
    group_of = {
        slice_unit(index, z): Unit(f"group {group}")
        for index, stack in enumerate(record.inputs)
        for z, group in enumerate(stack.groups or ())
    }
    tallies: defaultdict[Unit, Counter[str]] = defaultdict(Counter)
    for unit, split in members:
        if unit in group_of:
            tallies[group_of[unit]][split] += counts.units[unit][split] if unit in counts.units else 0
    return find_spread(tallies, total=len(set(group_of.values())), check="M006", noun="groups")


def planned_slices(record: DatasetRecord) -> set[tuple[SliceAddress, str]]:
    """Return every slice with every split that dataset.json gives it to, or whose samples show it beside their own."""
    context, inputs = record.config.context, record.inputs
    return {
        (SliceAddress(part.stack, shown), split)
        for split in SPLITS
        for part in record.split.slices.get(split, ())
        for z in part.z
        for is_there in [part.stack < len(inputs) and z < inputs[part.stack].depth]
        for shown in (z, *(neighbours(inputs[part.stack], z, context) if is_there else ()))
    }
