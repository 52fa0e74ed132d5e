"""Scores of a network on a split, and of any prediction, against the labels."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.shards import ConfigError, StackDigest, open_dataset
from training.dataset import ShardDataset
from training.losses import centre
from training.metrics import Scores, score_slices
from training.predict import Predictor

_Pair = tuple[NDArray[np.float32], NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Scores, and what they are the scores of: `n` samples or slices of a split, augmented or as they are."""

    scores: Scores
    split: str
    shown: str
    n: int

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {**self.scores.as_dict(), "split": self.split, "shown": self.shown, "n": self.n}


def evaluate_samples(predictor: Predictor, dataset: Path, split: str) -> Evaluation:
    """Return the scores on a split's samples, augmented as they are; the centre that training scores counts.

    Raises:
        ConfigError: there is no such split.
        DatasetError: the dataset cannot be read.
    """
    data = ShardDataset(dataset, split)
    target = predictor.run.config.target

    def pairs() -> Iterator[_Pair]:
        for index in range(len(data)):
            sample = data[index]
            parts = (torch.from_numpy(predictor(sample.image)), torch.from_numpy(sample.label))
            probability, label = (centre(part, target).numpy() for part in parts)
            yield probability, label

    return Evaluation(score_slices(pairs()), split, "augmented samples", len(data))


def evaluate_slices(predictor: Predictor, dataset: Path, split: str, images: Path, labels: Path) -> Evaluation:
    """Return the scores on a split's slices as they lie in the stack, whole and not augmented.

    Args:
        predictor: the network.
        dataset: says which slices are the split's.
        split: `train`, `val` or `test`.
        images: the stack (Z, Y, X), a TIFF file.
        labels: its labels.

    Raises:
        ConfigError: the stack is none of the dataset's, or no slice of it is in the split.
        SourceError: a stack cannot be read.
    """
    from pipeline.tiff import open_stack

    record = open_dataset(dataset).record.values
    pictures, truth = open_stack(images), open_stack(labels, labels=True)
    try:
        stack = _find_stack(record["inputs"], pictures, images)
        _require_labels(record["inputs"][stack]["labels"], truth, labels)
        slices = [z for part in record["split"]["slices"].get(split, []) if part["stack"] == stack for z in part["z"]]
        if not slices:
            raise ConfigError(f"{dataset}: no slice of {images.name} is in {split}; it has {_splits(record)}")
        background = 0 if record["label_kind"] == "instances" else record["classes"][0]["value"]
        scores = score_slices((predictor(pictures[z]), truth[z] != background) for z in slices)
    finally:
        pictures.close()
        truth.close()
    return Evaluation(scores, split, "whole slices", len(slices))


def score_files(prediction: Path, labels: Path) -> tuple[Scores, int]:
    """Return the scores of one TIFF stack against another, and their number of slices.

    Args:
        prediction: (Z, Y, X) probability of cell: float in 0..1, or unsigned integers, whose largest value means 1.
        labels: (Z, Y, X), 0 = membrane, anything else cell.

    Raises:
        ConfigError: a file is not there.
        SourceError: a file cannot be read.
        ScoreError: the stacks do not fit each other.
    """
    from pipeline.tiff import open_stack

    found, truth = open_stack(prediction), open_stack(labels, labels=True)
    try:
        if found.shape != truth.shape:
            raise ConfigError(f"{prediction}: expected the shape of the labels, {truth.shape}, got {found.shape}")
        whole = float(np.iinfo(found.dtype).max) if found.dtype.kind == "u" else 1.0
        pairs = (
            (image.astype(np.float32) / np.float32(whole), label) for image, label in zip(found, truth, strict=True)
        )
        return score_slices(pairs), len(found)
    finally:
        found.close()
        truth.close()


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
    found = _digest(stack)
    if found != expected["sha256"]:
        raise ConfigError(
            f"{path}: its pixels have the digest {found[:12]}, the dataset's labels {expected['sha256'][:12]}"
        )


def _digest(stack: Any) -> str:
    digest = StackDigest(stack.shape, stack.dtype)
    for image in stack:
        digest.update(image)
    return digest.hexdigest()


def _splits(record: Mapping[str, Any]) -> str:
    return ", ".join(record["split"]["slices"])
