"""Prediction with a trained network, of samples, whole slices and stacks, and its evaluation.

The overlap-tile strategy of Ronneberger et al. 2015: a slice is predicted in overlapping tiles, mirrored where it ends.
Every pixel is computed with all the context that the network can use, so that tiles meet without a seam. Tiles begin at
multiples of the network's step, so that its poolings fall on the same pixels wherever a tile begins.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.errors import ConfigError, counted
from pipeline.shards import StackDigest, open_dataset
from pipeline.shards.blank import blank_digests
from pipeline.shards.context import neighbours
from pipeline.shards.progress import Progress, SilentProgress, track
from training.config import TILE_PX
from training.dataset import ShardDataset
from training.device import find_device, full_precision
from training.loading import as_tensor, normalise, turned, turned_back
from training.metrics import Scores, score_slices
from training.plots import draw_thresholds
from training.run_folder import Run, read_network, read_run
from training.stacks import ContextSlices, in_context, open_images, open_labels
from training.unet import UNet, cell_logits, centre

_Pair = tuple[NDArray[np.float32], NDArray[Any]]
AUGMENTED, PLAIN, WHOLE = "augmented samples", "plain slices", "whole slices"  # what scores can be of
_TIFF_SUFFIXES = (".tif", ".tiff")


@dataclass(frozen=True, slots=True)
class Predictor:
    """A network and what it needs to turn a slice (Y, X) into the probability of cell (Y, X) float32 in 0..1.

    Attributes:
        run: the run that trained it.
        network: in evaluation mode, on its device.
        device: where it computes, in float32.
        tta: average over the eight ways that the slice can lie.
        tile: side of a tile of the result, in px; more needs more memory and computes less twice.

    Raises:
        ConfigError: the tile is narrower than what the network looks at on each side of it.
    """

    run: Run
    network: UNet
    device: torch.device
    tta: bool = False
    tile: int = TILE_PX

    def __post_init__(self) -> None:
        halo = self.network.config.halo
        if self.tile < halo:
            raise ConfigError(
                f"--tile: expected {halo} px or more, as this network looks {halo} px around each tile, and would "
                f"compute every pixel more than nine times; got {self.tile}"
            )

    @torch.inference_mode()
    def __call__(self, image: NDArray[Any]) -> NDArray[np.float32]:
        """Return the probability of cell (Y, X) of a slice (Y, X), or (Y, X, C) of several channels or slices.

        Raises:
            ConfigError: the slice has another dtype, or another number of channels, than the network was trained on.
        """
        image = as_levels(image)
        if str(image.dtype) != self.run.image_dtype:
            raise ConfigError(
                f"the network was trained on {self.run.image_dtype} images, and gets {image.dtype}; convert "
                "the stack to the gray levels of the training stack"
            )
        n_channels, known = image.shape[2] if image.ndim == 3 else 1, self.run.normalisation.n_channels
        if n_channels != known:
            context = f", built with --context {self.run.context}" if self.run.context else ""
            raise ConfigError(
                f"the network was trained on images of {counted(known, 'channel')}, and gets {n_channels}; choose them "
                f"as for the dataset of its run{context}"
            )
        planes = image if image.ndim == 2 else np.ascontiguousarray(np.moveaxis(image, -1, 0))
        levels = normalise(as_tensor(planes), self.run.normalisation)
        total = torch.zeros(levels.shape[-2:])
        ways = range(8 if self.tta else 1)
        with full_precision():
            for way in ways:
                total += turned_back(self._tiles(turned(levels, way).contiguous()), way)
        return (total / len(ways)).clamp_(0, 1).numpy()

    def _tiles(self, image: Tensor) -> Tensor:
        """Return the probability of cell (Y, X) of an image (C, Y, X)."""
        config = self.network.config
        front = config.reach if config.padding == "valid" else -(-config.halo // config.step) * config.step
        size = image.shape[-2:]
        out = torch.empty(size)
        sides = [-(-min(self.tile, side) // config.step) * config.step for side in size]
        for y in range(0, size[0], sides[0]):
            for x in range(0, size[1], sides[1]):
                rows, columns = (
                    mirrored(start - front, _input_side(self.network, side, front), n)
                    for start, side, n in zip((y, x), sides, size, strict=True)
                )
                scores = self.network(image[:, rows][:, :, columns][None].to(self.device))
                tile = torch.sigmoid(cell_logits(scores)[0].float()).cpu()
                if config.padding == "same":
                    tile = tile[front:, front:]
                place = out[y : y + sides[0], x : x + sides[1]]
                place.copy_(tile[: place.shape[0], : place.shape[1]])
        return out


def open_predictor(run: Run, *, device: str = "auto", tta: bool = False, tile: int = TILE_PX) -> Predictor:
    """Return what predicts with the network of a run.

    Raises:
        ConfigError: the device is not there, or the tile is too small for the network.
        RunError: the run keeps no network.
    """
    where = find_device(device)
    return Predictor(run, read_network(run, where), where, tta=tta, tile=tile)


def predict(
    run: Path | str, stack: Path | str, out: Path | str, *, overwrite: bool = False, tta: bool = False,
    tile: int = TILE_PX, device: str = "auto", progress: Progress | None = None,
) -> tuple[int, int, int]:  # fmt: skip
    """Write the probability of cell of a stack as a float32 TIFF stack; return its shape (Z, Y, X).

    One slice is held in memory at a time, with its neighbours where the network was trained with such; beyond the first
    and the last slice the stack is mirrored.

    Args:
        run: folder of the run whose network predicts.
        stack: a TIFF file, or whatever else `augpipe build` reads as a stack; gray levels are scaled, and channels
            chosen, as for the dataset that the network was trained on.
        out: the TIFF file to make.
        overwrite: replace `out`, if it is there, as soon as the new one is whole.
        tta: average over the eight ways that a slice can lie.
        tile: side of a tile of the result, in px.
        device: where to compute: `auto`, `cpu`, `cuda` or `cuda:N`.
        progress: its progress callback.

    Raises:
        ConfigError: there is no such stack, the network does not take it, `out` is there already, is the stack itself,
            or not named as a TIFF, the device is not there, or the tile is too small.
        RunError: there is no run, or it keeps no network.
        SourceError: the stack cannot be read.
        StorageError: the result cannot be written.
    """
    from pipeline.source.tiff import write_slices

    predictor = open_predictor(read_run(Path(run)), device=device, tta=tta, tile=tile)
    stack, out = Path(stack), Path(out)
    require_place(out, stack, overwrite=overwrite)
    slices, context = open_images(stack, predictor.run.channels, predictor.run.reading), predictor.run.context
    if context:
        slices = in_context(slices, stack, context)
    watched = track(slices, progress or SilentProgress(), "predicting", slices.shape[0], unit="slices")
    write_slices(out, (predictor(image) for image in watched), slices.shape[:3], np.float32)
    depth, height, width = slices.shape[:3]
    return depth, height, width


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Scores, and of what.

    Attributes:
        scores: the scores.
        split: of which split.
        shown: of augmented samples, of the slices that the samples of a plain split hold, or of those of a stack.
        trained_on: how many slices they show that were trained on.
        classes: what the two classes that are told apart are called; empty where that is not known.
    """

    scores: Scores
    split: str
    shown: str
    trained_on: int
    classes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        context = {"split": self.split, "shown": self.shown, "trained_on": self.trained_on}
        classes = {"classes": list(self.classes)} if self.classes else {}
        return {**self.scores.as_dict(), **context, **classes}

    def draw(self, run: Path | str) -> None:
        """Write the scores at every threshold as a picture into the folder of the run.

        Raises:
            StorageError: it cannot be written.
        """
        draw_thresholds(Path(run) / f"thresholds-{self.split}-{self.shown.split()[-1]}.png", self.scores)


