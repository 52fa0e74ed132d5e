"""Readers of files that say which sample is in which split: augpipe's manifest, nnU-Net's folds, and CSV."""

import csv
import difflib
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from pipeline.audit.splits.split_overlap import Number, SplitRow, Unit, split_row
from pipeline.errors import ConfigError, DatasetError
from pipeline.plan.split_file import MOVED
from pipeline.shards.dataset import open_dataset
from pipeline.shards.digest import file_digest, parse_json
from pipeline.shards.manifest import read_manifest
from pipeline.shards.record import DatasetRecord

_COLUMNS, _PLACE_COLUMN = ("id", "group", "split"), "z"
_UNUSED = "unused"
_SYNONYMS = {
    "training": "train",
    **dict.fromkeys(("valid", "validation", "dev"), "val"),
    "testing": "test",
    **{name: name for name in ("train", "val", "test", _UNUSED)},
}
_FORMS = (
    "augpipe's manifest.jsonl, nnU-Net's splits_final.json (a list of folds), a split file that names files, or CSV "
    "with the columns id,group,split and, where slices have neighbours, z"
)
_MAX_JSON_BYTES = 1 << 28
_MAX_LINE, _BEGINNING_LINES = 1 << 20, 3
_MAX_NUMBER = 1e15  # further apart than any slices, and whole numbers are exact up to it
_DELIMITERS = ",;\t"


@dataclass(frozen=True, slots=True, eq=False)
class SplitTable:
    """Samples and their splits, to be compared with each other: a file, or one fold of it.

    Attributes:
        where: what to call it.
        rows: the samples that are in a split; read from the file as they are asked for.
        checks: the ids of those that it has the columns for; M006 where a file can name the groups of its samples.
        sample_noun: what its samples are called.
        unit_noun: what its units are called.
        record: the dataset that it is the manifest of, where that lies beside it.
    """

    where: str
    rows: Iterator[SplitRow]
    checks: frozenset[str]
    sample_noun: str
    unit_noun: str
    record: DatasetRecord | None = None


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

    def require_once(self, path: Path, columns: Sequence[str]) -> None:
        """Refuse a header that names one of these columns twice.

        Raises:
            ConfigError: it does.
        """
        if twice := next((column for column in columns if self.names.count(column) > 1), None):
            raise ConfigError(f"{path}: its header names {twice} twice; leave one of the columns out")


def read_split_file(path: Path) -> Iterator[SplitTable]:
    """Yield the tables of a file, whose format is recognised by its content.

    Raises:
        ConfigError: there is no such file, or it is of an unknown kind.
        DatasetError: it cannot be read, or a line of it makes no sense.
    """
    require_file(path)
    beginning = next((line.lstrip()[0] for line in _lines(path) if line.strip()), "")
    if beginning == "[":
        yield from _fold_tables(path)
    elif beginning == "{":
        yield _named_table(path) if _names_splits(path) else _manifest_table(path)
    else:
        yield _csv_table(path)


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


def _manifest_table(path: Path) -> SplitTable:
    record = _record_beside(path)
    checks = {"M001", "M003", "M005"} if record and record.config.independent else {"M001", "M003", "M004", "M005"}
    return SplitTable(str(path), _manifest_rows(path), frozenset(checks), "samples", "slices", record)


def _manifest_rows(path: Path) -> Iterator[SplitRow]:
    try:
        yield from map(split_row, read_manifest(path))
    except DatasetError as error:
        raise DatasetError(f"{error}; expected {_FORMS}; augpipe verify tells whether a dataset is whole") from error


def _record_beside(path: Path) -> DatasetRecord | None:
    try:
        record = open_dataset(path.parent).record
        return record if record.manifest.sha256 == file_digest(path) else None
    except (DatasetError, OSError):
        return None


def _names_splits(path: Path) -> bool:
    """Return whether an object of JSON begins with a split, as a file that names files does and no manifest."""
    beginning = "".join(line.strip() for line in islice(_lines(path), _BEGINNING_LINES))
    first_key = re.match(r'{\s*"(\w+)"\s*:', beginning)
    return first_key is not None and first_key[1] in (*_SYNONYMS, MOVED)


def _named_table(path: Path) -> SplitTable:
    values = _parse(path, "a split file")
    splits = {split: files for split, files in values.items() if split != MOVED}
    if any(not isinstance(files, list) or any(type(file) is not str for file in files) for files in splits.values()):
        raise ConfigError(f'{path}: expected names of files, such as {{"train": ["a.tif"], "test": ["b.tif"]}}')
    rows = _fold_rows(splits, str(path))
    return SplitTable(str(path), iter(rows), frozenset({"M001", "M003", "M006"}), "files", "files")


def _parse(path: Path, what: str) -> Any:
    if path.stat().st_size > _MAX_JSON_BYTES:
        raise DatasetError(f"{path}: larger than {_MAX_JSON_BYTES:,} bytes; not {what}")
    try:
        return parse_json("".join(_lines(path)), object_pairs_hook=_distinct)
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{path}: expected {what} in JSON ({error}); write it again") from error


