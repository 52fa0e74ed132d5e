"""The fact sheet: what a dataset is, or one of its samples, as aligned lines for people and as JSON for programs."""

import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

from augment.ranges import AugmentRanges
from augment.recipe import Box, Recipe
from pipeline.errors import ConfigError, DatasetError, counted
from pipeline.look.recipe_statistics import Drawn, measure_recipes
from pipeline.shards.config import SPLIT_LETTERS, BuildConfig
from pipeline.shards.dataset import Dataset, open_dataset
from pipeline.shards.manifest import ManifestRow
from pipeline.shards.provenance import SourceFacts
from pipeline.shards.record import DatasetRecord
from pipeline.source.known_stacks import class_names
from pipeline.source.label_values import as_hex

WIDTH = 110
SPLIT_SIGNS: Mapping[str, str] = {split or "unused": letter for letter, split in SPLIT_LETTERS.items()}

_Entry: TypeAlias = tuple[str, object]  # a label and what stands beside it

_INDENT = 13
_MAX_LISTED = 12  # stacks or classes; the rest are counted here and listed in the JSON
_MAX_POINTS = 5  # control points a side in a table; more do not fit in a line
_MAX_DISTANCE = 3  # in slices; a sample of a slice further away is not worth suggesting
_ADDRESS = re.compile(r"\D*(\d{1,9})\D+(\d{1,9})\D+(\d{1,9})\D*")


@dataclass(frozen=True, slots=True)
class DatasetSheet:
    """What is known of a dataset, and what its recipes drew."""

    dataset: Dataset
    drawn: Drawn

    def to_json(self) -> dict[str, Any]:
        """Return all of it as plain JSON values."""
        record, split = self.dataset.record, self.dataset.record.split
        values = record.to_json()
        return {
            "schema": "augpipe/show-dataset/1",
            "dataset": str(self.dataset.folder),
            "dataset_sha256": self.dataset.digest,
            "fingerprint": record.fingerprint,
            "name": record.name,
            **{
                key: values[key]
                for key in ("renderer", "config", "inputs", "source", "label_kind", "classes", "arrays")
            },
            "split": {
                "strategy": split.strategy,
                "independent": split.independent,
                "gap": split.gap,
                "pictures": slice_letters(self.dataset),
                "slices": slice_counts(record),
                "samples": sample_counts(record),
            },
            "drawn": asdict(self.drawn),
            "shards": len(record.shards),
            "bytes": {"shards": sum(shard.bytes for shard in record.shards), "manifest": record.manifest.bytes},
        }

    def lines(self) -> list[str]:
        """Return it as lines of text."""
        record, config = self.dataset.record, self.dataset.record.config
        height, width = record.window
        shards = f"{len(record.shards)} shards, {size_text(sum(shard.bytes for shard in record.shards))}"
        return [
            *_aligned(
                ("dataset", f"{record.name}: {record.n} samples of {height} x {width} px {record.arrays.images}"),
                *_source_entries(record.source),
                *_input_entries(record),
                ("channels", ", ".join(record.arrays.channels) if record.arrays.channels else None),
                *_label_entries(record),
                ("weights", f"{config.weights}, {record.arrays.weights}" if record.has_weights else None),
                ("masks", _masks_text(record)),
                *_split_entries(self.dataset),
                *_focus_entries(config),
                ("seed", config.seed),
            ),
            *_range_table(config.ranges, self.drawn),
            *_aligned(
                ("files", f"{shards}; manifest {size_text(record.manifest.bytes)}{_links_text(self.dataset)}"),
                ("renderer", f"version {record.renderer}, engine {config.engine}"),
                ("fingerprint", record.fingerprint),
                ("digest", f"{self.dataset.digest}  (the one to cite)"),
            ),
        ]


def _links_text(dataset: Dataset) -> str:
    links = dataset.linked_files
    return f"; {counted(len(links), 'file')} by symbolic links" if links else ""


