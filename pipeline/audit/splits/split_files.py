"""Readers of files that say which sample is in which split: manifests, nnU-Net's folds, lists of files, and CSV."""

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

from pipeline.audit.splits.csv_splits import read_csv_splits
from pipeline.audit.splits.csv_tables import printable_name, require_file, text_lines
from pipeline.audit.splits.monai_lists import is_data_list, read_data_list
from pipeline.audit.splits.split_overlap import SplitRow, Unit, split_row
from pipeline.audit.splits.split_table import FORMS, SYNONYMS, UNUSED, NamedColumns, SplitTable, split_name
from pipeline.errors import ConfigError, DatasetError
from pipeline.plan.case_names import case_keys
from pipeline.plan.pickles import refuse_pickle
from pipeline.plan.split_file import MOVED
from pipeline.shards.dataset import open_dataset
from pipeline.shards.digest import file_digest, parse_json
from pipeline.shards.manifest import read_manifest
from pipeline.shards.record import DatasetRecord

_MAX_JSON_BYTES = 1 << 28
_BEGINNING_LINES = 3


def read_split_file(path: Path, columns: NamedColumns) -> Iterator[SplitTable]:
    """Yield the tables of a file, whose format is recognised by its content.

    Args:
        path: the file.
        columns: what its columns, or the keys of its entries, are called.

    Raises:
        ConfigError: there is no such file, or it is of an unknown kind.
        DatasetError: it cannot be read, or a line of it makes no sense.
    """
    require_file(path)
    try:
        refuse_pickle(path)
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror or error})") from error
    beginning = next((line.lstrip()[0] for line in text_lines(path, FORMS) if line.strip()), "")
    if beginning == "[":
        yield from _fold_tables(path)
    elif beginning == "{":
        yield from _object_tables(path, columns)
    else:
        yield from read_csv_splits(path, columns)


def _manifest_table(path: Path) -> SplitTable:
    record = _record_beside(path)
    checks = {"M001", "M003", "M005"} if record and record.config.independent else {"M001", "M003", "M004", "M005"}
    return SplitTable(
        str(path), _manifest_rows(path), frozenset(checks), "samples", "slices", has_groups=True, record=record
    )


def _manifest_rows(path: Path) -> Iterator[SplitRow]:
    try:
        yield from map(split_row, read_manifest(path))
    except DatasetError as error:
        raise DatasetError(f"{error}; expected {FORMS}; augpipe verify tells whether a dataset is whole") from error


def _record_beside(path: Path) -> DatasetRecord | None:
    try:
        record = open_dataset(path.parent).record
        return record if record.manifest.sha256 == file_digest(path) else None
    except (DatasetError, OSError):
        return None


def _object_tables(path: Path, columns: NamedColumns) -> Iterator[SplitTable]:
    """Yield the tables of a file that begins with an object: a line of a manifest, or the whole of another form."""
    beginning = "".join(line.strip() for line in islice(text_lines(path, FORMS), _BEGINNING_LINES))
    first_key = re.match(r'{\s*"([^"]*)"\s*:', beginning)
    if first_key and first_key[1] in (*SYNONYMS, MOVED):
        values = _parse(path, "a split file")
    elif '"recipe"' in beginning or path.stat().st_size > _MAX_JSON_BYTES:
        values = {}
    else:
        values = _parsed_or_nothing(path)
    splits = {key: entries for key, entries in values.items() if key in SYNONYMS}
    if is_data_list(splits):
        yield from read_data_list(str(path), splits, columns)
    elif splits or MOVED in values:
        others = all(isinstance(entries, list) for entries in values.values())
        yield _named_table(path, values if others else splits)  # what is no list, such as a name, is no split
    else:
        yield _manifest_table(path)


def _parsed_or_nothing(path: Path) -> Mapping[str, Any]:
    with suppress(DatasetError):
        values = _parse(path, "a split file")
        return values if isinstance(values, dict) else {}
    return {}


def _named_table(path: Path, values: Mapping[str, Any]) -> SplitTable:
    splits = {split: files for split, files in values.items() if split != MOVED}
    if any(not isinstance(files, list) or any(type(file) is not str for file in files) for files in splits.values()):
        raise ConfigError(f'{path}: expected names of files, such as {{"train": ["a.tif"], "test": ["b.tif"]}}')
    rows = _fold_rows(splits, str(path))
    return SplitTable(str(path), iter(rows), frozenset({"M001", "M003", "M006"}), "files", "files")


def _parse(path: Path, what: str) -> Any:
    if path.stat().st_size > _MAX_JSON_BYTES:
        raise DatasetError(f"{path}: larger than {_MAX_JSON_BYTES:,} bytes; not {what}")
    try:
        return parse_json("".join(text_lines(path, FORMS)), object_pairs_hook=_distinct)
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
        (printable_name(case, where, "a case"), split_name(split)) for split, cases in fold.items() for case in cases
    ]
    keys = case_keys(case for case, _ in named)
    return [SplitRow(case, split, Unit(f"case {keys[case]}")) for case, split in named if split != UNUSED]


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object of JSON; of a name that is there twice, Python would keep the last without a word."""
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError(f"a name is there twice in one object, among {', '.join(values):.60}")
    return values
