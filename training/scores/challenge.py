"""Scores of predicted cell probabilities against labels, as the ISBI 2012 EM challenge computes them.

Arganda-Carreras et al. 2015, "Crowdsourcing the creation of image segmentation algorithms for connectomics"
(doi:10.3389/fnana.2015.00142). Predictions are float32 probabilities of cell in 0..1; in labels 0 is membrane and
anything else cell. A pixel is predicted as cell if its probability is above the threshold. A ratio of nothing to
nothing is a perfect score: nothing was there to find, and nothing was found.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from itertools import accumulate
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.errors import AugpipeError
from training.objects import find_contact, separated
from training.scores.bootstrap import Sums, add_up
from training.scores.classes import ClassScores, dice_by_class, mean_of_foreground, score_classes
from training.scores.objects import ObjectScores, adapted_rand_error, score_objects
from training.scores.regions import (
    count_splits_and_mergers,
    find_overlap,
    find_overlaps,
    grow_ids,
    info_score,
    label_cells,
    rand_scores,
    ratio,
)

# Added up in float64 as the challenge does: 0.1, 0.2, 0.30000000000000004, ..., 0.9999999999999999.
THRESHOLDS = tuple(accumulate([0.1] * 10, initial=0.0))
_HALF = THRESHOLDS.index(0.5)


def _round_down(threshold: float) -> np.float32:
    """Return the float32 that float32 pixels are above exactly if they are above the float64 threshold."""
    nearest = np.float32(threshold)
    return nearest if float(nearest) <= threshold else np.nextafter(nearest, np.float32(-1))


_FLOORS = np.array([_round_down(threshold) for threshold in THRESHOLDS])


# What a slice adds of which no pixel counts.
_NOTHING: Sums = {
    "n": np.array(0),
    "pixels": np.zeros((2, len(THRESHOLDS) + 1), np.int64),
    **{name: np.zeros(len(THRESHOLDS)) for name in ("v_rand", "v_info")},
    "warping": np.zeros(len(THRESHOLDS) - 1),
    "adapted_rand_error": np.array(0.0),
}


class ScoreError(AugpipeError):
    """A prediction or label that cannot be scored; its text says where, expected, got, what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelScores:
    """How well single pixels were classified; counts are pooled over all slices.

    Attributes:
        pixel_error: 1 minus the best F-score of the cell pixels over all thresholds; 0 is perfect.
        pixel_error_threshold: the lowest threshold with that F-score.
        misclassified: share of pixels on the wrong side of 0.5.
        iou_cell: intersection over union of the cell pixels at 0.5; 1 if there are none, nor predicted any.
        iou_membrane: the same of the membrane pixels.
        pixel_f_curve: F-score of the cell pixels at each of `thresholds`.
    """

    thresholds: ClassVar[tuple[float, ...]] = THRESHOLDS
    pixel_error: float
    pixel_error_threshold: float
    misclassified: float
    iou_cell: float
    iou_membrane: float
    pixel_f_curve: tuple[float, ...]

    def as_dict(self) -> dict[str, float]:
        """Return the scores and their thresholds, without the curves."""
        return {f.name: getattr(self, f.name) for f in fields(self) if not f.name.endswith("_curve")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores(PixelScores):
    """How well pixels and whole cells were found; each `_threshold` is the lowest that gives the best score.

    Attributes:
        n: number of slices.
        v_rand: best mean over slices of the Rand F-score after border thinning; 1 is perfect.
        v_info: best mean over slices of the information-theoretic F-score after border thinning; 1 is perfect.
        warping_error: splits and mergers per pixel that warping leaves, at the best of the first ten thresholds;
            pooled over all slices; 0 is perfect.
        adapted_rand_error: mean over slices of the adapted Rand error of the cells at 0.5, or of the ids where there
            are ids; 0 is perfect.
        mean_dice: mean over the foreground classes of their Dice coefficients, pooled; that of cell where it is one.
        classes: how well several classes were told apart; None where there are two.
        objects: how well single objects were found; None where labels are no ids.
        v_rand_curve: v_rand at each of `thresholds`.
        v_info_curve: v_info at each of `thresholds`.
        warping_curve: warping_error at each of `thresholds` but the last.
    """

    n: int
    v_rand: float
    v_rand_threshold: float
    v_info: float
    v_info_threshold: float
    warping_error: float
    warping_error_threshold: float
    adapted_rand_error: float
    v_rand_curve: tuple[float, ...]
    v_info_curve: tuple[float, ...]
    warping_curve: tuple[float, ...]
    mean_dice: float
    classes: ClassScores | None = None
    objects: ObjectScores | None = None

    def as_dict(self, names: Sequence[str] = ()) -> dict[str, Any]:
        """Return the scores and their thresholds, without the curves.

        Args:
            names: of the classes, in the order of their indices; their indices where it is empty.
        """
        values: dict[str, Any] = PixelScores.as_dict(self)
        parts = values.pop("classes"), values.pop("objects")
        if parts[0] is not None:
            values |= parts[0].as_dict(names or tuple(map(str, range(len(parts[0].dice)))))
        return values if parts[1] is None else values | parts[1].as_dict()


def score_slices(pairs: Iterable[tuple[ArrayLike, ArrayLike]]) -> Scores:
    """Return all scores of (prediction, labels) slices, each (Y, X); only one pair is held in memory at a time.

    Labels may be masked (`numpy.ma`): masked pixels are left out of labels and prediction alike. Those of whole cells
    take them for membrane in both.

    Raises:
        ScoreError: the shapes of a pair differ, there are no pairs, or a prediction is not in 0..1.
    """
    measured = [measure_slice(*pair, where=f"slice {number}") for number, pair in enumerate(pairs)]
    return finish(add_up(measured or [_NOTHING]))


def measure_slice(
    prediction: ArrayLike,
    labels: ArrayLike,
    *,
    ids: NDArray[Any] | None = None,
    found: NDArray[Any] | None = None,
    where: str = "slice",
) -> Sums:
    """Return what a slice adds to the scores, to be added up and given to `finish`.

    Args:
        prediction: (Y, X) probability of cell.
        labels: (Y, X), 0 = membrane, anything else cell; masked pixels do not count.
        ids: which cell each pixel of the labels is of, 0 = none, where cells may touch; None: the 4-connected ones.
        found: which cell each pixel was predicted as, 0 = none; None: the 4-connected ones above each threshold. Where
            such cells touch, they are kept apart for the warping error, as cells of the labels are.
        where: what to call the slice.

    Raises:
        ScoreError: the shapes differ, or the prediction is not in 0..1.
    """
    probability, cells, counted = _check(prediction, labels, where)
    if cells.ndim != 2:
        raise ScoreError(f"{where}: expected a shape of (Y, X), got {cells.shape}; score a stack slice by slice")
    if counted is not None and not counted.any():
        return _NOTHING
    truth = label_cells(cells) if ids is None else _numbered(ids, cells)
    apart = cells if ids is None else separated(truth) > 0
    regions = label_cells(probability > _FLOORS[_HALF]) if found is None else _numbered(found, counted)
    if found is None:
        parted, overlaps = probability, find_overlaps(truth, (probability > floor for floor in _FLOORS))
    else:
        parted = np.where(find_contact(regions), np.float32(0), probability)
        overlaps = [find_overlap(truth[cells], grow_ids(regions)[cells])] * len(THRESHOLDS)
    return {
        "n": np.array(1),
        "pixels": _count(probability, cells, counted),
        "v_rand": np.array([rand_scores(overlap)[2] for overlap in overlaps]),
        "v_info": np.array([info_score(overlap) for overlap in overlaps]),
        "warping": np.array([count_splits_and_mergers(parted, apart, each) for each in THRESHOLDS[:-1]]),
        "adapted_rand_error": np.array(adapted_rand_error(regions, truth)),
    }


def finish(sums: Sums) -> Scores:
    """Return the scores of all slices whose `measure_slice` was added up.

    Raises:
        ScoreError: nothing was counted.
    """
    pixels = pixel_scores(sums["pixels"])
    n_slices = int(sums["n"])
    v_rand, v_info = sums["v_rand"] / n_slices, sums["v_info"] / n_slices
    matrix = sums.get("confusion", _at_half(sums["pixels"]))
    warping = sums["warping"] / sums["pixels"].sum()
    return Scores(
        **{f.name: getattr(pixels, f.name) for f in fields(pixels)},
        n=n_slices,
        v_rand=float(v_rand.max()),
        v_rand_threshold=THRESHOLDS[v_rand.argmax()],
        v_info=float(v_info.max()),
        v_info_threshold=THRESHOLDS[v_info.argmax()],
        warping_error=float(warping.min()),
        warping_error_threshold=THRESHOLDS[warping.argmin()],
        adapted_rand_error=float(sums["adapted_rand_error"]) / n_slices,
        v_rand_curve=tuple(v_rand.tolist()),
        v_info_curve=tuple(v_info.tolist()),
        warping_curve=tuple(warping.tolist()),
        mean_dice=mean_of_foreground(dice_by_class(matrix)),
        classes=score_classes(matrix) if "confusion" in sums else None,
        objects=score_objects(sums, n_slices) if "objects" in sums else None,
    )


def count_pixels(prediction: ArrayLike, labels: ArrayLike) -> NDArray[np.int64]:
    """Return how many membrane (row 0) and cell pixels (row 1) are above none, one, ..., all of the thresholds.

    Add the counts of several pictures, and `pixel_scores` of the sum are those of all of them. Arrays of any shape;
    masked labels do not count.

    Raises:
        ScoreError: the shapes differ, or the prediction is not in 0..1.
    """
    return _count(*_check(prediction, labels, "pixels"))


def pixel_scores(counts: NDArray[np.int64]) -> PixelScores:
    """Return the scores of single pixels from the sum of their `count_pixels`.

    Raises:
        ScoreError: nothing was counted.
    """
    total = int(counts.sum())
    if not total:
        raise ScoreError("scores: expected at least one slice with pixels, got none; check that the stack is not empty")
    below = counts.cumsum(axis=1)[:, :-1]
    misses = below[1]
    hits = counts[1].sum() - misses
    false_alarms = counts[0].sum() - below[0]
    f_scores = [ratio(2 * h, 2 * h + m + a) for h, m, a in zip(hits, misses, false_alarms, strict=True)]
    wrong = int(misses[_HALF] + false_alarms[_HALF])
    return PixelScores(
        pixel_error=1 - max(f_scores),
        pixel_error_threshold=THRESHOLDS[np.argmax(f_scores)],
        misclassified=wrong / total,
        iou_cell=ratio(hits[_HALF], hits[_HALF] + wrong),
        iou_membrane=ratio(below[0, _HALF], below[0, _HALF] + wrong),
        pixel_f_curve=tuple(f_scores),
    )


def _at_half(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the confusion matrix of membrane and cell at 0.5, from the sum of `count_pixels`."""
    above = counts[:, _HALF + 1 :].sum(axis=1)
    return np.stack([counts.sum(axis=1) - above, above], axis=1)


def _numbered(ids: NDArray[Any], where: NDArray[np.bool_] | None) -> NDArray[np.int32]:
    """Return ids as 1, 2, ... in rising order, 0 where they are 0 and wherever `where` does not hold."""
    kept = ids if where is None else np.where(where, ids, ids.dtype.type(0))
    values, places = np.unique(kept, return_inverse=True)
    return np.asarray(places + (values[0] != 0), np.int32)


def _count(
    probability: NDArray[np.float32], cells: NDArray[np.bool_], counted: NDArray[np.bool_] | None
) -> NDArray[np.int64]:
    """Return the (2, 12) counts of checked arrays."""
    n_bins = len(THRESHOLDS) + 1
    if counted is not None:
        probability, cells = probability[counted], cells[counted]
    bins = np.searchsorted(_FLOORS, probability.ravel(), side="left")
    bins += n_bins * cells.ravel()
    return np.bincount(bins, minlength=2 * n_bins).reshape(2, n_bins)


def _check(
    prediction: ArrayLike, labels: ArrayLike, where: str
) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_] | None]:
    """Return the prediction as float32, which pixels are labelled as cell, and which count; None where all do.

    Those that do not count are predicted and labelled as membrane.
    """
    probability, label = np.asarray(prediction, np.float32), np.asarray(labels)
    if probability.shape != label.shape or not label.size:
        raise ScoreError(
            f"{where}: expected labels and prediction of the same shape with pixels in it, got labels {label.shape}, "
            f"prediction {probability.shape}; crop both to the same window"
        )
    low, high = probability.min(), probability.max()
    if not (low >= 0 and high <= 1):  # also if one of them is NaN
        raise ScoreError(
            f"{where}: expected probabilities of cell in 0..1, got {low:g}..{high:g}; "
            "apply the sigmoid or softmax to logits, divide 8-bit values by 255"
        )
    if np.isnan(label).any():
        raise ScoreError(f"{where}: expected labels without NaN, got some; 0 is membrane, anything else cell")
    if not isinstance(labels, np.ma.MaskedArray):
        return probability, label != 0, None
    counted = ~np.ma.getmaskarray(labels)
    return np.where(counted, probability, np.float32(0)), (label != 0) & counted, counted
