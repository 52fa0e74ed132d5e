"""Scores of single objects: predicted ids against those of the labels; each is one function of a slice's overlap.

In both, 0 is background and every other value one object, in however many parts. Which number an object has does not
matter. Pixels that do not count are left out of both, so that an object is what is left of it, or nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from training.scores.bootstrap import Sums
from training.scores.regions import ratio

# At which overlaps objects count as found, as StarDist and Cellpose go through them.
IOU_THRESHOLDS = tuple(number / 100 for number in range(50, 100, 5))


class ObjectOverlap(NamedTuple):
    """How many pixels the objects of a label and of a prediction have, and share.

    Attributes:
        truth: size of each object of the label, (N,).
        found: size of each predicted object, (M,).
        pairs: numbers of a true and of a predicted object that share any pixels, (P, 2).
        shared: how many pixels each of these pairs shares, (P,).
    """

    truth: NDArray[np.int64]
    found: NDArray[np.int64]
    pairs: NDArray[np.int64]
    shared: NDArray[np.int64]

    @property
    def iou(self) -> NDArray[np.float64]:
        """Intersection over union of each of the pairs."""
        one, other = self.truth[self.pairs[:, 0]], self.found[self.pairs[:, 1]]
        return np.asarray(self.shared / (one + other - self.shared))


def find_object_overlap(
    found: NDArray[Any], truth: NDArray[Any], counted: NDArray[np.bool_] | None = None
) -> ObjectOverlap:
    """Return the overlap of predicted ids with those of a label, of any shape, the same for both.

    Args:
        found: predicted ids; 0 is background.
        truth: ids of the label; 0 is background.
        counted: where pixels count; None where all do.
    """
    ids, table, sizes = [], [], []
    for each in (truth, found):
        values, places, counts = np.unique(
            each.ravel() if counted is None else each[counted], return_inverse=True, return_counts=True
        )
        ids.append(values)
        table.append(places)
        sizes.append(counts)
    codes, shared = np.unique(table[0] * np.int64(ids[1].size) + table[1], return_counts=True)
    pairs = np.stack(np.divmod(codes, max(ids[1].size, 1)), axis=1)
    skipped = [int(values.size > 0 and values[0] == 0) for values in ids]
    inside = (pairs >= skipped).all(axis=1)
    return ObjectOverlap(
        sizes[0][skipped[0] :].astype(np.int64),
        sizes[1][skipped[1] :].astype(np.int64),
        (pairs - skipped)[inside].astype(np.int64),
        shared[inside].astype(np.int64),
    )


def count_matches(overlap: ObjectOverlap, *, thresholds: Sequence[float] = IOU_THRESHOLDS) -> NDArray[np.int64]:
    """Return how many objects are found at each threshold: the most pairs of that overlap or more, each object once.

    As `stardist.matching` and `cellpose.metrics` count them. Above 0.5 an object can have one partner alone.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import maximum_bipartite_matching

    iou, shape = overlap.iou, (overlap.truth.size, overlap.found.size)
    counts = []
    for threshold in thresholds:
        near = overlap.pairs[iou >= threshold]
        graph = coo_array((np.ones(len(near), np.int8), tuple(near.T)), shape=shape).tocsr()
        counts.append(int((maximum_bipartite_matching(graph) >= 0).sum()) if len(near) else 0)
    return np.array(counts, np.int64)


def average_precision(matches: int, n_truth: int, n_found: int) -> float:
    """Return the share of matches among all true and predicted objects: TP / (TP + FP + FN).

    So StarDist (`accuracy`) and Cellpose (`average_precision`) call it; the counts of several slices may be added up
    before, as StarDist does. It is 1 if there are no objects, nor predicted any, where these say 0.
    """
    return ratio(matches, n_truth + n_found - matches)


def panoptic_sum(overlap: ObjectOverlap) -> float:
    """Return the sum of the IoU of all pairs above 0.5, each of which is the only one of its two objects."""
    iou = overlap.iou
    return float(iou[iou > 0.5].sum())


def panoptic_quality(iou_sum: float, n_truth: int, n_found: int) -> float:
    """Return the panoptic quality of one class, from the sum and the numbers of objects of one or several slices.

    Sum of IoU of the pairs above 0.5 over TP + FP / 2 + FN / 2, which is half of all objects, true and predicted:
    Kirillov et al. 2019, "Panoptic segmentation", doi:10.1109/CVPR.2019.00963. 1 if there are none, nor predicted any.
    """
    return ratio(iou_sum, (n_truth + n_found) / 2)


