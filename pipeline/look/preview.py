"""The preview: one image of a few samples of a dataset, with the slice, label and deformation of each."""

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ConfigError, DatasetError, counted
from pipeline.files import require_writable, write_report
from pipeline.look.contact_sheet import SPLIT_COLOURS, Chip, SheetRow, draw_sheet, note_panel, png_bytes
from pipeline.look.display import display_of
from pipeline.look.fact_sheet import sample_counts, slice_counts
from pipeline.look.panels import IGNORED_COLOUR, OUTLINE_COLOURS, grid_panel, image_panel, label_panel, slice_panel
from pipeline.look.strengths import draw_slice_strengths
from pipeline.shards.context import slice_channels
from pipeline.shards.dataset import Dataset, open_dataset
from pipeline.shards.manifest import ManifestRow
from pipeline.shards.record import DatasetRecord
from pipeline.shards.shard_file import Shard
from pipeline.source.known_stacks import class_names
from pipeline.source.origin import find_origin
from pipeline.source.stacks import Source

MAX_PER_SPLIT = 50
_MAX_NAME = 24  # letters
_DOT = "  ·  "
_NO_SOURCE = ("the source is not at hand;", "name its folder with --source")
_CLASS_INK = "#1f2328"  # the outlines' colours are too bright for white letters


@dataclass(frozen=True, slots=True)
class Preview:
    """A preview that was made.

    Attributes:
        path: the PNG file.
        samples: the ids of the samples on it, from top to bottom.
        source_missing: why the source slices are not on it; empty where they are.
    """

    path: Path
    samples: tuple[str, ...]
    source_missing: str = ""


