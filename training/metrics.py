"""Scores of predicted cell probabilities against labels, as the ISBI 2012 EM challenge computes them.

Arganda-Carreras et al. 2015, "Crowdsourcing the creation of image segmentation algorithms for connectomics"
(doi:10.3389/fnana.2015.00142). Predictions are float32 probabilities of cell in 0..1; in labels 0 is membrane and
anything else cell. A pixel is predicted as cell if its probability is above the threshold. A ratio of nothing to
nothing is a perfect score: nothing was there to find, and nothing was found.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import accumulate
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.errors import AugpipeError, ConfigError
from pipeline.shards.progress import Progress, SilentProgress, track
from training.regions import adapted_rand_error, count_splits_and_mergers, find_overlaps, info_score, rand_scores, ratio

# Added up in float64 as the challenge does: 0.1, 0.2, 0.30000000000000004, ..., 0.9999999999999999.
THRESHOLDS = tuple(accumulate([0.1] * 10, initial=0.0))
_HALF = THRESHOLDS.index(0.5)
_MEANINGS = {
    "pixel_error": "1 - best F-score of {foreground} pixels over thresholds 0 to 1, pooled",
    "misclassified": "share of wrong pixels at 0.5, pooled",
    "iou_cell": "of {foreground} pixels at 0.5, pooled",
    "iou_membrane": "of {background} pixels at 0.5, pooled",
    "v_rand": "after border thinning, mean of slices, best threshold",
    "v_info": "after border thinning, mean of slices, best threshold",
    "warping_error": "splits and mergers a pixel, best threshold, pooled",
    "adapted_rand_error": "of 4-connected {foreground} at 0.5, mean of slices",
}


def _round_down(threshold: float) -> np.float32:
    """Return the float32 that float32 pixels are above exactly if they are above the float64 threshold."""
    nearest = np.float32(threshold)
    return nearest if float(nearest) <= threshold else np.nextafter(nearest, np.float32(-1))


_FLOORS = np.array([_round_down(threshold) for threshold in THRESHOLDS])


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
        adapted_rand_error: mean over slices of the adapted Rand error of the cells at 0.5; 0 is perfect.
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


def score(
    prediction: Path | str, labels: Path | str, *, ignore: Sequence[int] = (), progress: Progress | None = None
) -> Scores:
    """Return the scores of one TIFF stack against another, of whatever predicted it.

    Args:
        prediction: (Z, Y, X) probability of cell: float in 0..1, or unsigned integers, whose largest value means 1.
        labels: (Z, Y, X), 0 = membrane, anything else cell.
        ignore: values of the labels that mean nothing; such pixels are left out.
        progress: its progress callback.

    Raises:
        ConfigError: a file is not there, or the stacks do not fit each other.
        SourceError: a file cannot be read.
        ScoreError: the prediction is not in 0..1.
    """
    from pipeline.source.label_values import is_one_of
    from pipeline.source.tiff import open_stack

    found, truth = open_stack(Path(prediction)), open_stack(Path(labels), labels=True)
    if found.shape != truth.shape:
        raise ConfigError(f"{prediction}: expected the shape of the labels, {truth.shape}, got {found.shape}")
    whole = np.float32(np.iinfo(found.dtype).max if found.dtype.kind == "u" else 1)
    known = (np.ma.array(label, mask=is_one_of(label, ignore)) if ignore else label for label in truth)
    pairs = ((image.astype(np.float32) / whole, label) for image, label in zip(found, known, strict=True))
    return score_slices(track(pairs, progress or SilentProgress(), "scoring", len(found), unit="slices"))


def score_lines(report: Mapping[str, Any]) -> list[str]:
    """Return a line for each score of a report, with its class, threshold and pooling.

    A report may have `classes`: what background and foreground are called, which are the membranes and cells of EM.
    """
    background, foreground = report.get("classes", ("background", "foreground"))
    lines = []
    for name, meaning in _MEANINGS.items():
        threshold = report.get(f"{name}_threshold")
        at = "" if threshold is None else f" ({threshold:.1f})"
        said = meaning.format(background=background, foreground=foreground)
        lines.append(f"{name:<20}{report[name]:.5f}   {said}{at}")
    return [*lines, f"{'scored':<20}{report['n']} {report.get('shown', 'slices')}"]


def score_slices(pairs: Iterable[tuple[ArrayLike, ArrayLike]]) -> Scores:
    """Return all scores of (prediction, labels) slices, each (Y, X); only one pair is held in memory at a time.

    Labels may be masked (`numpy.ma`): masked pixels are left out of labels and prediction alike. Those of whole cells
    take them for membrane in both.

    Raises:
        ScoreError: the shapes of a pair differ, there are no pairs, or a prediction is not in 0..1.
    """
    counts = np.zeros((2, len(THRESHOLDS) + 1), np.int64)
    v_rand, v_info = np.zeros((2, len(THRESHOLDS)))
    warping = np.zeros(len(THRESHOLDS) - 1)
    adapted, n_slices = 0.0, 0
    for prediction, labels in pairs:
        where = f"slice {n_slices}"
        probability, cells, counted = _check(prediction, labels, where)
        if cells.ndim != 2:
            raise ScoreError(f"{where}: expected a shape of (Y, X), got {cells.shape}; score a stack slice by slice")
        counts += _count(probability, cells, counted)
        overlaps = find_overlaps(cells, (probability > floor for floor in _FLOORS))
        v_rand += [rand_scores(overlap)[2] for overlap in overlaps]
        v_info += [info_score(overlap) for overlap in overlaps]
        warping += [count_splits_and_mergers(probability, cells, threshold) for threshold in THRESHOLDS[:-1]]
        adapted += adapted_rand_error(probability > _FLOORS[_HALF], cells)
        n_slices += 1
    pixels = pixel_scores(counts)
    v_rand, v_info, warping = v_rand / n_slices, v_info / n_slices, warping / counts.sum()
    return Scores(
        **{f.name: getattr(pixels, f.name) for f in fields(pixels)},
        n=n_slices,
        v_rand=float(v_rand.max()),
        v_rand_threshold=THRESHOLDS[v_rand.argmax()],
        v_info=float(v_info.max()),
        v_info_threshold=THRESHOLDS[v_info.argmax()],
        warping_error=float(warping.min()),
        warping_error_threshold=THRESHOLDS[warping.argmin()],
        adapted_rand_error=adapted / n_slices,
        v_rand_curve=tuple(v_rand.tolist()),
        v_info_curve=tuple(v_info.tolist()),
        warping_curve=tuple(warping.tolist()),
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
