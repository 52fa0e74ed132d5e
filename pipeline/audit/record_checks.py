"""Checks of records: M001 to M005 (and R001) of a dataset, and M001 to M006 of any files that say what is split how."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from pipeline.audit.report import CHECKS, AuditReport, Check, Coverage, Finding, conclude, worst_first
from pipeline.audit.splits.groups import GROUP_COLUMN, NOT_NAMED, Groups, GroupTally, read_groups
from pipeline.audit.splits.region_overlap import find_overlapping
from pipeline.audit.splits.split_files import SplitTable, read_split_file
from pipeline.audit.splits.split_overlap import (
    SplitCounts,
    SplitRow,
    Unit,
    count_leaking,
    find_near,
    find_shared,
    find_spread,
    require_gap,
    slice_unit,
    split_row,
)
from pipeline.errors import ConfigError, DatasetError
from pipeline.plan.split import SPLITS, SliceAddress, in_order
from pipeline.shards.blank import blank_digests
from pipeline.shards.config import DEFAULT_GAP
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
_NO_PIXELS = "a split file holds no pixels"
_NOT_APPLICABLE = {
    "M003": "no file has samples in two splits",
    "M004": "no file tells where in a stack the slices of two splits lie, or they have no neighbours",
    "M005": "no file groups the samples of two splits",
    "M006": "no file has samples in two splits",
}
_MAX_EXAMPLES = 3

_Found: TypeAlias = tuple[list[Finding], int]  # what a check found, and how many things it looked at


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
        *find_near(members, gap),
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


def split_check(
    paths: Sequence[Path | str],
    *,
    gap: int = DEFAULT_GAP,
    groups: Path | str | None = None,
    column: str = GROUP_COLUMN,
) -> AuditReport:
    """Return the overlaps and neighbours in split files; each file, and each fold in it, is checked on its own.

    M001 is a sample that is twice in one split, M003 a source slice, sample or case in two splits, M004 neighbours in
    two splits, M005 a slice or group whose samples are in two splits, M006 the same of the groups that a file of their
    own names.

    Args:
        paths: manifests of augpipe, nnU-Net's splits_final.json, or CSV files with a header id,group,split[,z]. A
            group is what must not be cut, such as a patient; with z it is a stack, and its slices must not be cut.
            Rows whose split is `unused` are in none.
        gap: slices of two splits must be further apart than this.
        groups: CSV that names the group of each case or sample, such as its patient; see `read_groups`.
        column: the column of that file with the groups.

    Raises:
        ConfigError: no file is named, or one is missing or of an unknown kind; of some samples, no group is named.
        DatasetError: a file cannot be read, or a line of it makes no sense.
    """
    require_gap(gap)
    if not paths:
        raise ConfigError("split-check: expected at least one file, got none")
    if groups is None and column != GROUP_COLUMN:
        raise ConfigError(f"split-check: {column} is a column of no file; name the file of groups with --groups")
    named = None if groups is None else read_groups(groups, column)
    findings: list[Finding] = []
    n_looked_at, n_samples, n_leaking = Counter[str](), Counter[str](), Counter[str]()
    for table in (table for path in paths for table in read_split_file(Path(path))):
        repeats = _Repeats()
        tally = _tally_of(table, named)
        counts = SplitCounts(repeats.watch(tally.watch(table.rows) if tally else table.rows))
        if not counts.samples:
            raise DatasetError(f"{table.where}: expected samples, found none in any split")
        blank = blank_digests(table.record) if table.record and counts.shared_contents else frozenset()
        n_samples.update(counts.samples)
        n_leaking.update(count_leaking(counts, blank))
        by_groups = tally.find_cut() if tally else None
        for check, (found, n) in _check_table(table, counts, repeats.found, blank, gap, by_groups).items():
            findings += [replace(each, text=f"{table.where}: {each.text}") for each in found]
            n_looked_at[check] += n
    reasons = _NOT_APPLICABLE if named else {**_NOT_APPLICABLE, "M006": NOT_NAMED.reason}
    return AuditReport(
        subject=", ".join(map(str, paths)),
        dataset_sha256=None,
        gap=gap,
        independent=False,
        checks=tuple(
            conclude(check, findings, n_looked_at[check])
            if check in n_looked_at
            else Check(check, "not applicable", reason=reasons.get(check, _NO_PIXELS))
            for check in CHECKS
        ),
        findings=worst_first(findings),
        coverage=Coverage(n_samples.total()),
        n_samples=n_samples,
        n_leaking=n_leaking,
        thresholds={},
    )


def _tally_of(table: SplitTable, groups: Groups | None) -> GroupTally | None:
    if groups and "M006" not in table.checks:
        raise ConfigError(f"{table.where}: a manifest has no cases that a file names groups of; leave out --groups")
    return GroupTally(groups) if groups else None


def _check_table(
    table: SplitTable,
    counts: SplitCounts,
    repeated: Mapping[str, Counter[str]],
    blank: frozenset[str],
    gap: int,
    by_groups: _Found | None,
) -> dict[str, _Found]:
    """Return what each check finds that the table has enough columns and splits for."""
    n, n_units = counts.samples.total(), len(counts.units)
    shared = find_shared(counts, blank), len(counts.contents)
    if not counts.contents:  # then a sample is identified by its name alone
        names: dict[Unit, Counter[str]] = {Unit(name): splits for name, splits in repeated.items()}
        n_names = n - sum(splits.total() - 1 for splits in names.values())
        in_two = find_spread(names, total=n_names, check="M003", noun=table.sample_noun)
        shared = [replace(each, sample=each.other) for each in in_two], n_names
    found = {
        "M001": (_find_repeated(repeated), n),
        "M003": shared,
        "M004": (find_near(counts.members, gap), n_units),
        "M005": (find_spread(counts.units, total=n_units, noun=table.unit_noun), n_units),
    }
    if by_groups:
        found["M006"] = by_groups
    possible = table.checks if len(counts.samples) > 1 else table.checks & {"M001"}
    return {check: each for check, each in found.items() if check in possible}


class _Repeats:
    """Finds samples that come more than once; `found` says how often in which split.

    Of augpipe's own samples, which are numbered within their slice, no name is kept. Of each slice in each split, all
    replicates below `n_met` have been met, and those in `ahead` that came before their turn. In a manifest they come in
    order, so that `ahead` stays empty.
    """

    def __init__(self) -> None:
        self.found: dict[str, Counter[str]] = {}
        self._first_split: dict[str, str] = {}
        self._n_met: Counter[tuple[str, Unit]] = Counter()
        self._ahead: defaultdict[tuple[str, Unit], set[int]] = defaultdict(set)

    def watch(self, rows: Iterable[SplitRow]) -> Iterator[SplitRow]:
        """Yield the rows, and note those whose sample was there before."""
        for row in rows:
            if row.replicate is None:
                is_new = row.sample not in self._first_split
                first_split = self._first_split.setdefault(row.sample, row.split)
            else:
                is_new, first_split = self._is_new((row.split, row.unit), row.replicate), row.split
            if not is_new:
                self.found.setdefault(row.sample, Counter([first_split]))[row.split] += 1
            yield row

    def _is_new(self, place: tuple[str, Unit], replicate: int) -> bool:
        ahead = self._ahead[place]
        if replicate < self._n_met[place] or replicate in ahead:
            return False
        ahead.add(replicate)
        while self._n_met[place] in ahead:
            ahead.remove(self._n_met[place])
            self._n_met[place] += 1
        return True


def _find_repeated(repeated: Mapping[str, Mapping[str, int]]) -> list[Finding]:
    """Return M001, at most one finding: samples that are in one split more than once."""
    twice = [(name, split) for name, counts in repeated.items() for split, n in counts.items() if n > 1]
    if not twice:
        return []
    examples = ", ".join(f"{name} ({split})" for name, split in twice[:_MAX_EXAMPLES])
    verb = "samples are" if len(twice) > 1 else "sample is"
    return [
        Finding(
            check="M001",
            severity="error",
            text=f"{len(twice)} {verb} in one split more than once, such as {examples}",
            advice="name every sample once",
            sample=twice[0][0],
            splits=in_order({split for _, split in twice}),
        )
    ]