@dataclass(frozen=True, slots=True)
class SampleSheet:
    """What is known of a sample: its manifest row, and which dataset it belongs to."""

    dataset: Dataset
    row: ManifestRow

    def to_json(self) -> dict[str, Any]:
        """Return all of it as plain JSON values."""
        return {
            **self.row.to_json(),
            "schema": "augpipe/show-sample/1",
            "dataset": str(self.dataset.folder),
            "dataset_sha256": self.dataset.digest,
            "name": self.dataset.name,
        }

    def lines(self) -> list[str]:
        """Return it as lines of text."""
        row, recipe = self.row, self.row.recipe
        gray = recipe.gray or recipe.gray_of(1)
        (shift_y, shift_x), (height, width) = recipe.shift_px, recipe.window
        return [
            *_aligned(
                ("sample", f"{row.id} of {self.dataset.name}"),
                ("split", row.split),
                ("stored in", f"{row.shard}, row {row.row}"),
                ("slice", f"stack {row.stack}, z {row.z}; replicate {row.replicate} of it"),
                ("beside it", f"z {', '.join(str(each.z) for each in row.context)}" if row.context else None),
                ("slice sha256", row.source_sha256),
                ("image sha256", row.image_sha256),
                ("label sha256", row.label_sha256),
                ("weights", f"sha256 {row.weights_sha256}" if row.weights_sha256 else None),
                ("mask", f"sha256 {row.mask_sha256}" if row.mask_sha256 else None),
                ("plain", "the slice's own pixels, not augmented" if recipe.scored else None),
                ("counts", _scored_text(recipe.scored) if recipe.scored else None),
                ("window", f"{height} x {width} px"),
                ("angle", f"{recipe.angle_deg:.4g} deg counter-clockwise"),
                ("flip", "left to right" if recipe.flip else "none"),
                ("zoom", f"{recipe.zoom:.4g}"),
                ("shift", f"{shift_y:+g}, {shift_x:+g} px (y, x) from the slice's centre"),
                ("place", "{}, {} (y, x) of the slice, in the centre pixel".format(*recipe.place))
                if recipe.place
                else ("place", None),
                ("attempt", f"{recipe.attempt}; those before show too little" if recipe.attempt else None),
                ("gray levels", "; ".join(f"gain {gain:.4g}, bias {bias:+.4g}" for gain, bias in gray)),
                *((_operation_label(name), operation.text()) for name, operation in recipe.operations.items()),
            ),
            *_grid_table(recipe),
        ]


def show_dataset(dataset: Dataset | Path | str) -> DatasetSheet:
    """Return what a dataset is; its manifest is read once.

    Raises:
        DatasetError: the dataset cannot be read.
    """
    dataset = open_dataset(dataset)
    drawn = (row.recipe for row in dataset.rows() if row.recipe.scored is None)
    return DatasetSheet(dataset, measure_recipes(drawn))


def show_sample(dataset: Dataset | Path | str, sample_id: str) -> SampleSheet:
    """Return what a sample is.

    Raises:
        ConfigError: there is no sample of that id.
        DatasetError: the dataset cannot be read.
    """
    dataset = open_dataset(dataset)
    address = _ADDRESS.fullmatch(sample_id)
    stack, z, replicate = map(int, address.groups()) if address else (-1, 0, 0)
    nearest: tuple[int, int, str] | None = None
    for row in dataset.rows():
        if row.id == sample_id:
            return SampleSheet(dataset, row)
        distance = abs(row.z - z)
        if row.stack == stack and distance <= _MAX_DISTANCE:
            candidate = distance, abs(row.replicate - replicate), row.id
            nearest = min(nearest or candidate, candidate)
    suggestion = f"did you mean {nearest[2]}? Ids" if nearest else "ids"
    raise ConfigError(
        f"{dataset.manifest_path}: holds no sample {sample_id!r:.60}; {suggestion} look like s000-z00000-r0000000"
    )


def slice_letters(dataset: Dataset) -> list[str]:
    """Return one text for each stack, one letter for each slice; a question mark where dataset.json says nothing.

    Raises:
        DatasetError: it names a slice that is not there.
    """
    letters = [["?"] * stack.depth for stack in dataset.record.inputs]
    for name, sign in SPLIT_SIGNS.items():
        for stack in dataset.record.split.slices.get(name, ()):
            for z in stack.z:
                try:
                    letters[stack.stack][z] = sign
                except IndexError as error:
                    text = f"{dataset.record_path}: {name} has slice {z} of stack {stack.stack}, which is not there"
                    raise DatasetError(text) from error
    return ["".join(stack) for stack in letters]


def letter_lines(dataset: Dataset) -> list[str]:
    """Return the slices' letters as they are shown: of many stacks the first, and how many more there are.

    Raises:
        DatasetError: as `slice_letters`.
    """
    letters = slice_letters(dataset)
    places = [place for stack in dataset.record.inputs for place in stack.sequence or ()]
    if places:
        letters = ["".join(letter for _, letter in sorted(zip(places, "".join(letters), strict=False)))]
    elif max(map(len, letters)) == 1:  # single fields of view, which are easier to see side by side
        letters = ["".join(letters)]
    return _first(letters, " stacks")


def slice_counts(record: DatasetRecord) -> dict[str, int]:
    """Return how many slices each split has, and how many are `unused`."""
    return {name: sum(len(stack.z) for stack in record.split.slices.get(name, ())) for name in SPLIT_SIGNS}


