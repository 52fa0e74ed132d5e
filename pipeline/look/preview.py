"""The preview: one picture of a few samples of a dataset, with the slice, label and deformation of each."""

import io
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from PIL import Image

from augment.recipe import Recipe
from pipeline.errors import ConfigError, DatasetError
from pipeline.files import require_writable, write_report
from pipeline.look.contact_sheet import SPLIT_COLOURS, Chip, SheetRow, draw_sheet, note_panel
from pipeline.look.panels import OUTLINE_COLOURS, display_range, grid_panel, image_panel, label_panel, slice_panel
from pipeline.shards.dataset import Dataset, open_dataset
from pipeline.shards.manifest import ManifestRow
from pipeline.source.stacks import Source
from pipeline.verify.origin import find_origin

MAX_PER_SPLIT = 50
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


@dataclass(frozen=True, slots=True)
class _Facts:
    """What the sheet says of the dataset, and the number of slices of each split and of stacks."""

    summary: str
    legend: tuple[tuple[Chip, ...], ...]
    n_slices: dict[str, int]
    n_stacks: int


def preview_dataset(
    folder: Path, out: Path | None = None, *, source_folder: Path | None = None, per_split: int = 3
) -> Preview:
    """Write a contact sheet of a few samples of each split, as one PNG file, and return what is on it.

    The same dataset and source give the same bytes, with the same version of Pillow.

    Args:
        folder: the dataset.
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
    dataset = open_dataset(folder)
    path = _place(folder, out)
    require_writable(path)
    sheet, samples, missing = _draw(dataset, source_folder, per_split)
    write_report(path, sheet)
    return Preview(path, samples, missing)


def draw_preview(dataset: Dataset | Path | str, *, source_folder: Path | None = None, per_split: int = 3) -> bytes:
    """Return the contact sheet that `preview_dataset` writes, as the bytes of a PNG file.

    Raises:
        DatasetError: the dataset cannot be read, or the source in `source_folder` is another one.
        SourceError: a stack in `source_folder` cannot be read.
    """
    return _draw(open_dataset(dataset), source_folder, per_split)[0]


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


def _draw(dataset: Dataset, source_folder: Path | None, per_split: int) -> tuple[bytes, tuple[str, ...], str]:
    """Return the sheet as PNG, the ids of the samples on it, and why the source is not."""
    facts = _read_facts(dataset)
    chosen = _choose(dataset, facts.n_slices, per_split)
    source, missing = _find_source(dataset, source_folder)
    rows = [_draw_row(dataset, row, k, source, several_stacks=facts.n_stacks > 1) for row, k in chosen]
    sheet = _png(draw_sheet(dataset.name, facts.summary, facts.legend, rows))
    return sheet, tuple(row.id for row, _ in chosen), missing


def _place(folder: Path, out: Path | None) -> Path:
    """Return where to write: never in the dataset, whose folder holds nothing but what belongs to it."""
    named = folder if folder.name not in ("", "..") else folder.resolve()
    path = out or named.with_name(f"{named.name}-preview.png")
    if path.resolve().is_relative_to(folder.resolve()):
        raise ConfigError(f"{path}: lies in the dataset, where a file of another kind is refused; name another place")
    if path.suffix.lower() not in ("", ".png"):
        raise ConfigError(f"{path}: expected a name that ends in .png, because a PNG file is written")
    return path


def _read_facts(dataset: Dataset) -> _Facts:
    record = dataset.record
    height, width = record.window
    n_slices = {split: sum(len(stack.z) for stack in record.split.slices.get(split, ())) for split in dataset.splits}
    parts = [
        f"{record.n} samples of {height} x {width} px, {record.image_dtype}, labels: {record.label_kind}",
        f"seed {record.config.seed}",
        f"digest {dataset.digest:.12}",
        *(["synthetic, no real tissue"] if record.source.synthetic else []),
    ]
    legend = [tuple(_split_chip(dataset, split, n_slices[split]) for split in dataset.splits)]
    if record.label_kind == "classes":
        legend.append(_class_chips(len(record.classes)))
    return _Facts("  ·  ".join(parts), tuple(legend), n_slices, len(record.inputs))


def _split_chip(dataset: Dataset, split: str, n_slices: int) -> Chip:
    n = len(dataset[split])
    return Chip(SPLIT_COLOURS[split], split, f"{n} sample{'s' * (n > 1)} of {n_slices} slice{'s' * (n_slices > 1)}")


def _class_chips(n_classes: int) -> tuple[Chip, ...]:
    """Return a chip for every outline colour: class 0 has no outline, and further classes share the colours."""
    shown = OUTLINE_COLOURS[: n_classes - 1]
    further = "and so on" if n_classes - 1 > len(shown) else ""
    return tuple(
        Chip(colour, f"class {index}", further if index == len(shown) else "", ink=_CLASS_INK)
        for index, colour in enumerate(shown, start=1)
    )


def _choose(dataset: Dataset, n_slices: dict[str, int], per_split: int) -> list[tuple[ManifestRow, int]]:
    """Return the manifest's rows of the samples to show, each with its position in its split."""
    wanted = {
        (split, dataset[split].ids[k]): k
        for split in dataset.splits
        for k in spread_rows(len(dataset[split]), n_slices[split], per_split)
    }
    found = {(row.split, row.id): row for row in dataset.rows() if (row.split, row.id) in wanted}
    if set(found) != set(wanted) or any(row.recipe.window != dataset.record.window for row in found.values()):
        raise DatasetError(f"{dataset.manifest_path}: its samples are not those of the shards; run augpipe verify")
    return [(found[key], k) for key, k in wanted.items()]


