"""Tables in CSV, as spreadsheets save them: the header, its columns, and the rows."""

import csv
import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigError, DatasetError

_MAX_LINE = 1 << 20
_DELIMITERS = ",;\t"


@dataclass(frozen=True, slots=True)
class CsvHeader:
    """The first line of a CSV file.

    Attributes:
        delimiter: comma, semicolon or tab.
        names: of its columns, in lower case.
        forms: what was expected in the file, for errors.
    """

    delimiter: str
    names: tuple[str, ...]
    forms: str

    def missing_text(self, missing: Sequence[str], known: Sequence[str]) -> str:
        """Return which columns are missing, what is there instead, and which of these may be meant."""
        strange = [name for name in self.names if name and name not in known]
        near = {column: difflib.get_close_matches(column, strange, 1) for column in missing}
        hints = "".join(f"; did you mean {column} by {match[0]!r}?" for column, match in near.items() if match)
        found = ", ".join(repr(name)[:40] for name in self.names[:8] if name) or "nothing"
        return f"{' and '.join(missing)} missing, found {found}{hints}"

    def first_of(self, names: Sequence[str]) -> str | None:
        """Return the first of these names that a column has; None where none has one."""
        return next((name for name in names if name in self.names), None)

    def require_once(self, path: Path, columns: Sequence[str]) -> None:
        """Refuse a header that names one of these columns twice.

        Raises:
            ConfigError: it does.
        """
        if twice := next((column for column in columns if self.names.count(column) > 1), None):
            raise ConfigError(f"{path}: its header names {twice} twice; leave one of the columns out")


def read_csv_header(path: Path, forms: str) -> CsvHeader:
    """Return how a CSV file is to be read.

    Args:
        path: the file.
        forms: what is expected in it, for errors.

    Raises:
        DatasetError: it cannot be read, or is no text in UTF-8.
    """
    first = next((line for line in text_lines(path, forms) if line.strip()), "")
    delimiter = max(_DELIMITERS, key=first.count)
    return CsvHeader(delimiter, tuple(name.strip(' "').casefold() for name in first.strip().split(delimiter)), forms)


def read_csv_rows(path: Path, header: CsvHeader) -> Iterator[tuple[str, list[str]]]:
    """Yield where each row of a CSV file is, and its fields, as many as the header has; rows of nothing are left out.

    Raises:
        DatasetError: it cannot be read, is not CSV, or a row has more fields or fewer than the header.
    """
    rows = csv.reader(text_lines(path, header.forms), delimiter=header.delimiter, strict=True)
    filled = (cells for cells in rows if any(cell.strip() for cell in cells))
    try:
        next(filled, None)  # the header
        for cells in filled:
            where = f"{path}, line {rows.line_num}"
            if len(cells) != len(header.names):
                raise DatasetError(
                    f"{where}: expected {len(header.names)} fields, as the header has, got {len(cells)}; put fields "
                    f"with {header.delimiter!r} in them between quotes"
                )
            yield where, cells
    except csv.Error as error:
        raise DatasetError(f"{path}, line {rows.line_num}: not CSV ({error}); close every quote") from error


def require_file(path: Path, *, in_folder: str = "the manifest.jsonl") -> None:
    """Refuse a path that is no file.

    Raises:
        ConfigError: it is none, but perhaps a folder, in which a file could be named.
        DatasetError: it cannot be looked at.
    """
    try:
        if path.is_file():
            return
        found = "something else" if path.exists() else "nothing"
        if path.is_dir():
            found = f"a folder; name {in_folder} in it"
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror or error})") from error
    raise ConfigError(f"{path}: expected a file, found {found}")


def printable_name(value: Any, where: str, expected: str) -> str:
    """Return a name in a file, without spaces around it.

    Raises:
        DatasetError: it is empty, no text and no whole number, or has control characters.
    """
    name = str(value).strip() if type(value) in (str, int) else ""
    if not name or not name.isprintable():
        raise DatasetError(f"{where}: expected {expected}, got {value!r:.60}; fill it in, without control characters")
    return name


def text_lines(path: Path, forms: str) -> Iterator[str]:
    """Yield the lines of a text file, with their ends; very long ones in pieces.

    Args:
        path: the file.
        forms: what is expected in it, for errors.

    Raises:
        DatasetError: it cannot be read, or is no text in UTF-8.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            while line := file.readline(_MAX_LINE):
                yield line
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror or error})") from error
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path}: expected text in UTF-8 ({error.reason}): {forms}") from error
