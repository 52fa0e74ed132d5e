"""`split_check`: M001 and M003 to M006 of any files that say what is split how."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

from pipeline.audit.report import CHECKS, AuditReport, Check, Coverage, Finding, conclude, worst_first
from pipeline.audit.splits.groups import NOT_NAMED, UNKNOWN, Groups, GroupTally, read_groups
from pipeline.audit.splits.split_files import read_split_file
from pipeline.audit.splits.split_overlap import (
    SplitCounts,
    SplitRow,
    Unit,
    count_leaking,
    find_near,
    find_shared,
    find_spread,
    require_gap,
)
from pipeline.audit.splits.split_table import NamedColumns, SplitTable
from pipeline.errors import ConfigError, DatasetError
from pipeline.plan.case_names import case_keys
from pipeline.plan.split import in_order
from pipeline.shards.blank import blank_digests
from pipeline.shards.config import DEFAULT_GAP

_NO_PIXELS = "a split file holds no pixels"
_NOT_APPLICABLE = {
    "M003": "no file has samples in two splits",
    "M004": "no file tells where in a stack the slices of two splits lie, or they have no neighbours",
    "M005": "no file groups the samples of two splits",
    "M006": "no file has samples in two splits",
}
_MAX_EXAMPLES = 3

_Found: TypeAlias = tuple[list[Finding], int]  # what a check found, and how many things it looked at


def split_check(
    paths: Sequence[Path | str],
    *,
    gap: int = DEFAULT_GAP,
    groups: Path | str | None = None,
    column: str | None = None,
    split_column: str | None = None,
) -> AuditReport:
    """Return the overlaps and neighbours in split files; each file, and each fold in it, is checked on its own.

    M001 is a sample that is twice in one split, M003 a source slice, sample or case in two splits, M004 neighbours in
    two splits, M005 a slice or group whose samples are in two splits, M006 the same of the groups that a file of their
    own names. Where nothing names groups, that M006 could not be run: the verdict is never CLEAN.

    Args:
        paths: manifests of augpipe, nnU-Net's splits_final.json, MONAI's data lists, or CSV files with a header
            id,group,split[,z], or what these are mostly called, such as patient_id, set or fold. A group is what must
            not be cut, such as a patient; with z it is a stack, and its slices must not be cut. Rows whose split is
            `unused` are in none.
        gap: slices of two splits must be further apart than this.
        groups: CSV that names the group of each case or sample, such as its patient; see `read_groups`.
        column: the column with the groups, of that file, else of the others; None: by its usual names.
        split_column: the column with the splits; None: by its usual names.

    Raises:
        ConfigError: no file is named, or one is missing or of an unknown kind; of some samples, no group is named.
        DatasetError: a file cannot be read, or a line of it makes no sense.
    """
    require_gap(gap)
    if not paths:
        raise ConfigError("split-check: expected at least one file, got none")
    named = None if groups is None else read_groups(groups, column)
    columns = NamedColumns(None if named else _lower(column), _lower(split_column))
    is_unknown = False
    findings: list[Finding] = []
    n_looked_at, n_samples, n_leaking = Counter[str](), Counter[str](), Counter[str]()
    for table in (table for path in paths for table in read_split_file(Path(path), columns)):
        repeats = _Repeats()
        tally = _tally_of(table, named)
        counts = SplitCounts(repeats.watch(tally.watch(table.rows) if tally else table.rows))
        if not counts.samples:
            raise DatasetError(f"{table.where}: expected samples, found none in any split")
        if columns.group and not table.has_groups:
            raise ConfigError(f"{table.where}: has no {columns.group}; name the file of groups with --groups")
        is_unknown |= not (named or table.has_groups) and len(counts.samples) > 1
        blank = blank_digests(table.record) if table.record and counts.shared_contents else frozenset()
        n_samples.update(counts.samples)
        n_leaking.update(count_leaking(counts, blank))
        by_groups = tally.find_cut() if tally else None
        for check, (found, n) in _check_table(table, counts, repeats, blank, gap, by_groups).items():
            findings += [replace(each, text=f"{table.where}: {each.text}") for each in found]
            n_looked_at[check] += n
    reasons = _NOT_APPLICABLE if named else {**_NOT_APPLICABLE, "M006": NOT_NAMED.reason}
    unchecked = {UNKNOWN.id: UNKNOWN} if is_unknown else {}
    return AuditReport(
        subject=", ".join(map(str, paths)),
        dataset_sha256=None,
        gap=gap,
        independent=False,
        checks=tuple(
            conclude(check, findings, n_looked_at[check])
            if check in n_looked_at
            else unchecked.get(check, Check(check, "not applicable", reason=reasons.get(check, _NO_PIXELS)))
            for check in CHECKS
        ),
        findings=worst_first(findings),
        coverage=Coverage(n_samples.total()),
        n_samples=n_samples,
        n_leaking=n_leaking,
        thresholds={},
    )


def _lower(column: str | None) -> str | None:
    return None if column is None else column.strip().casefold()


def _tally_of(table: SplitTable, groups: Groups | None) -> GroupTally | None:
    if groups and "M006" not in table.checks:
        raise ConfigError(f"{table.where}: a manifest has no cases that a file names groups of; leave out --groups")
    return GroupTally(groups) if groups else None


def _check_table(
    table: SplitTable,
    counts: SplitCounts,
    repeats: "_Repeats",
    blank: frozenset[str],
    gap: int,
    by_groups: _Found | None,
) -> dict[str, _Found]:
    """Return what each check finds that the table has enough columns and splits for."""
    n, n_units = counts.samples.total(), len(counts.units)
    shared = find_shared(counts, blank), len(counts.contents)
    if not counts.contents:  # then a sample is identified by its name alone
        names = repeats.by_case()
        in_two = find_spread(names, total=len(names), check="M003", noun=table.sample_noun)
        shared = [replace(each, sample=each.other) for each in in_two], len(names)
    found = {
        "M001": (_find_repeated(repeats.found), n),
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

    def by_case(self) -> dict[Unit, Counter[str]]:
        """Return how often each case, by whichever of its names, comes in which split."""
        keys = case_keys(self._first_split)
        names: defaultdict[str, list[str]] = defaultdict(list)
        for name in self._first_split:
            names[keys[name]].append(name)
        cases: dict[Unit, Counter[str]] = {}
        for key, same in names.items():
            called = same[0] if len(same) == 1 else f"{key}, as {' and '.join(same[:_MAX_EXAMPLES])}"
            counts = (self.found.get(name, Counter([self._first_split[name]])) for name in same)
            cases[Unit(called)] = sum(counts, Counter())
        return cases

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