def evaluate(
    run: Path | str, dataset: Path | str, split: str, *, images: Path | str | None = None,
    labels: Path | str | None = None, tta: bool = False, tile: int = TILE_PX, device: str = "auto",
    progress: Progress | None = None,
) -> Evaluation:  # fmt: skip
    """Return the scores of a run's network on a split: its augmented samples, or its slices as they lie in the stack.

    Of augmented samples, the centre that training scores counts; slices are scored whole. Those of a plain split, whose
    samples are not augmented, are put together again from these, so that every pixel is scored once.

    Args:
        run: folder of the run.
        dataset: folder of the dataset, which says what is in the split.
        split: `train`, `val` or `test`.
        images: the stack (Z, Y, X), a TIFF file, to score its slices.
        labels: its labels.
        tta: average over the eight ways that a slice can lie.
        tile: side of the tiles of the result, in px.
        device: where to compute: `auto`, `cpu`, `cuda` or `cuda:N`.
        progress: its progress callback.

    Raises:
        ConfigError: there is no such split, or it is not `train` and shows slices that the network was trained on; the
            stack is not one of the dataset's, or no slice of it is in the split.
        DatasetError: the dataset cannot be read.
        RunError: there is no run, or it keeps no network.
        SourceError: a stack cannot be read.
    """
    if (images is None) != (labels is None):
        raise ConfigError("--images and --labels belong together: the stack and its labels")
    predictor = open_predictor(read_run(Path(run)), device=device, tta=tta, tile=tile)
    trained_on = _count_trained_on(predictor.run, Path(dataset), split)
    if images is None or labels is None:
        data = ShardDataset(dataset, split)
        shown = PLAIN if data.is_plain else AUGMENTED
        n, pairs = _plain_pairs(predictor, data) if data.is_plain else _sample_pairs(predictor, data)
    else:
        stack = Path(images), Path(labels)
        shown, (n, pairs) = WHOLE, _slice_pairs(predictor, Path(dataset), split, *stack)
    watched = track(pairs, progress or SilentProgress(), "scoring", n, unit=shown.split()[-1])
    return Evaluation(score_slices(watched), split, shown, trained_on, _two_classes(Path(dataset)))


