"""A run's network held against the labels of a split: of whole slices where the source is at hand, else of samples."""

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import AugpipeError, ConfigError
from pipeline.shards import Dataset, open_dataset
from pipeline.shards.blank import blank_digests
from pipeline.shards.context import neighbours
from pipeline.shards.progress import Progress, SilentProgress, track
from training.config import TILE_PX
from training.dataset import ShardDataset, join_tiles
from training.division import Slice
from training.inference import Predictor, open_predictor
from training.plots import draw_thresholds
from training.run_folder import Run, read_run
from training.scores.bootstrap import LEVEL, Sums, add_up
from training.scores.challenge import Scores, finish
from training.scores.pictures import Picture, find_intervals, measure_picture
from training.stacks import ContextSlices
from training.targets import foreground, predicted_classes, predicted_objects
from training.unet import centre

if TYPE_CHECKING:
    from pipeline.source.stacks import Slices, Stack

log = logging.getLogger("augtrain")


class _Shown(NamedTuple):
    """What is scored: its image (Y, X) or (Y, X, C), its label as shards hold it, and the slice that it shows.

    Where it has a mask, pixels that are 0 in it do not count.
    """

    image: NDArray[Any]
    label: NDArray[Any]
    slice: Slice
    mask: NDArray[np.uint8] | None = None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Scores, and of what.

    Attributes:
        scores: the scores.
        split: of which split.
        shown: whether of samples or of slices.
        trained_on: how many slices they show that were trained on.
        classes: what the classes are called that are told apart; empty where that is not known.
        intervals: (low, high), the 95 % confidence interval of each score over slices drawn anew; empty for one slice.
    """

    scores: Scores
    split: str
    shown: str
    trained_on: int
    classes: tuple[str, ...] = ()
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        context = {"split": self.split, "shown": self.shown, "trained_on": self.trained_on}
        classes = {"classes": list(self.classes)} if self.classes else {}
        intervals: dict[str, Any] = {"level": LEVEL, **{name: list(ends) for name, ends in self.intervals.items()}}
        names = self.classes if self.scores.classes is not None else ()
        return {**self.scores.as_dict(names), **context, **classes, "intervals": intervals}

    def draw(self, run: Path | str) -> None:
        """Write the scores at every threshold as a picture into the folder of the run.

        Raises:
            StorageError: it cannot be written.
        """
        draw_thresholds(Path(run) / f"thresholds-{self.split}-{self.shown.split()[-1]}.png", self.scores)


def evaluate(
    run: Path | str, dataset: Path | str, split: str, *, images: Path | str | None = None,
    labels: Path | str | None = None, augmented: bool = False, tta: bool = False, tile: int = TILE_PX,
    device: str = "auto", progress: Progress | None = None,
) -> Evaluation:  # fmt: skip
    """Return the scores of a run's network on a split: of its slices as they lie in the stack, or of its samples.

    Slices are scored whole, where the source is at hand: where it was when the dataset was built, or as it is named. So
    are those of a plain split, whose samples are not augmented: they are put together again from these, so that every
    pixel is scored once. Of augmented samples, the centre that training scores counts. Scores are those of the labels'
    kind.

    Args:
        run: folder of the run.
        dataset: folder of the dataset, which says what is in the split.
        split: `train`, `val` or `test`.
        images: the stack (Z, Y, X), a file or a folder as a build reads it, where it is not to be looked for.
        labels: its labels.
        augmented: score the samples, even if the source is at hand.
        tta: average over the eight ways that a slice can lie.
        tile: side of the tiles of the result, in px.
        device: where to compute: `auto`, `cpu`, `cuda` or `cuda:N`.
        progress: its progress callback.

    Raises:
        ConfigError: there is no such split, or it is not `train` and shows slices that the network was trained on; the
            stack is not one of the dataset's, or no slice of it is in the split; the network learnt something else.
        DatasetError: the dataset cannot be read.
        RunError: there is no run, or it keeps no network.
        SourceError: a stack cannot be read.
    """
    if (images is None) != (labels is None):
        raise ConfigError("--images and --labels belong together: the stack and its labels")
    if images is not None and augmented:
        raise ConfigError("--augmented: samples are scored without --images and --labels; leave out one of the two")
    predictor = open_predictor(read_run(Path(run)), device=device, tta=tta, tile=tile)
    data = open_dataset(dataset)
    trained_on = _count_trained_on(predictor.run, data, split)
    read = _reader(predictor, data)
    stacks = {} if augmented else _find_stacks(data, images, labels)
    if stacks:
        shown, (n, those) = "whole slices", _whole_slices(data, split, stacks, images)
        measure = read
    elif split in data.record.config.plain:
        shown, (n, those) = "plain slices", _plain_slices(data, split)
        measure = read
    else:
        shown, (n, those) = "augmented samples", _samples(data, split)
        measure = _of_centre(predictor, read)
    parts: list[Sums] = []
    slices: list[Slice] = []
    for each in track(those, progress or SilentProgress(), "scoring", n, unit=shown.split()[-1]):
        parts.append(measure_picture(measure(each), _scored_kind(predictor.run, data), len(data.record.classes)))
        slices.append(each.slice)
    names = _class_names(
        data, n_classes=len(data.record.classes) if _scored_kind(predictor.run, data) == "classes" else 2
    )
    return Evaluation(finish(add_up(parts)), split, shown, trained_on, names, find_intervals(parts, slices))


def _scored_kind(run: Run, data: Dataset) -> str:
    """Return the kind of the scores: that of the labels, but two sides for a network that tells two classes of several.

    Raises:
        ConfigError: the network learnt other classes than the dataset has.
    """
    kind, learn = data.record.label_kind, run.config.learn
    if learn == "classes" and (kind == "instances" or run.config.n_maps != len(data.record.classes)):
        found = "ids of objects" if kind == "instances" else f"{len(data.record.classes)} classes"
        raise ConfigError(
            f"{data.folder}: has {found}, and the network of {run.folder} tells {run.config.n_maps} classes apart; "
            "evaluate it on the dataset of its run"
        )
    return "binary" if kind == "classes" and learn != "classes" else kind


def _reader(predictor: Predictor, data: Dataset) -> Callable[[_Shown], Picture]:
    """Return what predicts a picture and puts it beside its label, as the scores of the kind want it."""
    kind, ignored = _scored_kind(predictor.run, data), data.record.arrays.ignore
    finds_objects = predictor.run.config.learn in ("cells", "border")

    def read(shown: _Shown) -> Picture:
        counted = None if shown.mask is None else shown.mask != 0
        if ignored is not None:
            counted = (shown.label != ignored) & (True if counted is None else counted)
        label = shown.label if counted is None else np.where(counted, shown.label, shown.label.dtype.type(0))
        if kind == "binary":
            return Picture(predictor(shown.image), label, counted)
        maps = predictor.maps(shown.image)
        ids = predicted_objects(maps) if kind == "instances" and finds_objects else None
        classes = predicted_classes(maps) if kind == "classes" else None
        return Picture(foreground(maps), label, counted, classes, ids)

    return read


def _of_centre(predictor: Predictor, read: Callable[[_Shown], Picture]) -> Callable[[_Shown], Picture]:
    """Return the same for samples: of them, the centre that training scores counts."""
    config = predictor.run.config
    valid = config.network.padding == "valid"
    side = config.target or (config.network.output_side(config.crop) if valid else 0)

    def cut(part: NDArray[Any] | None) -> Any:
        return None if part is None else centre(part, side)

    def read_centre(shown: _Shown) -> Picture:
        found = read(shown)
        return Picture(*map(cut, (found.probability, found.label, found.counted, found.classes, found.ids)))

    return read_centre


def _samples(data: Dataset, split: str) -> tuple[int, Iterable[_Shown]]:
    """Return how many samples a split has, and each of them."""
    ShardDataset(data, split)  # or it says that there is no such split
    there = data[split]
    rows = there.manifest
    return len(there), (
        _Shown(
            there.images[k],
            there.labels[k],
            Slice(rows[k].stack, rows[k].z),
            None if there.masks is None else there.masks[k],
        )
        for k in range(len(there))
    )


def _plain_slices(data: Dataset, split: str) -> tuple[int, Iterable[_Shown]]:
    """Return how many slices a plain split shows, and each of them, put together from its tiles."""
    there = data[split]

    def read(k: int) -> dict[str, NDArray[Any]]:
        image = there.images[k]
        return {"image": image if image.ndim == 2 else np.moveaxis(image, -1, 0), "label": there.labels[k]}

    rows = list(there.manifest)
    return len({(row.stack, row.z) for row in rows}), (
        _Shown(whole["image"] if whole["image"].ndim == 2 else np.moveaxis(whole["image"], 0, -1), whole["label"], each)
        for each, whole in join_tiles(data, rows, read)
    )


def _find_stacks(data: Dataset, images: Path | str | None, labels: Path | str | None) -> "dict[int, Stack]":
    """Return the stacks that a dataset was made of, by their numbers; none where they are not named, nor at hand."""
    from pipeline.source.origin import find_origin, find_stacks, is_where_it_was

    if images is not None and labels is not None:
        return find_stacks(data, [(Path(images), Path(labels))])
    if not is_where_it_was(data):
        return {}
    try:
        return dict(enumerate(find_origin(data).stacks))
    except AugpipeError as error:
        log.warning("scoring augmented samples, as the source is no longer what it was: %s", error)
        return {}


def _whole_slices(
    data: Dataset, split: str, stacks: "Mapping[int, Stack]", images: Path | str | None
) -> tuple[int, Iterable[_Shown]]:
    """Return how many slices of stacks are in a split, and each of them.

    Raises:
        ConfigError: none is.
    """
    there = data.record.split.slices
    slices = [Slice(part.stack, z) for part in there.get(split, ()) if part.stack in stacks for z in part.z]
    if not slices:
        where = Path(images).name if images is not None else "the source"
        raise ConfigError(f"{data.folder}: no slice of {where} is in {split}; it has {', '.join(there)}")
    images_of = {number: _with_context(data, number, stack) for number, stack in stacks.items()}
    return len(slices), (
        _Shown(images_of[each.stack][each.z], stacks[each.stack].labels[each.z], each) for each in slices
    )


def _with_context(data: Dataset, number: int, stack: "Stack") -> "Slices | ContextSlices":
    """Return the images of a stack as samples show them: with their neighbours, where the dataset has context."""
    context, recorded = data.record.config.context, data.record.inputs[number]
    if not context:
        return stack.images
    return ContextSlices(stack.images, lambda z: neighbours(recorded, z, context), context)


def _class_names(data: Dataset, n_classes: int) -> tuple[str, ...]:
    """Return what the classes are called: of two, what the background is, and all others together; empty if unknown."""
    from pipeline.source.known_stacks import class_names

    names = class_names(data.record.inputs)
    if n_classes > 2:
        return names or tuple(str(each.value) for each in data.record.classes)
    return names if len(names) < 3 else (names[0], f"all but {names[0]}")


def _count_trained_on(run: Run, data: Dataset, split: str) -> int:
    """Return how many slices of a split the network was trained on; refuse any, but for the split `train`."""
    shown = {sha256 for row in data[split].manifest for _, sha256 in row.shown}
    seen = shown & set(run.division.trained_on)
    seen -= blank_digests(data.record) if seen else set()
    if seen and split != "train":
        raise ConfigError(
            f"{data.folder}: {split} shows {len(seen)} slices that the network of {run.folder} was trained on; "
            "evaluate it on the dataset of its run"
        )
    return len(seen)
