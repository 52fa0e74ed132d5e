"""Data lists as MONAI and the Medical Segmentation Decathlon write them: objects with an image in each split."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipeline.audit.splits.csv_tables import printable_name
from pipeline.audit.splits.split_overlap import SplitRow, Unit
from pipeline.audit.splits.split_table import UNUSED, NamedColumns, SplitTable, split_name
from pipeline.errors import ConfigError
from pipeline.plan.case_names import GROUP_COLUMNS, case_keys

_IMAGE, _FOLD = "image", "fold"


def is_data_list(splits: Mapping[str, Any]) -> bool:
    """Return whether one of the splits has what these lists have: objects with an image."""
    lists = [entries for entries in splits.values() if isinstance(entries, list)]
    return any(isinstance(entry, dict) and _IMAGE in entry for entries in lists for entry in entries)


def read_data_list(path: str, splits: Mapping[str, Any], columns: NamedColumns) -> Iterator[SplitTable]:
    """Yield the table of a data list; of one whose training has folds, one for each fold, which validates with it.

    Args:
        path: what to call the file.
        splits: its lists of entries.
        columns: of which the groups' is the key of the entries that names them, else a usual one that all entries have.

    Raises:
        ConfigError: an entry has no image, or not the key.
        DatasetError: an image or a group is no name.
    """
    entries = [
        (split_name(key), _entry(entry, f"{path}, {key} {number}"))
        for key, found in splits.items()
        for number, entry in enumerate(_list_of(found, f"{path}, {key}"))
    ]
    names = GROUP_COLUMNS if columns.group is None else (columns.group,)
    group = next((name for name in names if entries and all(name in entry for _, entry in entries)), None)
    if columns.group and not group:
        raise ConfigError(f"{path}: not every entry has {columns.group}; fill it in, or name another one with --column")
    folds: list[str | None] = [*sorted({str(entry[_FOLD]) for _, entry in entries if _FOLD in entry})]
    for fold in folds or [None]:
        where = path if fold is None else f"{path}, fold {fold}"
        rows = _rows(_with_fold(entries, fold), group, where)
        checks = {"M001", "M003", "M006", *(["M005"] if group else [])}
        yield SplitTable(where, iter(rows), frozenset(checks), "images", "groups", has_groups=group is not None)


def _with_fold(
    entries: Sequence[tuple[str, Mapping[str, Any]]], fold: str | None
) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the entries with the splits that they are in while this fold of the training is held out."""
    return [
        ("val" if fold is not None and split == "train" and str(entry.get(_FOLD)) == fold else split, entry)
        for split, entry in entries
    ]


def _rows(entries: Sequence[tuple[str, Mapping[str, Any]]], group: str | None, where: str) -> list[SplitRow]:
    named = [(_name(entry, where), split, entry) for split, entry in entries if split != UNUSED]
    keys = case_keys(name for name, _, _ in named)
    return [
        SplitRow(name, split, Unit(f"{group} {_text(entry, group, where)}" if group else f"image {keys[name]}"))
        for name, split, entry in named
    ]


def _text(entry: Mapping[str, Any], key: str, where: str) -> str:
    return printable_name(entry[key], where, f"a text for {key}")


def _name(entry: Mapping[str, Any], where: str) -> str:
    image = entry[_IMAGE]
    first = image[0] if isinstance(image, list) and image else image  # of several channels
    return printable_name(first, where, "the name of an image")


def _list_of(found: Any, where: str) -> Sequence[Any]:
    if not isinstance(found, list):
        raise ConfigError(f'{where}: expected a list, such as [{{"image": "a.nii.gz"}}], got {found!r:.60}')
    return found


def _entry(entry: Any, where: str) -> Mapping[str, Any]:
    """Return an entry; of the name of an image alone, as lists for tests have them, the entry that has it."""
    if isinstance(entry, str):
        return {_IMAGE: entry}
    if not isinstance(entry, dict) or _IMAGE not in entry:
        raise ConfigError(f'{where}: expected an entry such as {{"image": "a.nii.gz"}}, got {entry!r:.60}')
    return entry
