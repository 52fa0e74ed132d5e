"""What every slice belongs to, such as a patient or a slide: a CSV file or the names of files say it."""

import csv
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.errors import ConfigError, counted
from pipeline.plan.case_names import CASE_COLUMNS, GROUP_COLUMNS
from pipeline.plan.named_files import NamedFiles, files_of
from pipeline.shards.inputs import is_name
from pipeline.source.stacks import Source

_DELIMITERS = ",;\t"
_MAX_BYTES = 1 << 28
_HEADER = {"slice", *CASE_COLUMNS}  # what a header calls its first column
_GROUP = "group"
_NOT_USED = "skipped"  # in the place of a group, of slices that are in no split anyway


@dataclass(frozen=True, slots=True)
class Grouping:
    """Where groups are said: in a file, or in the names of the images.

    Attributes:
        file: CSV with the columns file-or-slice,group; a header is optional.
        pattern: what to find in the names of files: its first group in parentheses, else all of it, is the group.
        where: what to call it in messages.

    Raises:
        ConfigError: the pattern is no regular expression, or there is no such file.
    """

    file: Path | None
    pattern: str
    where: str

    def __post_init__(self) -> None:
        try:
            re.compile(self.pattern)
        except re.error as error:
            raise ConfigError(
                f"{self.where}: expected a regular expression, such as ^(p[0-9]+)_, got {self.pattern!r:.80} ({error})"
            ) from error
        if self.file is not None and not self.file.is_file():
            raise ConfigError(f"{self.where}: expected a CSV file of file,group, found no file {self.file}")


def group_slices(source: Source, grouping: Grouping) -> Source:
    """Return the source with the group of every slice, and a note that says how many there are.

    Raises:
        ConfigError: a slice that is used has no group or two, or the file cannot be read.
    """
    named = _named_in(grouping.file, source) if grouping.file else _found_in_names(source, grouping.pattern)
    stacks, without = [], []
    for index, stack in enumerate(source.stacks):
        names = stack.names if len(stack.names) == len(stack.images) else ()
        groups = []
        for z in range(len(stack.images)):
            group = named.get((index, z), _NOT_USED if z in stack.skipped else "")
            if not group:
                without.append(names[z] if names else f"slice {z} of {stack.names[0] if stack.names else index}")
            groups.append(group)
        stacks.append(replace(stack, groups=tuple(groups)))
    if without:
        n_slices = sum(len(stack.images) for stack in source.stacks)
        raise ConfigError(
            f"{grouping.file or grouping.where}: no group for {len(without)} of {counted(n_slices, 'slice')}, such as "
            f"{without[0]}; "
            + ("add a line for each" if grouping.file else "the expression must find something in every file's name")
        )
    sizes = Counter(
        group for stack in stacks for z, group in enumerate(stack.groups) if z not in stack.skipped
    ).values()
    note = f"groups: {len(sizes)} of {min(sizes)} to {max(sizes)} slices; none is in two splits"
    return replace(source, stacks=tuple(stacks), notes=(*source.notes, note))


def _found_in_names(source: Source, pattern: str) -> dict[tuple[int, int], str]:
    """Return the group of (stack, z), where the pattern finds one in the name of the file."""
    found: dict[tuple[int, int], str] = {}
    for name, slices in files_of(source):
        if match := re.search(pattern, name):
            group = (match[1] if match.re.groups else match[0]) or ""
            found |= dict.fromkeys(slices, _checked(group, f"group-by: {name}") if group else "")
    return found


def _named_in(path: Path, source: Source) -> dict[tuple[int, int], str]:
    """Return the group of (stack, z), where the file names one; files that are not in the source do not matter."""
    named = NamedFiles(source, path)
    only_stack = len(source.stacks[0].images) if len(source.stacks) == 1 else 0
    found: dict[tuple[int, int], str] = {}
    unknown: list[str] = []
    for where, name, text in _rows(path):
        group = _checked(text, where)
        if named.knows(name):
            slices = named.slices(name)
        elif name.isdecimal() and int(name) < only_stack:
            slices = [(0, int(name))]
        else:
            unknown.append(name)
            continue
        for each in slices:
            if (other := found.setdefault(each, group)) != group:
                raise ConfigError(f"{where}: {name} is in the group {group}, and in {other} further up; name it once")
    if unknown and not found:
        known = next(name for name, _ in files_of(source))
        raise ConfigError(
            f"{path}: names {unknown[-1]!r:.80}, and nothing that is in the source, such as {known}; its columns are "
            f"file,{_GROUP} in this order, or in any other where its first line calls them so"
        )
    return found


def _checked(group: str, where: str) -> str:
    if not is_name(group):
        raise ConfigError(f"{where}: expected a group's name of 1 to 80 characters, got {group!r:.100}")
    return group


def _rows(path: Path) -> Iterator[tuple[str, str, str]]:
    """Yield where each line is, what it names, and its group."""
    text = _read(path)
    first = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = max(_DELIMITERS, key=first.count)
    rows = csv.reader(text.splitlines(keepends=True), delimiter=delimiter, strict=True)
    columns: tuple[int, int] | None = None
    try:
        for cells in ([cell.strip() for cell in row] for row in rows):
            if not any(cells):
                continue
            where = f"{path}, line {rows.line_num}"
            if columns is None:
                columns, is_header = _columns(cells, where)
                if is_header:
                    continue
            if len(cells) <= max(columns):
                raise ConfigError(f"{where}: expected file-or-slice{delimiter}group, got {delimiter.join(cells)!r:.80}")
            yield where, cells[columns[0]], cells[columns[1]]
    except csv.Error as error:
        raise ConfigError(f"{path}, line {rows.line_num}: not CSV ({error}); close every quote") from error


def _columns(first: list[str], where: str) -> tuple[tuple[int, int], bool]:
    """Return which columns hold names and groups, and whether the first line is a header."""
    names = [cell.casefold() for cell in first]
    called = [name for name in GROUP_COLUMNS if name in names]
    group = called[0] if _GROUP in called or len(called) == 1 else ""
    is_header = bool(called) or names[0] in _HEADER
    if group:
        of_groups = names.index(group)
        of_files = next((place for place, name in enumerate(names) if name in _HEADER), int(of_groups == 0))
        return (of_files, of_groups), True
    if len(names) != 2:
        raise ConfigError(
            f"{where}: expected two columns, file-or-slice and group, or a header that names them, got {len(names)} "
            f"columns; in its first line, call the one of files file and the one of groups {_GROUP}"
        )
    return (0, 1), is_header


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ConfigError(f"{path}: larger than {_MAX_BYTES:,} bytes; not a list of groups")
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror or error}); name a CSV file of groups") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: expected text in UTF-8 ({error.reason}); save it as CSV in UTF-8") from error
