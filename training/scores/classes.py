"""Scores of classified pixels: each is one function of the confusion matrix, which may be the sum of several."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.scores.regions import ratio

Matrix = NDArray[np.int64]


def confusion_matrix(
    found: NDArray[Any], truth: NDArray[Any], n_classes: int, counted: NDArray[np.bool_] | None = None
) -> Matrix:
    """Return how many pixels of each class (row) were taken for each class (column), (K, K).

    Args:
        found: predicted class indices, 0 to K - 1, of any shape.
        truth: those of the label, of the same shape.
        n_classes: K.
        counted: where pixels count; None where all do.
    """
    if counted is not None:
        found, truth = found[counted], truth[counted]
    codes = truth.ravel().astype(np.int64) * n_classes + found.ravel()
    return np.bincount(codes, minlength=n_classes * n_classes).reshape(n_classes, n_classes)


def dice_by_class(matrix: Matrix) -> tuple[float | None, ...]:
    """Return the Dice coefficient of every class: twice the hits over the pixels that label and prediction give it.

    None for a class that is neither in the labels nor predicted: there is nothing to tell of it.
    """
    hits, sizes = matrix.diagonal(), matrix.sum(axis=0) + matrix.sum(axis=1)
    return tuple(2 * int(hit) / int(size) if size else None for hit, size in zip(hits, sizes, strict=True))


def iou_by_class(matrix: Matrix) -> tuple[float | None, ...]:
    """Return the intersection over union of every class; None for one that is neither in the labels nor predicted."""
    hits, sizes = matrix.diagonal(), matrix.sum(axis=0) + matrix.sum(axis=1) - matrix.diagonal()
    return tuple(int(hit) / int(size) if size else None for hit, size in zip(hits, sizes, strict=True))


def mean_of_foreground(scores: tuple[float | None, ...]) -> float:
    """Return the mean over all classes but the first, of those that have a score; 1 where none has.

    So a class that is nowhere flatters nothing, and nothing that was found where nothing was is perfect.
    """
    known = [score for score in scores[1:] if score is not None]
    return float(np.mean(known)) if known else 1.0


def share_misclassified(matrix: Matrix) -> float:
    """Return the share of pixels that were taken for another class; 0 where there are none."""
    return 1 - ratio(int(matrix.diagonal().sum()), int(matrix.sum()))


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassScores:
    """How well pixels of several classes were told apart; counts are pooled over all slices.

    Attributes:
        dice: of each class, in the order of their indices.
        iou: of each class.
        mean_iou: over the classes but the first that are in the labels or predicted.
        accuracy: share of the pixels that have their own class.
        confusion: how many pixels of each class (row) were taken for each class (column).
    """

    dice: tuple[float | None, ...]
    iou: tuple[float | None, ...]
    mean_iou: float
    accuracy: float
    confusion: tuple[tuple[int, ...], ...]

    def as_dict(self, names: Sequence[str]) -> dict[str, Any]:
        """Return plain values, for JSON.

        Args:
            names: of the classes, in the order of their indices.
        """
        return {
            "mean_iou": self.mean_iou,
            "accuracy": self.accuracy,
            "dice": dict(zip(names, self.dice, strict=True)),
            "iou": dict(zip(names, self.iou, strict=True)),
            "confusion": [list(row) for row in self.confusion],
        }


def score_classes(matrix: Matrix) -> ClassScores:
    """Return all scores of a confusion matrix."""
    iou = iou_by_class(matrix)
    return ClassScores(
        dice=dice_by_class(matrix),
        iou=iou,
        mean_iou=mean_of_foreground(iou),
        accuracy=1 - share_misclassified(matrix),
        confusion=tuple(map(tuple, matrix.astype(np.int64).tolist())),
    )
