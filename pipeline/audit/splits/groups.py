"""Groups of samples, such as patients or slides: a CSV file names them, and M006 finds those in two splits."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from pipeline.audit.report import Check, Finding, conclude
from pipeline.audit.splits.csv_tables import CsvHeader, printable_name, read_csv_header, read_csv_rows, require_file
from pipeline.audit.splits.split_overlap import SplitRow, Unit, find_spread
from pipeline.errors import ConfigError, DatasetError
from pipeline.plan.case_names import CASE_COLUMNS, GROUP_COLUMNS, case_names
from pipeline.plan.split import SPLITS, in_order

NOT_NAMED = Check("M006", "not applicable", reason="no groups were named: name them with --groups")
UNKNOWN = Check("M006", "not run", reason="no group in two splits could be checked: name groups with --groups")
NOT_RECORDED = Check("M006", "not applicable", reason="the dataset records no groups")
_FORMS = "CSV with the columns file,group"
_MAX_EXAMPLES = 3
_BARE, _ANYWHERE = "", "*"  # in the place of a split


@dataclass(frozen=True, slots=True, eq=False)
class CaseGroups:
    """The group of every case that is named in one place.

    Attributes:
        by_case: the group of each case.
        by_channels: the group of each case that channels are named of, where all have the same.
    """

    by_case: Mapping[str, str]
    by_channels: Mapping[str, str]

    def find(self, name: str) -> str | None:
        """Return the group of a sample or case; None where it is not named.

        Two numbers at the ends of names are never both left out: `img_0007` is not in the group of `img_0003`.
        """
        names = case_names(name)
        return next((self.by_case[case] for case in names if case in self.by_case), self.by_channels.get(names[0]))


@dataclass(frozen=True, slots=True, eq=False)
class Groups:
    """The group of every case that a file names.

    Attributes:
        path: the file.
        column: what a group is called in it, such as `patient_id`.
        by_place: what it names in each split, such as `test/0.png`, without one, and in any split where all agree.
    """

    path: Path
    column: str
    by_place: Mapping[str, CaseGroups]

    def find(self, name: str, split: str = _BARE) -> str | None:
        """Return the group of a sample or case; None where the file does not name it.

        Args:
            name: of its file.
            split: the one that its file was found in, if that is known.
        """
        found = (self.find_in(name, place) for place in (split, _BARE, _ANYWHERE))
        return next((group for group in found if group is not None), None)

    def find_in(self, name: str, split: str) -> str | None:
        """Return the group of a sample or case that is named together with its split; None where it is not."""
        return self.by_place[split].find(name) if split in self.by_place else None


def read_groups(path: Path | str, column: str | None = None) -> Groups:
    """Return the groups that a CSV file names, delimited by comma, semicolon or tab.

    Its cases are in the column file, case or id, else in its first one; a case without a group counts as not named.
    Of a path, the file's name counts, and the split that it begins with: `test/0.png` is another case than
    `train/0.png`.

    Args:
        path: the file.
        column: the column of the groups; None: the one that is called as they mostly are, such as `patient_id`.

    Raises:
        ConfigError: there is no such file, it lacks a column, or several may be the one of the groups.
        DatasetError: it cannot be read, or names two groups of one case.
    """
    path = Path(path)
    require_file(path, in_folder="the CSV file")
    header = read_csv_header(path, _FORMS if column is None else _FORMS.replace("group", column.strip().casefold()))
    column = _group_column(path, header) if column is None else column.strip().casefold()
    cases, groups = _find_columns(path, header, column)
    of_case, of_channels = _Named(), _Named()
    for where, cells in read_csv_rows(path, header):
        if not cells[groups].strip():
            continue
        name = printable_name(cells[cases], where, f"a text for {header.names[cases]}")
        split, (case, *channel) = split_of_name(name), case_names(name)
        group = printable_name(cells[groups], where, f"a text for {column}")
        if (other := next(iter(of_case[split][case]), group)) != group:
            raise DatasetError(
                f"{where}: case {case} is of {column} {group}, and of {other} further up; name each case once, and "
                "give files of different cases different names, or write split/name where those are in two splits"
            )
        for place in (split, _ANYWHERE):
            of_case[place][case].add(group)
            of_channels[place][channel[0] if channel else case].add(group)
    if not of_case:
        raise DatasetError(f"{path}: expected cases with a {column}, found none; fill it in")
    by_place = {place: CaseGroups(_agreed(of_case[place]), _agreed(of_channels[place])) for place in of_case}
    return Groups(path, column, by_place)


def split_of_name(name: str) -> str:
    """Return the split that a name begins with, as an audit writes `test/0.png`; empty where it begins with none."""
    first, *below = re.split(r"[/\\]", name.strip())
    return first if below and first in SPLITS else _BARE


def _agreed(groups: Mapping[str, set[str]]) -> dict[str, str]:
    return {case: next(iter(named)) for case, named in groups.items() if len(named) == 1}


class _Named(defaultdict[str, defaultdict[str, set[str]]]):
    """The groups that are named of each case, by the place that it is named in."""

    def __init__(self) -> None:
        super().__init__(lambda: defaultdict(set))


class GroupTally:
    """Counts the samples of each group in each split, and notes those whose group is not known."""

    def __init__(self, groups: Groups) -> None:
        self._groups = groups
        self._places: defaultdict[str, set[str]] = defaultdict(set)
        self._bare: dict[str, None] = {}
        self._unnamed: dict[tuple[str, str], str] = {}
        self._counts: defaultdict[str, Counter[str]] = defaultdict(Counter)

    def add(self, name: str, split: str, place: str) -> None:
        """Count one more sample.

        Args:
            name: of its file.
            split: the one that it is in now.
            place: the split that its file was found in, if that is known: there its name may be another's, too.
        """
        case = case_names(name)[0]
        self._places[case].add(place)
        group = self._groups.find(name, place)
        if group is None:
            self._unnamed.setdefault((place, case), name)
            return
        self._counts[group][split] += 1
        if not place or self._groups.find_in(name, place) is None:
            self._bare[case] = None

    def watch(self, rows: Iterable[SplitRow]) -> Iterator[SplitRow]:
        """Yield the rows of a split file, and count them."""
        for row in rows:
            self.add(row.sample, row.split, split_of_name(row.sample))
            yield row

    def find_cut(self) -> tuple[list[Finding], int]:
        """Return M006, one finding for every two splits that share groups, and how many groups there are.

        Raises:
            ConfigError: of some samples, no group is named, or only that of a name that files of two splits have.
        """
        self._require_named()
        splits = in_order({split for counts in self._counts.values() for split in counts})
        findings = [finding for pair in combinations(splits, 2) for finding in self._find_shared(pair)]
        return findings, len(self._counts)

    def _require_named(self) -> None:
        where, column = self._groups.path, self._groups.column
        for case in self._bare:
            if len(places := in_order(self._places[case] - {_BARE})) > 1:
                asked_for = " and ".join(f"{place}/{case}" for place in places)
                raise ConfigError(
                    f"{where}: {case} is in {' and '.join(places)}, so that its name alone tells no {column}; write "
                    f"split/name, {asked_for}"
                )
        if self._unnamed:
            examples = ", ".join(map(self._full_name, list(self._unnamed)[:_MAX_EXAMPLES]))
            n = sum(map(len, self._places.values()))
            raise ConfigError(
                f"{where}: names no {column} of {len(self._unnamed)} of {n} cases, such as {examples}; add a line for "
                "each"
            )

    def _full_name(self, unnamed: tuple[str, str]) -> str:
        """Return the name of a sample, with the split that its file is in where another one has the same."""
        place, case = unnamed
        name = self._unnamed[unnamed]
        return f"{place}/{name}" if len(self._places[case]) > 1 and place != split_of_name(name) else name

    def _find_shared(self, pair: tuple[str, str]) -> list[Finding]:
        within = {
            Unit(f"{self._groups.column} {group}"): {split: counts[split] for split in pair if counts[split]}
            for group, counts in self._counts.items()
        }
        return find_spread(within, total=len(within), check="M006", noun="groups")


def check_groups(groups: Groups, samples: Iterable[tuple[str, str]]) -> tuple[list[Finding], Check]:
    """Return what M006 finds in samples, each the name of its file and its split, and how it ended.

    Raises:
        ConfigError: of some samples, no group is named, or only that of a name that files of two splits have.
    """
    tally = GroupTally(groups)
    for name, split in samples:
        tally.add(name, split, split)
    findings, n = tally.find_cut()
    return findings, conclude("M006", findings, n)


def _group_column(path: Path, header: CsvHeader) -> str:
    """Return the column of groups, by its usual names."""
    found = [name for name in GROUP_COLUMNS if name in header.names]
    if len(found) > 1 and found[0] != GROUP_COLUMNS[0]:
        raise ConfigError(f"{path}: {' and '.join(found)} may all be the groups; choose with --column {found[0]}")
    return found[0] if found else GROUP_COLUMNS[0]


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
