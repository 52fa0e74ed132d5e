"""Tables in CSV that say which sample is in which split: a table for each column of splits and of groups."""

import difflib
import math
from collections.abc import Iterator
from contextlib import suppress
from itertools import product
from pathlib import Path

from pipeline.audit.splits.csv_tables import CsvHeader, printable_name, read_csv_header, read_csv_rows
from pipeline.audit.splits.split_overlap import Number, SplitRow, Unit
from pipeline.audit.splits.split_table import FORMS, UNUSED, NamedColumns, SplitTable, split_name
from pipeline.errors import ConfigError, DatasetError
from pipeline.plan.case_names import CASE_COLUMNS, GROUP_COLUMNS

_ID_COLUMNS = ("id", *CASE_COLUMNS)
_SPLIT_COLUMNS, _FOLD_COLUMN, _PLACE_COLUMN = ("split", "set", "subset", "partition"), "fold", "z"
_KNOWN = (*_ID_COLUMNS, *GROUP_COLUMNS, *_SPLIT_COLUMNS, _FOLD_COLUMN, _PLACE_COLUMN)
_MAX_NUMBER = 1e15  # further apart than any slices, and whole numbers are exact up to it


def read_csv_splits(path: Path, columns: NamedColumns) -> Iterator[SplitTable]:
    """Yield a table for every column of splits and every column of groups: each may be what is cut.

    Samples are in a column called id or file, say; where there is none, a row is a sample of its group. The numbers of
    folds are splits: a group that is in two folds is trained on and validated with.

    Raises:
        ConfigError: a column is missing, or there twice.
        DatasetError: it cannot be read, or a line of it makes no sense.
    """
    header = read_csv_header(path, FORMS)
    named = header.first_of(_ID_COLUMNS)
    splits, groups = _split_columns(header, columns.split), _group_columns(header, columns.group)
    _require_columns(path, header, named, splits, groups, columns)
    header.require_once(path, [*splits, *groups, *([named] if named else []), _PLACE_COLUMN])
    owners: list[str | None] = [*groups]
    pairs = list(product(splits, owners or [None]))
    met: set[str] = set()
    for split, group in pairs:
        where = f"{path}, {' in '.join(name for name in (group, split) if name)}" if len(pairs) > 1 else str(path)
        checks = {"M006", *(["M005"] if group else [])}
        if named and split not in met:
            checks |= {"M001", "M003"}
        if group and _PLACE_COLUMN in header.names:
            checks.add("M004")
        met.add(split)
        noun = "slices" if "M004" in checks else "groups" if group else "samples"
        rows = _rows(path, header, named, group, split)
        yield SplitTable(where, rows, frozenset(checks), "samples", noun, has_groups=group is not None)


def _split_columns(header: CsvHeader, named: str | None) -> list[str]:
    first = header.first_of(_SPLIT_COLUMNS)
    wanted = [named] if named else [*([first] if first else []), _FOLD_COLUMN]
    return [name for name in wanted if name in header.names]


def _group_columns(header: CsvHeader, named: str | None) -> list[str]:
    return [name for name in ([named] if named else GROUP_COLUMNS) if name in header.names]


def _require_columns(
    path: Path, header: CsvHeader, named: str | None, splits: list[str], groups: list[str], columns: NamedColumns
) -> None:
    """Refuse a table without splits, or without samples and groups, or with a column that one of them may be."""
    wanted = {"id": bool(named), columns.group or "group": bool(groups), columns.split or "split": bool(splits)}
    strange = [name for name in header.names if name not in _KNOWN]
    needed = {columns.group, columns.split or "split", *([] if named or groups else ["id", "group"])}
    missing = [
        name
        for name, found in wanted.items()
        if not found and (name in needed or difflib.get_close_matches(name, strange, 1))
    ]
    if missing:
        text = header.missing_text(missing, _KNOWN)
        raise ConfigError(f"{path}: expected {FORMS}; {text}; --column and --split-column name other columns")


def _rows(path: Path, header: CsvHeader, named: str | None, group: str | None, split: str) -> Iterator[SplitRow]:
    """Yield what the rows say; those in no split are left out."""
    has_places = group is not None and _PLACE_COLUMN in header.names
    for where, cells in read_csv_rows(path, header):
        by_column = dict(zip(header.names, cells, strict=True))
        sample, owner = (_text(by_column, name, where) if name else "" for name in (named, group))
        if split == _FOLD_COLUMN and not by_column[split].strip():
            continue  # tested on, say
        name = split_name(_text(by_column, split, where))
        z = _number(by_column[_PLACE_COLUMN], where) if has_places else None
        if name != UNUSED:
            yield SplitRow(sample or owner, name, Unit(f"{group} {owner}" if group else f"sample {sample}", z))


def _text(cells: dict[str, str], column: str, where: str) -> str:
    return printable_name(cells[column], where, f"a text for {column}")


def _number(text: str, where: str) -> Number:
    number: Number = math.nan
    for read in (float, int):
        with suppress(ValueError):
            number = read(text)
    if not abs(number) <= _MAX_NUMBER:
        raise DatasetError(f"{where}: expected a number for z, got {text!r:.60}; without z, leave the column out")
    return number
