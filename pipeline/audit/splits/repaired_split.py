"""The file of a repaired split: which files go where, what moved and why, as `build --split-file` reads it."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from pipeline.audit.splits.regrouping import PlacedFile, Regrouping
from pipeline.errors import ConfigError, DatasetError
from pipeline.files import require_writable, write_report
from pipeline.plan.split import SPLITS, in_order
from pipeline.plan.split_file import MOVED
from pipeline.shards.digest import parse_json
from pipeline.source.pages.partners import natural_key

_MAX_BYTES = 1 << 28


def require_replaceable(path: Path) -> None:
    """Refuse, before the work that a split is to tell of, where it could not be written or something would be lost.

    Raises:
        ConfigError: a folder is there, or a file that neither is empty nor a split that an audit wrote.
        StorageError: its folder is not there, or takes no files.
    """
    if not path.exists():
        require_writable(path)
    elif path.is_dir():
        raise ConfigError(f"{path}: is a folder; name a file for the split")
    elif path.is_file() and not _is_split(path):
        raise ConfigError(f"{path}: is there already, and is no split that an audit wrote; name another file")


def write_split_file(path: Path, repair: Regrouping) -> None:
    """Write a repaired split; one that an audit wrote there before is replaced, as by a report.

    Raises:
        ConfigError: something else is there, which would be lost.
        DatasetError: no file would be left in a split.
        StorageError: it cannot be written.
    """
    require_replaceable(path)
    if repair.emptied:
        left = " and ".join(repair.emptied)
        raise DatasetError(
            f"{path}: not written, because no file would be left in {left}: all of them belong with files of an "
            "earlier split; hold out other tissue (the pictures in one file move together)"
        )
    values = split_values(repair)
    try:
        text = json.dumps(values, indent=2, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:  # the name of a file that is no text
        text = json.dumps(values, indent=2).encode("ascii")
    write_report(path, text + b"\n")


def _is_split(path: Path) -> bool:
    try:
        content = path.read_bytes() if path.stat().st_size <= _MAX_BYTES else b"no split"
        values = parse_json(content) if content else {"train": [], MOVED: []}
    except (OSError, ValueError, RecursionError):
        return False
    known = isinstance(values, dict) and {"train", MOVED} <= set(values) <= {*SPLITS, MOVED}
    return known and all(isinstance(files, list) for files in values.values())


def split_values(repair: Regrouping) -> dict[str, Any]:
    """Return the files of every split, and `moved`, as plain JSON values.

    Files are named as the audit names them, by their paths in the folder that was audited. Where two folders have files
    of one name, all names begin with the split that the file was found in: `test/1.png`.
    """
    counts = Counter(file.name for file in repair.files)
    is_unique = max(counts.values(), default=1) == 1

    def name(file: PlacedFile) -> str:
        return file.name if is_unique else f"{file.split}/{file.name}"

    splits: dict[str, list[str]] = {split: [] for split in in_order({file.split for file in repair.files})}
    for file, split in repair.placed.items():
        splits[split].append(name(file))
    moved = [
        {
            "file": name(move.file),
            "from": move.file.split,
            "to": move.to,
            "because": f"{move.because} {name(move.other)}",
        }
        for move in repair.moves
    ]
    return {
        **{split: sorted(names, key=lambda name: (natural_key(name), name)) for split, names in splits.items()},
        MOVED: moved,
    }


def repair_text(path: Path, repair: Regrouping) -> str:
    """Return where a repaired split is and how many files moved, in one line."""
    ways = Counter((move.file.split, move.to) for move in repair.moves)
    told = ", ".join(f"{n} {before} to {after}" for (before, after), n in ways.items())
    n, total = len(repair.moves), len(repair.files)
    return f"split: {path} ({n} of {total} files moved{': ' if told else ''}{told})"