def sample_counts(record: DatasetRecord) -> dict[str, int]:
    """Return how many samples each split has."""
    return {split: sum(shard.n for shard in record.split_shards(split)) for split in record.splits}


def size_text(n_bytes: int) -> str:
    """Return a number of bytes as people read it."""
    return f"{n_bytes / 1e6:.1f} MB" if n_bytes >= 1e5 else f"{n_bytes / 1e3:.1f} kB"


def range_text(ends: Sequence[float], form: str = ".4g") -> str:
    """Return a range, or the one value in it."""
    low, high = (f"{end:{form}}" for end in ends)
    return low if low == high else f"{low} to {high}"


def voxel_size_text(sides_nm: Sequence[float]) -> str:
    """Return the size of a voxel."""
    return f"{' x '.join(f'{side:g}' for side in sides_nm)} nm (z, y, x)"


def _source_entries(source: SourceFacts) -> Iterator[_Entry]:
    yield "source", source.title
    yield "specimen", source.specimen
    yield "voxel size", None if source.voxel_size_nm is None else voxel_size_text(source.voxel_size_nm)
    yield "licence", source.licence
    yield "citation", source.citation
    yield "url", source.url
    yield "synthetic", "yes, no real tissue" if source.synthetic else None
    for part in source.parts or ():
        yield f"stack {part.stack} is", part.title


def _input_entries(record: DatasetRecord) -> Iterator[_Entry]:
    for index, stack in enumerate(record.inputs[:_MAX_LISTED]):
        height, width = stack.slice_size
        label = "stack" if len(record.inputs) == 1 else f"stack {index}"
        yield label, f"{stack.depth} slices of {height} x {width} px, {stack.images.dtype}"
    if (more := len(record.inputs) - _MAX_LISTED) > 0:
        yield "", f"... and {more} more stacks"


def _label_entries(record: DatasetRecord) -> Iterator[_Entry]:
    kind, names = f"{record.label_kind}, {record.arrays.labels}", class_names(record.inputs)
    if record.label_kind == "instances":
        yield "labels", f"{kind} ids{f' of {names[1]}, 0 is {names[0]}' if names else ''}"
    else:
        classes = [f"{each.color or each.value} -> {each.index}" for each in record.classes]
        named = zip(classes, names or [""] * len(classes), strict=False)
        listed = [f"{text} ({name})" if name else text for text, name in named]
        yield "labels", f"{kind}: {', '.join(_first(listed))}" if listed else kind
    ignored = sorted({value for stack in record.inputs for value in stack.labels.ignored or ()})
    if ignored:
        shown = as_hex if any(each.color for each in record.classes) else str
        yield "ignored", f"{', '.join(map(shown, ignored))} -> {record.arrays.ignore}, without weight, loss or score"
    if renumbered := [stack.labels.renumbered.n for stack in record.inputs if stack.labels.renumbered]:
        of_stacks = f", in each of {len(renumbered)} stacks" if len(renumbered) > 1 else ""
        yield "renumbered", f"{counted(sum(renumbered), 'id')}, from 1 by value{of_stacks}"
    if n_skipped := sum(len(stack.skipped or ()) for stack in record.inputs):
        yield "skipped", f"{counted(n_skipped, 'slice')}: nothing is annotated there"


def _scored_text(scored: Box) -> str:
    top, left, bottom, right = scored
    return f"rows {top} to {bottom - 1}, columns {left} to {right - 1} of the window"


def _masks_text(record: DatasetRecord) -> str | None:
    return f"of {', '.join(record.arrays.masks)}: which pixels count" if record.arrays.masks else None


def _split_entries(dataset: Dataset) -> Iterator[_Entry]:
    samples = sample_counts(dataset.record)
    yield "split", _strategy(dataset.record)
    yield from (("", line) for line in letter_lines(dataset))
    for name, n in slice_counts(dataset.record).items():
        if n or name in samples:
            plain = ", plain: the slices' own pixels in tiles" if name in dataset.record.config.plain else ""
            there = f"{samples[name]:>8} samples{plain}" if name in samples else ""
            yield "", f"{SPLIT_SIGNS[name]} {name:<7}{n:>6} slices{there}"


def _focus_entries(config: BuildConfig) -> Iterator[_Entry]:
    if config.focus != "uniform":
        yield "focus", f"{config.focus}, in the centre of {100 * config.focus_share:.3g}% of train"
    if config.min_foreground:
        yield "foreground", f"{config.min_foreground:g} or more of every sample of train"