def _fold_tables(path: Path) -> Iterator[SplitTable]:
    folds = _parse(path, "a list of folds")
    if not folds:
        raise ConfigError(f"{path}: expected at least one fold, found none")
    for number, fold in enumerate(folds):
        where = f"{path}, fold {number}"
        yield SplitTable(where, iter(_fold_rows(fold, where)), frozenset({"M001", "M003", "M006"}), "cases", "cases")


def _fold_rows(fold: Any, where: str) -> list[SplitRow]:
    if not isinstance(fold, dict) or not fold or not all(isinstance(cases, list) for cases in fold.values()):
        raise ConfigError(f'{where}: expected {{"train": [case, ...], "val": [case, ...]}}, got {fold!r:.60}')
    named = [
        (printable_name(case, where, "a case"), _split_name(split)) for split, cases in fold.items() for case in cases
    ]
    return [SplitRow(case, split, Unit(f"case {case}")) for case, split in named if split != _UNUSED]


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object of JSON; of a name that is there twice, Python would keep the last without a word."""
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError(f"a name is there twice in one object, among {', '.join(values):.60}")
    return values


def _csv_table(path: Path) -> SplitTable:
    header = read_csv_header(path)
    known = (*_COLUMNS, _PLACE_COLUMN)
    if missing := [column for column in _COLUMNS if column not in header.names]:
        raise ConfigError(f"{path}: expected {_FORMS}; {header.missing_text(missing, known)}")
    header.require_once(path, known)
    rows, where = _split_rows(path, header), str(path)
    if _PLACE_COLUMN in header.names:
        return SplitTable(where, rows, frozenset({"M001", "M003", "M004", "M005", "M006"}), "samples", "slices")
    return SplitTable(where, rows, frozenset({"M001", "M003", "M005", "M006"}), "samples", "groups")


def read_csv_header(path: Path, forms: str = _FORMS) -> CsvHeader:
    """Return how a CSV file is to be read.

    Args:
        path: the file.
        forms: what is expected in it, for errors.

    Raises:
        DatasetError: it cannot be read, or is no text in UTF-8.
    """
    first = next((line for line in _lines(path, forms) if line.strip()), "")
    delimiter = max(_DELIMITERS, key=first.count)
    return CsvHeader(delimiter, tuple(name.strip(' "').casefold() for name in first.strip().split(delimiter)), forms)


def read_csv_rows(path: Path, header: CsvHeader) -> Iterator[tuple[str, list[str]]]:
    """Yield where each row of a CSV file is, and its fields, as many as the header has; rows of nothing are left out.

    Raises:
        DatasetError: it cannot be read, is not CSV, or a row has more fields or fewer than the header.
    """
    rows = csv.reader(_lines(path, header.forms), delimiter=header.delimiter, strict=True)
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


def _split_rows(path: Path, header: CsvHeader) -> Iterator[SplitRow]:
    """Yield what the rows say; those in no split are left out."""
    columns = [header.names.index(column) for column in _COLUMNS]
    place = header.names.index(_PLACE_COLUMN) if _PLACE_COLUMN in header.names else None
    for where, cells in read_csv_rows(path, header):
        values = zip(_COLUMNS, columns, strict=True)
        sample, group, name = (printable_name(cells[at], where, f"a text for {column}") for column, at in values)
        z = None if place is None else _number(cells[place], where)
        split = _split_name(name)
        if split != _UNUSED:
            yield SplitRow(sample, split, Unit(f"group {group}", z))


def _split_name(text: str) -> str:
    """Return a split's name, the same for all that mean train, val or test."""
    name = text.strip()
    return _SYNONYMS.get(name.casefold(), name)


def printable_name(value: Any, where: str, expected: str) -> str:
    """Return a name in a file, without spaces around it.

    Raises:
        DatasetError: it is empty, no text and no whole number, or has control characters.
    """
    name = str(value).strip() if type(value) in (str, int) else ""
    if not name or not name.isprintable():
        raise DatasetError(f"{where}: expected {expected}, got {value!r:.60}; fill it in, without control characters")
    return name


def _number(text: str, where: str) -> Number:
    number: Number = math.nan
    for read in (float, int):
        with suppress(ValueError):
            number = read(text)
    if not abs(number) <= _MAX_NUMBER:
        raise DatasetError(f"{where}: expected a number for z, got {text!r:.60}; without z, leave the column out")
    return number


def _lines(path: Path, forms: str = _FORMS) -> Iterator[str]:
    """Yield the lines of a text file, with their ends; very long ones in pieces."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            while line := file.readline(_MAX_LINE):
                yield line
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror or error})") from error
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path}: expected text in UTF-8 ({error.reason}): {forms}") from error
