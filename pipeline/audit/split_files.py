"""Readers of files that say which sample is in which split: augpipe's manifest, nnU-Net's folds, and CSV."""

import csv
import difflib
import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.audit.split_overlap import Number, SplitRow, Unit, split_row
from pipeline.errors import ConfigError, DatasetError
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
    "augpipe's manifest.jsonl, nnU-Net's splits_final.json (a list of folds), or CSV with the columns id,group,split "
    "and, where slices have neighbours, z"
)
_MAX_JSON_BYTES = 1 << 28
_MAX_LINE = 1 << 20
_MAX_NUMBER = 1e15  # further apart than any slices, and whole numbers are exact up to it
_DELIMITERS = ",;\t"


@dataclass(frozen=True, slots=True, eq=False)
class SplitTable:
    """Samples and their splits, to be compared with each other: a file, or one fold of it.

    Attributes:
        where: what to call it.
        rows: the samples that are in a split; read from the file as they are asked for.
        checks: the ids of those that it has the columns for.
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
class _Header:
    """How a CSV file is to be read: its delimiter, the number of its columns, and which of them mean what."""

    delimiter: str
    n_columns: int
    columns: dict[str, int]


def read_split_file(path: Path) -> Iterator[SplitTable]:
    """Yield the tables of a file, whose format is recognised by its content.

    Raises:
        ConfigError: there is no such file, or it is of an unknown kind.
        DatasetError: it cannot be read, or a line of it makes no sense.
    """
    _require_file(path)
    beginning = next((line.lstrip()[0] for line in _lines(path) if line.strip()), "")
    if beginning == "[":
        yield from _fold_tables(path)
    elif beginning == "{":
        yield _manifest_table(path)
    else:
        yield _csv_table(path)


def _require_file(path: Path) -> None:
    try:
        if path.is_file():
            return
        found = "something else" if path.exists() else "nothing"
        if path.is_dir():
            found = "a folder; name the manifest.jsonl in it"
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


def _fold_tables(path: Path) -> Iterator[SplitTable]:
    if path.stat().st_size > _MAX_JSON_BYTES:
        raise DatasetError(f"{path}: larger than {_MAX_JSON_BYTES:,} bytes; not a file of folds")
    try:
        folds = parse_json("".join(_lines(path)), object_pairs_hook=_distinct)
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{path}: expected a list of folds in JSON ({error}); write it again") from error
    if not folds:
        raise ConfigError(f"{path}: expected at least one fold, found none")
    for number, fold in enumerate(folds):
        where = f"{path}, fold {number}"
        yield SplitTable(where, iter(_fold_rows(fold, where)), frozenset({"M001", "M003"}), "cases", "cases")


def _fold_rows(fold: Any, where: str) -> list[SplitRow]:
    if not isinstance(fold, dict) or not fold or not all(isinstance(cases, list) for cases in fold.values()):
        raise ConfigError(f'{where}: expected {{"train": [case, ...], "val": [case, ...]}}, got {fold!r:.60}')
    named = [(_name(case, where, "a case"), _split_name(split)) for split, cases in fold.items() for case in cases]
    return [SplitRow(case, split, Unit(f"case {case}")) for case, split in named if split != _UNUSED]


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object of JSON; of a name that is there twice, Python would keep the last without a word."""
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError(f"a name is there twice in one object, among {', '.join(values):.60}")
    return values


def _csv_table(path: Path) -> SplitTable:
    header = _read_header(path)
    rows, where = _csv_rows(path, header), str(path)
    if _PLACE_COLUMN in header.columns:
        return SplitTable(where, rows, frozenset({"M001", "M003", "M004", "M005"}), "samples", "slices")
    return SplitTable(where, rows, frozenset({"M001", "M003", "M005"}), "samples", "groups")


def _read_header(path: Path) -> _Header:
    first = next((line for line in _lines(path) if line.strip()), "")
    delimiter = max(_DELIMITERS, key=first.count)
    names = [name.strip(' "').casefold() for name in first.strip().split(delimiter)]
    if missing := [column for column in _COLUMNS if column not in names]:
        raise ConfigError(f"{path}: expected {_FORMS}; {_missing(missing, names)}")
    known = (*_COLUMNS, _PLACE_COLUMN)
    if twice := next((column for column in known if names.count(column) > 1), None):
        raise ConfigError(f"{path}: its header names {twice} twice; leave one of the columns out")
    return _Header(delimiter, len(names), {column: names.index(column) for column in known if column in names})


def _missing(missing: Sequence[str], names: Sequence[str]) -> str:
    """Return which columns a header lacks, what it has instead, and which of these may be meant."""
    strange = [name for name in names if name and name not in (*_COLUMNS, _PLACE_COLUMN)]
    near = {column: difflib.get_close_matches(column, strange, 1) for column in missing}
    hints = "".join(f"; did you mean {column} by {match[0]!r}?" for column, match in near.items() if match)
    found = ", ".join(repr(name)[:40] for name in names[:8] if name) or "nothing"
    return f"{' and '.join(missing)} missing, found {found}{hints}"


def _csv_rows(path: Path, header: _Header) -> Iterator[SplitRow]:
    rows = csv.reader(_lines(path), delimiter=header.delimiter, strict=True)
    filled = (cells for cells in rows if any(cell.strip() for cell in cells))
    try:
        next(filled, None)  # the header
        for cells in filled:
            if row := _parse_row(cells, header, f"{path}, line {rows.line_num}"):
                yield row
    except csv.Error as error:
        raise DatasetError(f"{path}, line {rows.line_num}: not CSV ({error}); close every quote") from error


def _parse_row(cells: Sequence[str], header: _Header, where: str) -> SplitRow | None:
    """Return what a row says; None where it is in no split."""
    if len(cells) != header.n_columns:
        raise DatasetError(
            f"{where}: expected {header.n_columns} fields, as the header has, got {len(cells)}; put fields with "
            f"{header.delimiter!r} in them between quotes"
        )
    values = {column: cells[position] for column, position in header.columns.items()}
    sample, group, name = (_name(values[column], where, f"a text for {column}") for column in _COLUMNS)
    z = _number(values[_PLACE_COLUMN], where) if _PLACE_COLUMN in values else None
    split = _split_name(name)
    return None if split == _UNUSED else SplitRow(sample, split, Unit(f"group {group}", z))


def _split_name(text: str) -> str:
    """Return a split's name, the same for all that mean train, val or test."""
    name = text.strip()
    return _SYNONYMS.get(name.casefold(), name)


def _name(value: Any, where: str, expected: str) -> str:
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


def _lines(path: Path) -> Iterator[str]:
    """Yield the lines of a text file, with their ends; very long ones in pieces."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            while line := file.readline(_MAX_LINE):
                yield line
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror or error})") from error
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path}: expected text in UTF-8 ({error.reason}): {_FORMS}") from error
