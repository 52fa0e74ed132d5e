"""The file of a repaired split: which files go where, what moved and why, as `build --split-file` reads it."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from pipeline.audit.splits.regrouping import PlacedFile, Regrouping
from pipeline.errors import DatasetError
from pipeline.files import write_report
from pipeline.plan.split import in_order
from pipeline.source.tiff.folder import natural_key


def write_split_file(path: Path, repair: Regrouping) -> None:
    """Write a repaired split; a file that is there is replaced, as by a report.

    Raises:
        DatasetError: no file would be left in a split.
        StorageError: it cannot be written.
    """
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
        "moved": moved,
    }


def repair_text(path: Path, repair: Regrouping) -> str:
    """Return where a repaired split is and how many files moved, in one line."""
    ways = Counter((move.file.split, move.to) for move in repair.moves)
    told = ", ".join(f"{n} {before} to {after}" for (before, after), n in ways.items())
    n, total = len(repair.moves), len(repair.files)
    return f"split: {path} ({n} of {total} files moved{': ' if told else ''}{told})"