def _strategy(record: DatasetRecord) -> str:
    """Return how slices were assigned, and how far apart two splits are in one stack, where any are."""
    parts: list[str] = [record.split.strategy]
    if record.config.folds:
        parts.append(f"fold {record.config.fold} of {record.config.folds}, counted from 0")
    if record.split.independent:
        parts.append("slices without neighbours")
    elif record.split.gap is not None:
        parts.append(f"gap {record.split.gap}{' between what is shown' if record.config.context else ''}")
    if record.n_groups:
        parts.append(f"{counted(record.n_groups, 'group')}, each in one split")
    if record.n_skipped:
        parts.append(f"{counted(record.n_skipped, 'slice')} skipped")
    return ", ".join(parts)


def _range_table(ranges: AugmentRanges, drawn: Drawn) -> list[str]:
    """Return what could be drawn beside what was, in two columns."""
    over = "window" if ranges.extent == "window" else f"{ranges.extent} slice"
    table = {
        "ranges": ("as configured", "as drawn"),
        "angle": (
            f"{range_text(ranges.rotate_deg)} deg{_share_text(ranges, 'rotate')}",
            f"{range_text(drawn.angle_deg)} deg",
        ),
        "flip": (
            "every second, by chance" if ranges.flip else "none",
            f"{drawn.n_flipped} of {drawn.n} ({drawn.n_flipped / drawn.n:.0%})",
        ),
        "zoom": (range_text(ranges.zoom) + _share_text(ranges, "zoom"), range_text(drawn.zoom)),
        "shift": (
            "to every corner" if ranges.shift_px is None else f"up to {ranges.shift_px:g} px",
            f"y {range_text(drawn.shift_y_px)}, x {range_text(drawn.shift_x_px)} px",
        ),
        "gain": (range_text(ranges.gain) + _share_text(ranges, "gain"), range_text(drawn.gain)),
        "bias": (range_text(ranges.bias) + _share_text(ranges, "bias"), range_text(drawn.bias)),
        **{
            _operation_label(name): (
                range_text(ranges.operations[name]) + _share_text(ranges, name),
                f"{(n := drawn.n_done.get(name, 0))} of {drawn.n} ({n / drawn.n:.0%})",
            )
            for name in ranges.operations
        },
        "grid": (
            f"{ranges.grid_points} x {ranges.grid_points} over the {over}, s.d. {ranges.sigma_px:g} px",
            f"s.d. {drawn.grid_sd_px:.4g} px, largest {drawn.grid_largest_px:.4g} px along an axis",
        ),
    }
    column = 3 + max(len(configured) for configured, _ in table.values())
    return [f"{label:<{_INDENT}}{configured:<{column}}{was_drawn}" for label, (configured, was_drawn) in table.items()]


def _operation_label(name: str) -> str:
    """Return an operation's name, of two words the last: labels have little room."""
    return name.rpartition("_")[2]


def _share_text(ranges: AugmentRanges, name: str) -> str:
    """Return how many samples get something, where not all do."""
    share = ranges.probability.get(name, 1.0)
    return f", {share:.3g} of the samples" if share < 1 else ""


def _grid_table(recipe: Recipe) -> list[str]:
    """Return the control points' displacements as a table, a row of points a line."""
    (along_y, along_x), (height, width) = recipe.grid_px, recipe.extent_px
    points = recipe.n_points
    title = f"{points} x {points} control points over {height} x {width} px, moved by (y, x) px"
    if points > _MAX_POINTS:
        largest = max(abs(push) for axis in recipe.grid_px for row in axis for push in row)
        return _aligned(("grid", f"{title}: by {largest:.4g} along an axis at most; the JSON lists them"))
    cells = [
        [f"({y:+.2f}, {x:+.2f})" for y, x in zip(*rows, strict=True)] for rows in zip(along_y, along_x, strict=True)
    ]
    column = 2 + max(len(cell) for row in cells for cell in row)
    table = ["".join(f"{cell:<{column}}" for cell in row).rstrip() for row in cells]
    return [*_aligned(("grid", title)), *(" " * _INDENT + line for line in table)]


def _first(texts: list[str], noun: str = "") -> list[str]:
    """Return the first of many texts, and how many more there are."""
    more = len(texts) - _MAX_LISTED
    return [*texts[:_MAX_LISTED], f"... and {more} more{noun}"] if more > 0 else texts


def _aligned(*entries: _Entry) -> list[str]:
    """Return each value beside its label, wrapped; what no terminal should be sent is replaced, and None left out."""
    lines = []
    for label, value in entries:
        if value is not None:
            shown = "".join(c if c.isprintable() else " " for c in str(value))
            first, *others = textwrap.wrap(shown, WIDTH - _INDENT, break_on_hyphens=False) or [""]
            lines += [f"{label:<{_INDENT}}{first}".rstrip(), *(" " * _INDENT + line for line in others)]
    return lines
