"""Readers of files that say which sample is in which split: augpipe's manifest, nnU-Net's folds, and CSV."""

import csv
import difflib
import json
import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.audit.manifest_checks import use_of
from pipeline.audit.usage import Number, Unit, Use
from pipeline.errors import ConfigError, DatasetError
from pipeline.shards.dataset import open_dataset
from pipeline.shards.digest import file_digest
from pipeline.shards.manifest import read_manifest
from pipeline.shards.record import DatasetRecord

COLUMNS = ("id", "group", "split")
PLACE_COLUMN = "z"
UNUSED = "unused"

_SYNONYMS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
    UNUSED: UNUSED,
}
_FORMS = (
    "augpipe's manifest.jsonl, nnU-Net's splits_final.json (a list of folds), or CSV with the columns id,group,split "
    "and, where slices have neighbours, z"
)
_LARGEST_JSON_BYTES = 1 << 28
_LONGEST_LINE = 1 << 20
_LARGEST_NUMBER = 1e15  # further apart than any slices, and whole numbers are exact up to it
_DELIMITERS = ",;\t"


@dataclass(frozen=True, slots=True, eq=False)
class SplitTable:
    """Samples and their splits, to be compared with each other: a file, or one fold of it.

    Attributes:
        where: what to call it.
        uses: the samples that are in a split; read from the file as they are asked for.
        checks: what it tells enough for.
        sample_noun: what its samples are called.
        unit_noun: what its units are called.
        record: the dataset that it is the manifest of, where that lies beside it.
    """

    where: str
    uses: Iterator[Use]
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


def read_tables(path: Path) -> Iterator[SplitTable]:
    """Yield what a file says; what kind of file it is, its content tells.

    Raises:
        ConfigError: there is no such file, or it is of no kind that is known.
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


def split_name(text: str) -> str:
    """Return a split's name, the same for all that mean train, val or test."""
    name = text.strip()
    return _SYNONYMS.get(name.casefold(), name)


def _require_file(path: Path) -> None:
    try:
        if path.is_file():
            return
        found = "a folder; name the manifest.jsonl in it" if path.is_dir() else "something else" * path.exists()
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror or error})") from error
    raise ConfigError(f"{path}: expected a file, found {found or 'nothing'}")


def _manifest_table(path: Path) -> SplitTable:
    record = _record_beside(path)
    checks = {"M001", "M003", "M004", "M005"} - ({"M004"} if record and record.config.independent else set())
    return SplitTable(str(path), _manifest_uses(path), frozenset(checks), "samples", "slices", record)


def _manifest_uses(path: Path) -> Iterator[Use]:
    try:
        yield from map(use_of, read_manifest(path))
    except DatasetError as error:
        raise DatasetError(f"{error}; expected {_FORMS}; augpipe verify tells whether a dataset is whole") from error


def _record_beside(path: Path) -> DatasetRecord | None:
    try:
        record = open_dataset(path.parent).record
        return record if record.manifest.sha256 == file_digest(path) else None
    except (DatasetError, OSError):
        return None


def _fold_tables(path: Path) -> Iterator[SplitTable]:
    if path.stat().st_size > _LARGEST_JSON_BYTES:
        raise DatasetError(f"{path}: larger than {_LARGEST_JSON_BYTES:,} bytes; not a file of folds")
    try:
        folds = json.loads("".join(_lines(path)), object_pairs_hook=_distinct)
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{path}: expected a list of folds in JSON ({error}); write it again") from error
    if not folds:
        raise ConfigError(f"{path}: expected at least one fold, found none")
    for number, fold in enumerate(folds):
        where = f"{path}, fold {number}"
        yield SplitTable(where, iter(_fold_uses(fold, where)), frozenset({"M001", "M003"}), "cases", "cases")


def _fold_uses(fold: Any, where: str) -> list[Use]:
    if not isinstance(fold, dict) or not fold or not all(isinstance(cases, list) for cases in fold.values()):
        raise ConfigError(f'{where}: expected {{"train": [case, ...], "val": [case, ...]}}, got {fold!r:.60}')
    named = [(_name(case, where, "a case"), split_name(split)) for split, cases in fold.items() for case in cases]
    return [Use(case, split, Unit(f"case {case}")) for case, split in named if split != UNUSED]


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object of JSON; of a name that is there twice, Python would keep the last without a word."""
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError(f"a name is there twice in one object, among {', '.join(values):.60}")
    return values


def _csv_table(path: Path) -> SplitTable:
    header = _read_header(path)
    placed = PLACE_COLUMN in header.columns
    checks = {"M001", "M003", "M005"} | ({"M004"} if placed else set())
    return SplitTable(
        str(path), _csv_uses(path, header), frozenset(checks), "samples", "slices" if placed else "groups"
    )


def _read_header(path: Path) -> _Header:
    first = next((line for line in _lines(path) if line.strip()), "")
    delimiter = max(_DELIMITERS, key=first.count)
    names = [name.strip(' "').casefold() for name in first.strip().split(delimiter)]
    if missing := [column for column in COLUMNS if column not in names]:
        raise ConfigError(f"{path}: expected {_FORMS}; {_missing(missing, names)}")
    known = (*COLUMNS, PLACE_COLUMN)
    if twice := next((column for column in known if names.count(column) > 1), None):
        raise ConfigError(f"{path}: its header names {twice} twice; leave one of the columns out")
    return _Header(delimiter, len(names), {column: names.index(column) for column in known if column in names})


def _missing(missing: Sequence[str], names: Sequence[str]) -> str:
    strange = [name for name in names if name and name not in (*COLUMNS, PLACE_COLUMN)]
    near = {column: difflib.get_close_matches(column, strange, 1) for column in missing}
    hints = "".join(f"; did you mean {column} by {match[0]!r}?" for column, match in near.items() if match)
    found = ", ".join(repr(name)[:40] for name in names[:8] if name) or "nothing"
    return f"{' and '.join(missing)} missing, found {found}{hints}"


def _csv_uses(path: Path, header: _Header) -> Iterator[Use]:
    rows = csv.reader(_lines(path), delimiter=header.delimiter, strict=True)
    filled = (cells for cells in rows if any(cell.strip() for cell in cells))
    try:
        next(filled, None)  # the header
        for cells in filled:
            if use := _parse_row(cells, header, f"{path}, line {rows.line_num}"):
                yield use
    except csv.Error as error:
        raise DatasetError(f"{path}, line {rows.line_num}: not CSV ({error}); close every quote") from error


def _parse_row(cells: Sequence[str], header: _Header, where: str) -> Use | None:
    """Return what a row says; None where it is in no split."""
    if len(cells) != header.n_columns:
        raise DatasetError(
            f"{where}: expected {header.n_columns} fields, as the header has, got {len(cells)}; put fields with "
            f"{header.delimiter!r} in them between quotes"
        )
    values = {column: cells[position] for column, position in header.columns.items()}
    sample, group, split = (_name(values[column], where, f"a text for {column}") for column in COLUMNS)
    z = _number(values[PLACE_COLUMN], where) if PLACE_COLUMN in values else None
    named = split_name(split)
    return None if named == UNUSED else Use(sample, named, Unit(f"group {group}", z))


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
    if not abs(number) <= _LARGEST_NUMBER:
        raise DatasetError(f"{where}: expected a number for z, got {text!r:.60}; without z, leave the column out")
    return number


def _lines(path: Path) -> Iterator[str]:
    """Yield the lines of a text file, with their ends; very long ones in pieces."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            while line := file.readline(_LONGEST_LINE):
                yield line
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror or error})") from error
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path}: expected text in UTF-8 ({error.reason}): {_FORMS}") from error
