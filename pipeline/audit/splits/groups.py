"""Groups of samples, such as patients or slides: a CSV file names them, and M006 finds those in two splits."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from pipeline.audit.report import Check, Finding, conclude
from pipeline.audit.splits.split_files import CsvHeader, printable_name, read_csv_header, read_csv_rows, require_file
from pipeline.audit.splits.split_overlap import SplitRow, Unit, find_spread
from pipeline.errors import ConfigError, DatasetError
from pipeline.plan.case_names import case_names
from pipeline.plan.split import in_order

GROUP_COLUMN = "group"
CASE_COLUMNS = ("file", "case", "id")
NOT_NAMED = Check("M006", "not applicable", reason="no groups were named: name them with --groups")
NOT_RECORDED = Check("M006", "not applicable", reason="the dataset records no groups")
_FORMS = "CSV with the columns file,group"
_MAX_EXAMPLES = 3


@dataclass(frozen=True, slots=True, eq=False)
class Groups:
    """The group of every case that a file names.

    Attributes:
        path: the file.
        column: what a group is called in it, such as `patient_id`.
        by_case: the group of each case.
        by_channels: the group of each case that channels are named of, where all have the same.
    """

    path: Path
    column: str
    by_case: Mapping[str, str]
    by_channels: Mapping[str, str]

    def find(self, name: str) -> str | None:
        """Return the group of a sample or case; None where the file does not name it.

        Two numbers at the ends of names are never both left out: `img_0007` is not in the group of `img_0003`.
        """
        names = case_names(name)
        return next((self.by_case[case] for case in names if case in self.by_case), self.by_channels.get(names[0]))


def read_groups(path: Path | str, column: str = GROUP_COLUMN) -> Groups:
    """Return the groups that a CSV file names, delimited by comma, semicolon or tab.

    Its cases are in the column file, case or id, else in its first one; a case without a group counts as not named.
    A file's name alone counts, so that files of two splits that have the same name are one case.

    Args:
        path: the file.
        column: the column of the groups.

    Raises:
        ConfigError: there is no such file, or it lacks a column.
        DatasetError: it cannot be read, or names two groups of one case.
    """
    path, column = Path(path), column.strip().casefold()
    require_file(path, in_folder="the CSV file")
    header = read_csv_header(path, _FORMS.replace(GROUP_COLUMN, column))
    cases, groups = _find_columns(path, header, column)
    by_case: dict[str, str] = {}
    of_channels: defaultdict[str, set[str]] = defaultdict(set)
    for where, cells in read_csv_rows(path, header):
        if not cells[groups].strip():
            continue
        names = case_names(printable_name(cells[cases], where, f"a text for {header.names[cases]}"))
        group = printable_name(cells[groups], where, f"a text for {column}")
        if by_case.setdefault(names[0], group) != group:
            raise DatasetError(
                f"{where}: case {names[0]} is of {column} {group}, and of {by_case[names[0]]} further up; name each "
                "case once, and give files of different cases different names"
            )
        of_channels[names[-1]].add(group)
    if not by_case:
        raise DatasetError(f"{path}: expected cases with a {column}, found none; fill it in")
    by_channels = {case: named.pop() for case, named in of_channels.items() if len(named) == 1}
    return Groups(path, column, by_case, by_channels)


class GroupTally:
    """Counts the samples of each group in each split, and notes those whose group is not known."""

    def __init__(self, groups: Groups) -> None:
        self._groups = groups
        self._cases: set[str] = set()
        self._unnamed: dict[str, str] = {}
        self._counts: defaultdict[str, Counter[str]] = defaultdict(Counter)

    def add(self, name: str, split: str) -> None:
        """Count one more sample."""
        case = case_names(name)[0]
        self._cases.add(case)
        group = self._groups.find(name)
        if group is None:
            self._unnamed.setdefault(case, name)
        else:
            self._counts[group][split] += 1

    def watch(self, rows: Iterable[SplitRow]) -> Iterator[SplitRow]:
        """Yield the rows of a split file, and count them."""
        for row in rows:
            self.add(row.sample, row.split)
            yield row

    def find_cut(self) -> tuple[list[Finding], int]:
        """Return M006, one finding for every two splits that share groups, and how many groups there are.

        Raises:
            ConfigError: of some samples, no group is named.
        """
        if self._unnamed:
            examples = ", ".join(list(self._unnamed.values())[:_MAX_EXAMPLES])
            raise ConfigError(
                f"{self._groups.path}: names no {self._groups.column} of {len(self._unnamed)} of {len(self._cases)} "
                f"cases, such as {examples}; add a line for each"
            )
        splits = in_order({split for counts in self._counts.values() for split in counts})
        findings = [finding for pair in combinations(splits, 2) for finding in self._find_shared(pair)]
        return findings, len(self._counts)

    def _find_shared(self, pair: tuple[str, str]) -> list[Finding]:
        within = {
            Unit(f"{self._groups.column} {group}"): {split: counts[split] for split in pair if counts[split]}
            for group, counts in self._counts.items()
        }
        return find_spread(within, total=len(within), check="M006", noun="groups")


def check_groups(groups: Groups, samples: Iterable[tuple[str, str]]) -> tuple[list[Finding], Check]:
    """Return what M006 finds in samples, each the name of its file and its split, and how it ended.

    Raises:
        ConfigError: of some samples, no group is named.
    """
    tally = GroupTally(groups)
    for name, split in samples:
        tally.add(name, split)
    findings, n = tally.find_cut()
    return findings, conclude("M006", findings, n)


def _find_columns(path: Path, header: CsvHeader, column: str) -> tuple[int, int]:
    """Return which columns hold the cases and the groups."""
    if column not in header.names:
        missing = header.missing_text([column], CASE_COLUMNS)
        raise ConfigError(f"{path}: expected {header.forms}; {missing}; split-check takes another column with --column")
    header.require_once(path, (column, *CASE_COLUMNS))
    others = [name for name in header.names if name != column]
    named = next((name for name in CASE_COLUMNS if name in others), others[0] if others else "")
    if not named:
        raise ConfigError(f"{path}: expected {header.forms}; {header.missing_text(['file'], ())}")
    return header.names.index(named), header.names.index(column)