class PreviewSamples:
    """The samples that a preview shows, found while the manifest is read: a few of each split, spread over its slices.

    Args:
        dataset: the dataset.
        per_split: how many of each split.
    """

    def __init__(self, dataset: Dataset, per_split: int = 3) -> None:
        self._dataset = dataset
        n_slices = slice_counts(dataset.record)
        self._rows: dict[tuple[str, int], ManifestRow | None] = {}  # by shard and row in it, in the order of the sheet
        for split, n in sample_counts(dataset.record).items():
            shards = dataset.record.split_shards(split)
            ends = list(accumulate(shard.n for shard in shards))
            shown = min(per_split, n)
            of_tiles = [(2 * k + 1) * n // (2 * shown) for k in range(shown)]  # they come slice by slice
            is_plain = split in dataset.record.config.plain
            for k in of_tiles if is_plain else spread_rows(n, n_slices[split], per_split):
                index = bisect_right(ends, k)
                self._rows[shards[index].file, k - ends[index] + shards[index].n] = None

    def add(self, row: ManifestRow) -> None:
        """Take in one row of the manifest; it is kept if it is shown."""
        if (row.shard, row.row) in self._rows:
            self._rows[row.shard, row.row] = row

    def found(self) -> tuple[ManifestRow, ...]:
        """Return the rows of the samples to show.

        Raises:
            DatasetError: the manifest has no such samples.
        """
        rows = tuple(row for row in self._rows.values() if row and row.recipe.window == self._dataset.record.window)
        if len(rows) != len(self._rows):
            raise _other_samples(self._dataset)
        return rows


def preview_dataset(
    dataset: Dataset | Path | str,
    out: Path | None = None,
    *,
    source_folder: Path | None = None,
    per_split: int = 3,
) -> Preview:
    """Write a contact sheet of a few samples of each split, as one PNG file, and return what is on it.

    The same dataset and source give the same bytes, with the same version of Pillow.

    Args:
        dataset: its folder, or the dataset, opened.
        out: the file to write; DATASET-preview.png beside the dataset unless given.
        source_folder: where the source is, if not where build-info.json remembers it. Only a source that is named
            must be found: otherwise its column says that it is missing.
        per_split: samples of each split, spread over its slices.

    Raises:
        ConfigError: `out` lies in the dataset or is no PNG file, or `per_split` is out of range.
        DatasetError: the dataset cannot be read, or the source in `source_folder` is another one.
        SourceError: a stack in `source_folder` cannot be read.
        StorageError: the file cannot be written.
    """
    if not 1 <= per_split <= MAX_PER_SPLIT:
        raise ConfigError(f"samples: expected 1 to {MAX_PER_SPLIT} of each split, got {per_split}")
    dataset = open_dataset(dataset)
    path = _place(dataset.folder, out)
    require_writable(path)
    samples = PreviewSamples(dataset, per_split)
    for row in dataset.rows():
        samples.add(row)
    sheet, missing = draw_preview(dataset, samples.found(), source_folder)
    write_report(path, sheet)
    return Preview(path, tuple(row.id for row in samples.found()), missing)


def preview_strengths(
    dataset: Dataset | Path | str,
    slice_: tuple[int, int],
    out: Path | None = None,
    *,
    source_folder: Path | None = None,
) -> Path:
    """Write what each augmentation of a dataset does to one slice, as one PNG file, and return its path.

    Args:
        dataset: its folder, or the dataset, opened.
        slice_: stack and number of the slice.
        out: the file to write; DATASET-strengths.png beside the dataset unless given.
        source_folder: where the source is, if not where build-info.json remembers it.

    Raises:
        ConfigError: `out` lies in the dataset or is no PNG file, there is no such slice, or nothing is augmented.
        DatasetError: the dataset cannot be read, or its source is not found.
        SourceError: a stack of the source cannot be read.
        StorageError: the file cannot be written.
    """
    dataset = open_dataset(dataset)
    path = _place(dataset.folder, out, "strengths")
    require_writable(path)
    write_report(path, draw_slice_strengths(dataset, find_origin(dataset, source_folder), *slice_))
    return path


def spread_rows(n: int, n_slices: int, wanted: int) -> list[int]:
    """Return up to `wanted` different rows of a split, spread over its slices and over their replicates.

    Row k of a split shows slice k mod S, so that rows at even distances could all show the same one.

    Args:
        n: samples of the split.
        n_slices: its slices, S.
        wanted: how many rows.
    """
    shown, slices = min(wanted, n), min(n_slices, n)
    rows = []
    for k in range(min(shown, slices)):
        if shown <= slices:  # one of each of these slices, of ever later replicates
            index, start = (2 * k + 1) * slices // (2 * shown), k * (n - slices) // max(shown - 1, 1)
            rows.append(start + (index - start) % slices)
        else:  # several of every slice
            n_shown, n_there = (len(range(k, total, slices)) for total in (shown, n))
            rows += [k + slices * (replicate * n_there // n_shown) for replicate in range(n_shown)]
    return sorted(rows)


def draw_preview(dataset: Dataset, rows: Sequence[ManifestRow], source_folder: Path | None) -> tuple[bytes, str]:
    """Return a contact sheet of these samples as the bytes of a PNG file, and why the source is not on it.

    Raises:
        DatasetError: a sample cannot be read, or the source in `source_folder` is another one.
        SourceError: a stack in `source_folder` cannot be read.
    """
    source, missing = _find_source(dataset, source_folder)
    record, n_slices = dataset.record, slice_counts(dataset.record)
    height, width = record.window
    summary = [
        f"{record.n} samples of {height} x {width} px, {record.image_dtype}, labels: {record.label_kind}",
        f"seed {record.config.seed}",
        f"digest {dataset.digest:.12}",
    ]
    if record.source.synthetic:
        summary.append("synthetic, no real tissue")
    splits = []
    for split, n in sample_counts(record).items():
        plain = ", not augmented" if split in record.config.plain else ""
        text = f"{counted(n, 'sample')} of {counted(n_slices[split], 'slice')}{plain}"
        splits.append(Chip(SPLIT_COLOURS[split], split, text))
    legend = [splits]
    names = class_names(record.inputs)
    if record.label_kind == "classes" or names or _ignores(record):
        legend.append(_class_chips(record, names))
    lines = [_draw_row(dataset, row, source) for row in rows]
    return png_bytes(draw_sheet(dataset.name, _DOT.join(summary), legend, lines)), missing


def _place(folder: Path, out: Path | None, what: str = "preview") -> Path:
    """Return where to write: never in the dataset, whose folder holds nothing but what belongs to it."""
    named = folder if folder.name not in ("", "..") else folder.resolve()
    path = out or named.with_name(f"{named.name}-{what}.png")
    if path.resolve().is_relative_to(folder.resolve()):
        raise ConfigError(f"{path}: lies in the dataset, where a file of another kind is refused; name another place")
    if path.suffix.lower() not in ("", ".png"):
        raise ConfigError(f"{path}: expected a name that ends in .png, because a PNG file is written")
    return path


def _class_chips(record: DatasetRecord, names: Sequence[str]) -> list[Chip]:
    """Return a chip for every outline colour: class 0 has no outline, and further classes share the colours.

    Of instances, which have all colours, there is one, if they have a name; pixels that mean nothing have gray stripes.
    """
    chips = []
    if record.label_kind != "instances":
        shown = zip(OUTLINE_COLOURS, record.classes[1:], strict=False)
        chips = [Chip(colour, _called(each.index, names), ink=_CLASS_INK) for colour, each in shown]
        if len(record.classes) - 1 > len(chips):
            chips[-1] = replace(chips[-1], text="and so on")
    elif names:
        chips = [Chip(OUTLINE_COLOURS[0], _called(1, names), ink=_CLASS_INK, text="each outlined")]
    if _ignores(record):
        chips.append(Chip(IGNORED_COLOUR, "ignored"))
    return chips


def _ignores(record: DatasetRecord) -> bool:
    """Return whether some pixels of samples may not count."""
    return record.arrays.ignore is not None or record.arrays.masks is not None


def _called(index: int, names: Sequence[str]) -> str:
    """Return the word for a class."""
    if not names:
        return f"class {index}"
    return names[index] if len(names[index]) <= _MAX_NAME else f"{names[index][: _MAX_NAME - 1]}…"


def _find_source(dataset: Dataset, folder: Path | None) -> tuple[Source | None, str]:
    """Return the source, or None and why it was not found."""
    try:
        return find_origin(dataset, folder), ""
    except DatasetError as error:
        if folder is not None:
            raise
        return None, str(error)


def _draw_row(dataset: Dataset, row: ManifestRow, source: Source | None) -> SheetRow:
    shard = next(shard for shard in dataset[row.split].shards if shard.record.file == row.shard)
    if shard.ids()[row.row] != row.id:
        raise _other_samples(dataset)
    image = slice_channels(shard.image(row.row), dataset.record.config.context)
    label, colour = shard.label(row.row), SPLIT_COLOURS[row.split]
    try:
        pixels = source.stacks[row.stack].images[row.z] if source else image
    except IndexError as error:
        raise DatasetError(f"sample {row.id}: the source has no such slice; run augpipe verify") from error
    display = display_of(pixels, dataset.record.inputs[row.stack].images.channels)
    return SheetRow(
        chip=Chip(colour, row.split),
        title=row.id,
        text=_DOT.join(_row_facts(row, several_stacks=len(dataset.record.inputs) > 1)),
        panels=(
            slice_panel(pixels, display, row.recipe, colour) if source else note_panel(_NO_SOURCE),
            image_panel(image, display),
            label_panel(image, label, display, _ignored(dataset.record, shard, row.row, label)),
            grid_panel(row.recipe, colour),
        ),
    )


def _ignored(record: DatasetRecord, shard: Shard, row: int, label: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which pixels of a sample do not count: those that mean nothing, and those that are masked."""
    ignored = np.zeros(label.shape, bool) if record.arrays.ignore is None else label == record.arrays.ignore
    return ignored | (shard.mask(row) == 0) if record.has_masks(shard.record.split) else ignored


def _other_samples(dataset: Dataset) -> DatasetError:
    return DatasetError(f"{dataset.manifest_path}: its samples are not those of the shards; run augpipe verify")


def _row_facts(row: ManifestRow, *, several_stacks: bool) -> list[str]:
    """Return where the sample comes from and what was done to it; what was not done is not said."""
    recipe = row.recipe
    along_y, along_x = ([push for line in axis for push in line] for axis in recipe.grid_px)
    gains, biases = zip(*(recipe.gray or recipe.gray_of(1)), strict=True)
    (shift_y, shift_x), push_px = recipe.shift_px, max(map(math.hypot, along_y, along_x))
    facts = {
        f"stack {row.stack}": several_stacks,
        f"slice {row.z}": True,
        "not augmented": recipe.scored is not None,
        f"beside it {', '.join(str(each.z) for each in row.context)}": row.context,
        f"rotated {recipe.angle_deg:.1f}°": recipe.angle_deg,
        "mirrored": recipe.flip,
        f"zoom {recipe.zoom:.2f}": recipe.zoom != 1,
        f"shift {shift_y:+g}, {shift_x:+g} px": shift_y or shift_x,
        f"gain {', '.join(f'{gain:.2f}' for gain in gains)}": any(gain != 1 for gain in gains),
        f"bias {', '.join(f'{bias:+.5g}' for bias in biases)}": any(biases),
        **{f"{name.replace('_', ' ')} {operation.text()}": True for name, operation in recipe.operations.items()},
        f"grid pushed up to {push_px:.3g} px": push_px,
    }
    return [fact for fact, applies in facts.items() if applies]