def _two_classes(dataset: Path) -> tuple[str, ...]:
    """Return what the background is called, and all other classes together; empty where that is not known."""
    from pipeline.source.known_stacks import class_names

    names = class_names(open_dataset(dataset).record.inputs)
    return names if len(names) < 3 else (names[0], f"all but {names[0]}")


def require_place(out: Path, stack: Path, *, overwrite: bool) -> None:
    """Refuse a place where the prediction of a stack would destroy something, or be taken for something else.

    Raises:
        ConfigError: it is such a place.
    """
    if out.exists() and stack.exists() and out.samefile(stack):
        raise ConfigError(f"{out}: is the stack itself; name another file for the prediction")
    if out.is_dir() or not out.name:
        raise ConfigError(f"{out}: is a folder; name a file for the prediction")
    if out.suffix.lower() not in _TIFF_SUFFIXES:
        raise ConfigError(f"{out}: expected a name that ends in .tif or .tiff, as the prediction is a TIFF stack")
    if out.exists() and not out.is_file():
        raise ConfigError(f"{out}: is no plain file; name another one for the prediction")
    if (out.exists() or out.is_symlink()) and not overwrite:
        raise ConfigError(f"{out}: is there already; name another file for the prediction, or --overwrite it")


def as_levels(image: NDArray[Any]) -> NDArray[Any]:
    """Return a slice in the gray levels that a build makes of it: bits are 0 and 255, int8 int16, float16 float32."""
    if image.dtype == np.bool_:
        return np.where(image, np.uint8(255), np.uint8(0))
    wider = {"float16": np.float32, "int8": np.int16}.get(image.dtype.name)
    return image if wider is None else image.astype(wider)


def mirrored(start: int, n: int, side: int) -> Tensor:
    """Return which pixels of a row of `side` lie at start, start + 1, ..., n of them, mirrored at both ends."""
    place = torch.arange(start, start + n) % (2 * side)
    return torch.where(place < side, place, 2 * side - 1 - place)


def _plain_pairs(predictor: Predictor, data: ShardDataset) -> tuple[int, Iterable[_Pair]]:
    """Return how many slices a plain split shows, and prediction and label of each, whole."""
    return len(data.firsts), ((predictor(_channels_last(s["image"])), _truth(s["label"], data)) for s in data.slices())


