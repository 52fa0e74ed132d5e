"""Scores of a network on a split of a dataset."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.errors import ConfigError
from pipeline.shards import StackDigest, open_dataset
from training.dataset import ShardDataset
from training.losses import centre
from training.metrics import Scores, score_slices
from training.predict import Predictor, as_levels
from training.progress import Told, counted, untold

_Pair = tuple[NDArray[np.float32], NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Scores, and what of: `n` samples or slices of a split, which show `trained_on` slices that were trained on."""

    scores: Scores
    split: str
    shown: str
    n: int
    trained_on: int

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {
            **self.scores.as_dict(),
            "split": self.split,
            "shown": self.shown,
            "n": self.n,
            "trained_on": self.trained_on,
        }


def evaluate_samples(predictor: Predictor, dataset: Path, split: str, *, told: Told = untold) -> Evaluation:
    """Return the scores on a split's samples, augmented as they are; the centre that training scores counts.

    Args:
        predictor: the network.
        dataset: the folder of the dataset.
        split: `train`, `val` or `test`.
        told: is told about every sample.

    Raises:
        ConfigError: there is no such split, or it is not `train` and shows slices that the network was trained on.
        DatasetError: the dataset cannot be read.
    """
    data = ShardDataset(dataset, split)
    trained_on = _count_trained_on(predictor, dataset, split)
    config = predictor.run.config
    valid = config.network.padding == "valid"
    target = config.target or (config.network.output_side(config.crop) if valid else 0)

    def pairs() -> Iterator[_Pair]:
        for index in range(len(data)):
            sample = data[index]
            parts = (torch.from_numpy(predictor(sample.image)), torch.from_numpy(sample.label))
            probability, label = (centre(part, target).numpy() for part in parts)
            yield probability, label

    return Evaluation(
        score_slices(counted(pairs(), len(data), told)), split, "augmented samples", len(data), trained_on
    )


def evaluate_slices(
    predictor: Predictor, dataset: Path, split: str, images: Path, labels: Path, *, told: Told = untold
) -> Evaluation:
    """Return the scores on a split's slices as they lie in the stack, whole and not augmented.

    Args:
        predictor: the network.
        dataset: says which slices are the split's.
        split: `train`, `val` or `test`.
        images: the stack (Z, Y, X), a TIFF file.
        labels: its labels.
        told: is told about every slice.

    Raises:
        ConfigError: the stack is none of the dataset's, no slice of it is in the split, or the split is not `train` and
            shows slices that the network was trained on.
        SourceError: a stack cannot be read.
    """
    from pipeline.source.tiff import open_stack

    record = open_dataset(dataset).record.values
    trained_on = _count_trained_on(predictor, dataset, split)
    pictures, truth = open_stack(images), open_stack(labels, labels=True)
    stack = _find_stack(record["inputs"], pictures, images)
    _require_labels(record["inputs"][stack]["labels"], truth, labels)
    slices = [z for part in record["split"]["slices"].get(split, []) if part["stack"] == stack for z in part["z"]]
    if not slices:
        raise ConfigError(f"{dataset}: no slice of {images.name} is in {split}; it has {_splits(record)}")
    background = 0 if record["label_kind"] == "instances" else record["classes"][0]["value"]
    pairs = ((predictor(pictures[z]), truth[z] != background) for z in slices)
    scores = score_slices(counted(pairs, len(slices), told))
    return Evaluation(scores, split, "whole slices", len(slices), trained_on)


def _count_trained_on(predictor: Predictor, dataset: Path, split: str) -> int:
    """Return how many slices of a split the network was trained on; refuse any, but for the split `train`."""
    known = set(predictor.run.division.trained_on)
    seen = {row.source_sha256 for row in open_dataset(dataset)[split].manifest} & known
    if seen and split != "train":
        raise ConfigError(
            f"{dataset}: {split} shows {len(seen)} slices that the network of {predictor.run.folder} was trained on; "
            "evaluate it on the dataset of its run"
        )
    return len(seen)


def _find_stack(inputs: list[dict[str, Any]], stack: Any, path: Path) -> int:
    """Return the number of the dataset's stack that has these very pixels."""
    found = _digest(stack)
    for number, pair in enumerate(inputs):
        if pair["images"]["sha256"] == found:
            return number
    known = ", ".join(pair["images"]["sha256"][:12] for pair in inputs)
    raise ConfigError(
        f"{path}: its pixels have the digest {found[:12]}, the dataset was made of {known}; take that stack"
    )


def _require_labels(expected: dict[str, Any], stack: Any, path: Path) -> None:
    digest = StackDigest(stack.shape, stack.dtype)
    for label in stack:
        digest.update(label)
    found = digest.hexdigest()
    if found != expected["sha256"]:
        raise ConfigError(
            f"{path}: its pixels have the digest {found[:12]}, the dataset's labels {expected['sha256'][:12]}"
        )


def _digest(stack: Any) -> str:
    digest = StackDigest(stack.shape, as_levels(np.empty(0, stack.dtype)).dtype)
    for image in stack:
        digest.update(as_levels(image))
    return digest.hexdigest()


def _splits(record: Mapping[str, Any]) -> str:
    return ", ".join(record["split"]["slices"])