def _find_source(dataset: Dataset, folder: Path | None) -> tuple[Source | None, str]:
    """Return the source, or None and why there is none."""
    try:
        return find_origin(dataset, folder), ""
    except DatasetError as error:
        if folder is not None:
            raise
        return None, str(error)


def _draw_row(dataset: Dataset, row: ManifestRow, k: int, source: Source | None, *, several_stacks: bool) -> SheetRow:
    image, label = dataset[row.split].images[k], dataset[row.split].labels[k]
    colour = SPLIT_COLOURS[row.split]
    if source is None:
        limits = display_range(image)
        first = note_panel(("the source is not at hand;", "name its folder with --source"))
    else:
        pixels = _source_slice(source, row)
        limits = display_range(pixels)
        first = slice_panel(pixels, limits, row.recipe, colour)
    return SheetRow(
        chip=Chip(colour, row.split),
        title=row.id,
        text="  ·  ".join(_row_facts(row, several_stacks=several_stacks)),
        panels=(first, image_panel(image, limits), label_panel(image, label, limits), grid_panel(row.recipe, colour)),
    )


def _source_slice(source: Source, row: ManifestRow) -> NDArray[Any]:
    try:
        pixels: NDArray[Any] = source.stacks[row.stack].images[row.z]
    except IndexError as error:
        raise DatasetError(f"sample {row.id}: the source has no such slice; run augpipe verify") from error
    return pixels


def _row_facts(row: ManifestRow, *, several_stacks: bool) -> list[str]:
    """Return where the sample comes from and what was done to it; what was not done is not said."""
    recipe = row.recipe
    (shift_y, shift_x), push_px = recipe.shift_px, _longest_push(recipe)
    facts = {
        f"stack {row.stack}": several_stacks,
        f"slice {row.z}": True,
        f"rotated {recipe.angle_deg:.1f}°": recipe.angle_deg,
        "mirrored": recipe.flip,
        f"zoom {recipe.zoom:.2f}": recipe.zoom != 1,
        f"shift {shift_y:+g}, {shift_x:+g} px": shift_y or shift_x,
        f"gain {recipe.gain:.2f}": recipe.gain != 1,
        f"bias {recipe.bias:+.5g}": recipe.bias,
        f"grid pushed up to {push_px:.3g} px": push_px,
    }
    return [fact for fact, told in facts.items() if told]


def _longest_push(recipe: Recipe) -> float:
    """Return the length of the longest displacement of a control point, in pixels."""
    along_y, along_x = ([value for line in axis for value in line] for axis in recipe.grid_px)
    return max(map(math.hypot, along_y, along_x))


def _png(sheet: Image.Image) -> bytes:
    buffer = io.BytesIO()
    # 256 colours halve the file, and differ from all of them by a fifth of a gray level on average.
    sheet.quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
