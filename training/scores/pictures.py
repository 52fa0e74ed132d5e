"""Predictions and labels of any kind, picture by picture: the scores that belong to the kind, and their intervals."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.scores.bootstrap import Sums, confidence_intervals
from training.scores.challenge import ScoreError, finish, measure_slice
from training.scores.classes import confusion_matrix
from training.scores.objects import measure_objects
from training.scores.regions import label_cells

# Scores that have a confidence interval.
WITH_INTERVAL = (
    "pixel_error", "misclassified", "iou_cell", "iou_membrane", "v_rand", "v_info", "warping_error",
    "adapted_rand_error", "mean_dice", "mean_iou", "accuracy", "ap_50", "ap_75", "mean_ap", "seg", "pq",
)  # fmt: skip
_MEANINGS = {
    "pixel_error": "1 - best F-score of {foreground} pixels over thresholds 0 to 1, pooled",
    "misclassified": "share of wrong pixels at 0.5, pooled",
    "iou_cell": "of {foreground} pixels at 0.5, pooled",
    "iou_membrane": "of {background} pixels at 0.5, pooled",
    "v_rand": "after border thinning, mean of slices, best threshold",
    "v_info": "after border thinning, mean of slices, best threshold",
    "warping_error": "splits and mergers a pixel, best threshold, pooled",
    "adapted_rand_error": "of {objects}, mean of slices",
    "mean_dice": "of {dice}, pooled",
    "mean_iou": "of the foreground classes, pooled",
    "accuracy": "share of pixels with their own class, pooled",
    "ap_50": "average precision of objects at an IoU of 0.5, pooled",
    "ap_75": "average precision of objects at an IoU of 0.75, pooled",
    "mean_ap": "average precision of objects, mean of IoU 0.50, 0.55, ..., 0.95, pooled",
    "seg": "SEG of the Cell Tracking Challenge, mean of the labels' objects",
    "pq": "panoptic quality of objects, pooled",
    "voi_split": "bits of variation of information by splits, mean of slices",
    "voi_merge": "bits of variation of information by mergers, mean of slices",
}


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """What was predicted for a slice or a sample, beside its label; every array is (Y, X).

    Attributes:
        probability: of foreground, in 0..1.
        label: 0 = background, else the index of a class or the id of an object.
        counted: where the label means something; None where it does everywhere.
        classes: predicted class indices, where labels are of several classes.
        ids: predicted ids, where labels are ids; None: the 4-connected regions above 0.5.
    """

    probability: NDArray[np.float32]
    label: NDArray[Any]
    counted: NDArray[np.bool_] | None = None
    classes: NDArray[Any] | None = None
    ids: NDArray[Any] | None = None


def measure_picture(picture: Picture, kind: str, n_classes: int = 2, where: str = "slice") -> Sums:
    """Return what a picture adds to the scores of its kind, to be added up and given to `finish`.

    Args:
        picture: the prediction and its label.
        kind: of the labels: `binary`, `classes` or `instances`.
        n_classes: of labels of several classes, the background included.
        where: what to call the picture.

    Raises:
        ScoreError: the shapes differ, or the prediction is not in 0..1.
    """
    counted, label = picture.counted, picture.label
    masked = label if counted is None else np.ma.array(label, mask=~counted)
    if kind != "instances":
        sums = measure_slice(picture.probability, masked, where=where)
        if kind == "binary":
            return sums
        found = picture.probability > 0.5 if picture.classes is None else picture.classes
        return {**sums, "confusion": confusion_matrix(found, label, n_classes, counted)}
    sums = measure_slice(picture.probability, masked, ids=label, found=picture.ids, where=where)
    ids = label_cells(np.asarray(picture.probability) > 0.5) if picture.ids is None else picture.ids
    return {**sums, **measure_objects(ids, label, counted)}


def find_intervals(parts: Sequence[Sums], slices: Sequence[Hashable]) -> dict[str, tuple[float, float]]:
    """Return the 95 % confidence interval of every score that has one; empty where there is one slice alone.

    Args:
        parts: what each picture adds.
        slices: which slice each of them shows.
    """

    def score(sums: Sums) -> dict[str, float]:
        try:
            values = finish(sums).as_dict()
        except ScoreError:  # slices of which no pixel counts
            return {}
        return {name: values[name] for name in WITH_INTERVAL if name in values}

    return confidence_intervals(parts, slices, score)


def score_lines(report: Mapping[str, Any]) -> list[str]:
    """Return a line for each score of a report, with its class, threshold and pooling.

    A report may have `classes`: what they are called; of two, they are background and foreground.
    """
    names = report.get("classes", ())
    background, foreground = names if len(names) == 2 else ("background", "foreground")
    said = {
        "background": background,
        "foreground": foreground,
        "objects": "ids" if "seg" in report else f"4-connected {foreground} at 0.5",
        "dice": f"{foreground} at 0.5" if "dice" not in report else "the foreground classes",
    }
    lines = []
    for name, meaning in _MEANINGS.items():
        if name in report:
            threshold = report.get(f"{name}_threshold")
            at = "" if threshold is None else f" ({threshold:.1f})"
            lines.append(f"{name:<20}{report[name]:.5f}   {meaning.format(**said)}{_interval(report, name)}{at}")
    for name, dice in report.get("dice", {}).items():
        scores = "neither labelled nor predicted" if dice is None else f"Dice {dice:.5f}, IoU {report['iou'][name]:.5f}"
        lines.append(f"{'class':<20}{name}: {scores}")
    if "objects" in report:
        lines.append(f"{'objects':<20}{report['objects']} labelled, {report['objects_found']} predicted")
    return [*lines, f"{'scored':<20}{report['n']} {report.get('shown', 'slices')}"]


def _interval(report: Mapping[str, Any], name: str) -> str:
    low_high = report.get("intervals", {}).get(name)
    return "" if low_high is None else f", 95 % of slices {low_high[0]:.4f} to {low_high[1]:.4f}"
