"""index.csv: a line for every sample, for table programs and for Croissant's record set."""

import csv
import io
from collections.abc import Iterable, Mapping
from typing import TypeAlias

from pipeline.shards.manifest import ManifestRow

IndexRow: TypeAlias = tuple[str | int | float | bool, ...]

# What each column holds, and what it is called in Croissant and by Kaggle.
COLUMNS: Mapping[str, tuple[type, str]] = {
    "id": (str, "id of the sample: s<stack>-z<slice>-r<replicate>"),
    "split": (str, "train, val or test"),
    "shard": (str, "file that holds the sample"),
    "row": (int, "position in the shard's arrays, from 0"),
    "stack": (int, "source stack, from 0"),
    "z": (int, "source slice in its stack, from 0"),
    "replicate": (int, "which sample of this slice, from 0"),
    "angle_deg": (float, "rotation, counter-clockwise as displayed, in degrees"),
    "flip": (bool, "whether it is mirrored left to right"),
    "zoom": (float, "magnification"),
    "shift_y_px": (float, "shift of the window's centre along y, in slice pixels"),
    "shift_x_px": (float, "shift of the window's centre along x, in slice pixels"),
    "gain": (float, "factor on the gray levels"),
    "bias": (float, "gray levels added"),
    "grid_largest_px": (float, "largest displacement of a control point along an axis, in output pixels"),
    "source_sha256": (str, "SHA-256 of the source slice's array"),
    "image_sha256": (str, "SHA-256 of the image's array"),
    "label_sha256": (str, "SHA-256 of the label's array"),
    "weights_sha256": (str, "SHA-256 of the weights' array"),
}


def index_row(row: ManifestRow) -> IndexRow:
    """Return what the index tells of a sample, one value a column; the last only where weights are stored."""
    recipe = row.recipe
    digests = (row.source_sha256, *row.array_digests)
    return (
        *(row.id, row.split, row.shard, row.row, row.stack, row.z, row.replicate),
        *(recipe.angle_deg, recipe.flip, recipe.zoom, *recipe.shift_px, recipe.gain, recipe.bias),
        max(abs(push) for axis in recipe.grid_px for line in axis for push in line),
        *digests,
    )


def index_columns(rows: Iterable[IndexRow]) -> tuple[str, ...]:
    """Return the names of the columns that the rows have."""
    width = len(next(iter(rows)))
    return tuple(COLUMNS)[:width]


def index_csv(rows: tuple[IndexRow, ...]) -> bytes:
    """Return the index as CSV: a header, one line a sample, numbers in the shortest form that reads back the same."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(index_columns(rows))
    writer.writerows([_plain(value) for value in row] for row in rows)
    return text.getvalue().encode("utf-8")


def _plain(value: str | float) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