def _sample_pairs(predictor: Predictor, data: ShardDataset) -> tuple[int, Iterable[_Pair]]:
    """Return how many samples there are, and prediction and label of each, where training scores them."""
    config = predictor.run.config
    valid = config.network.padding == "valid"
    target = config.target or (config.network.output_side(config.crop) if valid else 0)
    samples = (data[index] for index in range(len(data)))

    return len(data), (
        (centre(predictor(_channels_last(s["image"])), target), centre(_truth(s["label"], data), target))
        for s in samples
    )


def _truth(label: NDArray[Any], data: ShardDataset) -> NDArray[Any]:
    return label if data.ignore is None else np.ma.masked_equal(label, data.ignore)


def _channels_last(image: NDArray[Any]) -> NDArray[Any]:
    return image if image.ndim == 2 else np.moveaxis(image, 0, -1)


def _slice_pairs(
    predictor: Predictor, dataset: Path, split: str, images: Path, labels: Path
) -> tuple[int, Iterable[_Pair]]:
    """Return how many slices of a stack are in the split, and prediction and label of each."""
    from pipeline.source.label_values import as_labels, is_one_of, label_dtype

    record = open_dataset(dataset).record
    gray = open_images(images, record.inputs[0].images.channels or (), record.reading)
    truth = open_labels(labels, are_colors=record.inputs[0].labels.colors is not None)
    found, known = _digest(map(as_levels, gray), gray.shape, as_levels(np.empty(0, gray.dtype)).dtype), record.inputs
    stack = next((number for number, pair in enumerate(known) if pair.images.sha256 == found), None)
    if stack is None:
        made_of = ", ".join(pair.images.sha256[:12] for pair in known)
        raise ConfigError(
            f"{images}: its pixels have the digest {found[:12]}, the dataset was made of {made_of}; take that stack"
        )
    dtype, expected = label_dtype(truth, truth.dtype), known[stack].labels.sha256
    found = _digest((as_labels(label, dtype) for label in truth), truth.shape, dtype)
    if found != expected:
        raise ConfigError(f"{labels}: its pixels have the digest {found[:12]}, the dataset's labels {expected[:12]}")
    there = record.split.slices
    slices = [z for part in there.get(split, ()) if part.stack == stack for z in part.z]
    if not slices:
        raise ConfigError(f"{dataset}: no slice of {images.name} is in {split}; it has {', '.join(there)}")
    if context := record.config.context:
        gray = ContextSlices(gray, lambda z: neighbours(known[stack], z, context), context)
    background = 0 if record.label_kind == "instances" else record.classes[0].value
    ignored = known[stack].labels.ignored

    def cells(label: NDArray[Any]) -> NDArray[Any]:
        found = label != background
        return found if ignored is None else np.ma.array(found, mask=is_one_of(label, ignored))

    return len(slices), ((predictor(gray[z]), cells(as_labels(truth[z], dtype))) for z in slices)


def _count_trained_on(run: Run, dataset: Path, split: str) -> int:
    """Return how many slices of a split the network was trained on; refuse any, but for the split `train`."""
    opened = open_dataset(dataset)
    shown = {sha256 for row in opened[split].manifest for _, sha256 in row.shown}
    seen = shown & set(run.division.trained_on)
    seen -= blank_digests(opened.record) if seen else set()
    if seen and split != "train":
        raise ConfigError(
            f"{dataset}: {split} shows {len(seen)} slices that the network of {run.folder} was trained on; "
            "evaluate it on the dataset of its run"
        )
    return len(seen)


def _digest(slices: Iterable[NDArray[Any]], shape: tuple[int, ...], dtype: np.dtype[Any]) -> str:
    digest = StackDigest(shape, dtype)
    for image in slices:
        digest.update(image)
    return digest.hexdigest()


def _input_side(network: UNet, tile: int, front: int) -> int:
    """Return the side of the input for a tile of the result of that side."""
    config = network.config
    if config.padding == "same":
        return tile + 2 * front
    return config.input_side(tile + config.halo - config.reach)