def segmentation_sum(overlap: ObjectOverlap) -> float:
    """Return the sum over true objects of SEG's Jaccard index; divided by their number it is SEG.

    Of each, the IoU with the predicted object that covers more than half of it, and 0 if there is none: the measure SEG
    of the Cell Tracking Challenge, Maška et al. 2014, doi:10.1093/bioinformatics/btu080. Predicted objects that match
    nothing cost nothing there.
    """
    covered = 2 * overlap.shared > overlap.truth[overlap.pairs[:, 0]]
    return float(overlap.iou[covered].sum())


def adapted_rand_error(found: NDArray[Any], truth: NDArray[Any], counted: NDArray[np.bool_] | None = None) -> float:
    """Return the adapted Rand error of predicted ids, as scikit-image's `adapted_rand_error` defines it.

    1 minus the F-score of the pairs of pixels that share an object in both. Background is left out where the label has
    it, and is one more object in the prediction. A pixel is no pair with itself. 0 if there are no pairs.
    """
    table, cells, regions = _contingency(found, truth, counted)
    both, in_cells, in_regions = (int(sizes @ sizes - sizes.sum()) for sizes in (table, cells, regions))
    return 1 - ratio(2 * both, in_cells + in_regions)


def variation_of_information(
    found: NDArray[Any], truth: NDArray[Any], counted: NDArray[np.bool_] | None = None
) -> tuple[float, float]:
    """Return how much is split, and how much merged, in bits: H(found | truth) and H(truth | found).

    Meilă 2003, doi:10.1007/978-3-540-45167-9_14, as scikit-image's `variation_of_information` computes it without the
    background of the label; background is one more object in the prediction. Both are 0 if the label has no object.
    """
    table, cells, regions = _contingency(found, truth, counted)
    total = table.sum()
    if not total:
        return 0.0, 0.0
    h_both, h_cells, h_regions = (
        float(np.log2(total) - (sizes * np.log2(sizes)).sum() / total) for sizes in (table, cells, regions)
    )
    return max(h_both - h_cells, 0.0), max(h_both - h_regions, 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectScores:
    """How well objects were found; all but the variation of information are pooled over all slices.

    Attributes:
        average_precision: at each of IOU_THRESHOLDS.
        seg: SEG of the Cell Tracking Challenge.
        pq: panoptic quality.
        voi_split: H(found | truth) in bits, mean of slices.
        voi_merge: H(truth | found) in bits, mean of slices.
        n_truth: objects of the labels.
        n_found: predicted objects.
    """

    average_precision: tuple[float, ...]
    seg: float
    pq: float
    voi_split: float
    voi_merge: float
    n_truth: int
    n_found: int

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        at = {f"{threshold:.2f}": ap for threshold, ap in zip(IOU_THRESHOLDS, self.average_precision, strict=True)}
        return {
            "ap_50": at["0.50"],
            "ap_75": at["0.75"],
            "mean_ap": float(np.mean(self.average_precision)),
            "average_precision": at,
            **{name: getattr(self, name) for name in ("seg", "pq", "voi_split", "voi_merge")},
            "objects": self.n_truth,
            "objects_found": self.n_found,
        }


def measure_objects(found: NDArray[Any], truth: NDArray[Any], counted: NDArray[np.bool_] | None = None) -> Sums:
    """Return what a slice adds to the scores of objects, to be added up and given to `score_objects`."""
    overlap = find_object_overlap(found, truth, counted)
    return {
        "objects": np.array([overlap.truth.size, overlap.found.size]),
        "matches": count_matches(overlap),
        "object_iou": np.array([segmentation_sum(overlap), panoptic_sum(overlap)]),
        "voi": np.array(variation_of_information(found, truth, counted)),
    }


def score_objects(sums: Sums, n_slices: int) -> ObjectScores:
    """Return the scores of objects of so many slices, whose `measure_objects` was added up."""
    n_truth, n_found = map(int, sums["objects"])
    seg, iou_sum = map(float, sums["object_iou"])
    voi_split, voi_merge = (sums["voi"] / n_slices).tolist()
    return ObjectScores(
        average_precision=tuple(average_precision(int(each), n_truth, n_found) for each in sums["matches"]),
        seg=ratio(seg, n_truth),
        pq=panoptic_quality(iou_sum, n_truth, n_found),
        voi_split=voi_split,
        voi_merge=voi_merge,
        n_truth=n_truth,
        n_found=n_found,
    )


def _contingency(
    found: NDArray[Any], truth: NDArray[Any], counted: NDArray[np.bool_] | None
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return sizes where the label has objects: of what both share, of the objects, and of the predicted regions."""
    inside = truth != 0 if counted is None else (truth != 0) & counted
    cells, regions = np.unique(truth[inside], return_inverse=True)[1], np.unique(found[inside], return_inverse=True)[1]
    codes = cells.astype(np.int64) * (int(regions.max(initial=0)) + 1) + regions
    sizes = (np.unique(each, return_counts=True)[1].astype(np.int64) for each in (codes, cells, regions))
    table, cells, regions = sizes
    return table, cells, regions
