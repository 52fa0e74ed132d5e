"""index.csv: a line for every sample, for table programs and for Croissant's record set."""

from collections.abc import Mapping

from pipeline.shards.manifest import ManifestRow
from pipeline.shards.record import DatasetRecord

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
    "gain": (float, "factor on the gray levels, of the first channel where they differ"),
    "bias": (float, "gray levels added, likewise"),
    "grid_largest_px": (float, "largest displacement of a control point along an axis, in output pixels"),
    "source_sha256": (str, "SHA-256 of the source slice's array"),
    "image_sha256": (str, "SHA-256 of the image's array"),
    "label_sha256": (str, "SHA-256 of the label's array"),
    "weights_sha256": (str, "SHA-256 of the weights' array"),
    "mask_sha256": (str, "SHA-256 of the mask's array, where the split has masks"),
}


def index_columns(record: DatasetRecord) -> tuple[str, ...]:
    """Return the names of the columns; the last two are there only where weights, or masks, are stored."""
    left_out = {"weights_sha256": not record.has_weights, "mask_sha256": not record.arrays.masks}
    return tuple(name for name in COLUMNS if not left_out.get(name))


def index_row(row: ManifestRow, record: DatasetRecord) -> tuple[str | float, ...]:
    """Return the line of a sample, one value a column."""
    recipe = row.recipe
    no_mask = ("",) if record.arrays.masks and row.mask_sha256 is None else ()
    return (
        *(row.id, row.split, row.shard, row.row, row.stack, row.z, row.replicate),
        *(recipe.angle_deg, "true" if recipe.flip else "false", recipe.zoom),
        *(*recipe.shift_px, recipe.gain, recipe.bias),
        max(abs(push) for axis in recipe.grid_px for line in axis for push in line),
        *(row.source_sha256, *row.array_digests, *no_mask),
    )
