"""Scores of classes and objects, held against scikit-learn, scikit-image, and formulas written down once more."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage
from scipy.optimize import linear_sum_assignment
from skimage import metrics as skimage_metrics
from sklearn import metrics as sklearn_metrics

from pipeline.errors import ConfigError
from pipeline.source.tiff import write_stack
from training.scores.bootstrap import confidence_intervals
from training.scores.challenge import Scores
from training.scores.classes import (
    confusion_matrix,
    dice_by_class,
    iou_by_class,
    mean_of_foreground,
    score_classes,
    share_misclassified,
)
from training.scores.files import score, score_files
from training.scores.objects import (
    IOU_THRESHOLDS,
    adapted_rand_error,
    count_matches,
    find_object_overlap,
    measure_objects,
    score_objects,
    variation_of_information,
)
from training.scores.regions import grow_ids, grow_regions, label_cells

Ids = NDArray[np.int32]


def blobs(seed: int, *, size: int = 64, radius: float = 9) -> Ids:
    """Return ids of round objects, many of which touch, numbered without order."""
    rng = np.random.default_rng(seed)
    seeds = np.ones(size * size, bool)
    seeds[rng.choice(size * size, size * size // 160, replace=False)] = False
    distance, nearest = ndimage.distance_transform_edt(seeds.reshape(size, size), return_indices=True)
    return np.where(distance < radius, (nearest[0] * size + nearest[1]) % 997 + 1, 0).astype(np.int32)


def disturbed(ids: Ids, seed: int) -> Ids:
    """Return the ids moved, some merged, and one split."""
    found = np.roll(ids, (1, seed % 3), axis=(0, 1))
    present = np.unique(found)[1:]
    found[found == present[0]] = present[1]
    found[: found.shape[0] // 2][found[: found.shape[0] // 2] == present[2]] = 5000
    return found


# Classes


@pytest.mark.parametrize("seed", range(3))
def test_scores_of_classes_are_those_of_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth, found = rng.integers(0, 4, (2, 30, 20))
    found = np.where(rng.random(truth.shape) < 0.6, truth, found)
    counted = rng.random(truth.shape) < 0.8
    matrix = confusion_matrix(found, truth, 4, counted)
    one, other = truth[counted], found[counted]
    assert np.array_equal(matrix, sklearn_metrics.confusion_matrix(one, other))
    assert dice_by_class(matrix) == pytest.approx(sklearn_metrics.f1_score(one, other, average=None), abs=1e-12)
    assert iou_by_class(matrix) == pytest.approx(sklearn_metrics.jaccard_score(one, other, average=None), abs=1e-12)
    assert 1 - share_misclassified(matrix) == pytest.approx(sklearn_metrics.accuracy_score(one, other), abs=1e-12)
    foreground = sklearn_metrics.f1_score(one, other, labels=[1, 2, 3], average="macro")
    assert mean_of_foreground(dice_by_class(matrix)) == pytest.approx(foreground, abs=1e-12)


def test_a_class_that_is_nowhere_has_no_score_and_flatters_no_mean() -> None:
    matrix = confusion_matrix(np.array([0, 1, 1]), np.array([0, 1, 0]), 3)
    scores = score_classes(matrix)
    assert scores.dice == (2 / 3, 2 / 3, None)
    assert scores.mean_iou == 0.5
    assert scores.as_dict(("a", "b", "c"))["dice"] == {"a": 2 / 3, "b": 2 / 3, "c": None}
    assert mean_of_foreground((0.5, None)) == 1


# Objects


def matches_by_assignment(found: Ids, truth: Ids, threshold: float) -> int:
    """Return what stardist.matching and cellpose.metrics count, by their formula: the best assignment of all pairs."""
    ids, others = np.unique(truth[truth > 0]), np.unique(found[found > 0])
    iou = np.array([[np.sum((truth == a) & (found == b)) / np.sum((truth == a) | (found == b)) for b in others]
                    for a in ids])  # fmt: skip
    cost = -(iou >= threshold).astype(float) - iou / (2 * min(iou.shape))
    rows, columns = linear_sum_assignment(cost)
    return int((iou[rows, columns] >= threshold).sum())


@pytest.mark.parametrize("seed", range(4))
def test_objects_are_matched_as_stardist_and_cellpose_match_them(seed: int) -> None:
    truth = blobs(seed)
    found = disturbed(truth, seed)
    counts = count_matches(find_object_overlap(found, truth))
    assert counts.tolist() == [matches_by_assignment(found, truth, threshold) for threshold in IOU_THRESHOLDS]
    assert counts[-1] < counts[0] < np.unique(truth).size


def test_an_object_that_two_halves_share_is_found_once() -> None:
    """Both overlap by just 0.5; one of them is left over."""
    truth, found = np.array([[1, 1, 1, 1]]), np.array([[7, 7, 9, 9]])
    scores = score_objects(measure_objects(found, truth), 1)
    assert scores.average_precision == (1 / 2, *[0.0] * 9)
    assert (scores.seg, scores.pq) == (0, 0)


def test_seg_and_panoptic_quality_of_a_small_world() -> None:
    """Object 1 is found with 3 of 4 pixels, 2 is merged into 3, and 9 is made up."""
    truth = np.array([[1, 1, 1, 1, 0, 2, 3, 3, 3, 0]])
    found = np.array([[1, 1, 1, 0, 0, 3, 3, 3, 3, 9]])
    scores = score_objects(measure_objects(found, truth), 1)
    assert scores.seg == (3 / 4 + 1 / 4 + 3 / 4) / 3  # SEG asks for a cover of more than half, and so does 2's
    assert scores.pq == (3 / 4 + 3 / 4) / (2 + 1 / 2 + 1 / 2)
    assert scores.average_precision[0] == 2 / (3 + 3 - 2)
    assert (scores.n_truth, scores.n_found) == (3, 3)


@pytest.mark.parametrize("seed", range(4))
def test_rand_error_and_variation_of_information_are_those_of_scikit_image(seed: int) -> None:
    truth = blobs(seed)
    found = disturbed(truth, seed)
    expected = skimage_metrics.adapted_rand_error(truth, found)[0]
    assert adapted_rand_error(found, truth) == pytest.approx(expected, abs=1e-12)
    split, merge = skimage_metrics.variation_of_information(truth, found, ignore_labels=(0,))
    # of scikit-image's two, the first is the entropy of the second image given the first
    assert variation_of_information(found, truth) == pytest.approx((split, merge), abs=1e-9)
    assert min(split, merge, expected) > 0


def test_nothing_found_where_nothing_is_perfect_and_ignored_pixels_count_nowhere() -> None:
    nothing = np.zeros((5, 5), np.int32)
    scores = score_objects(measure_objects(nothing, nothing), 1)
    assert (scores.average_precision[0], scores.seg, scores.pq, scores.voi_split) == (1, 1, 1, 0)
    truth = blobs(0)
    found, counted = disturbed(truth, 0), np.random.default_rng(0).random(truth.shape) < 0.7
    changed, other = np.where(counted, found, 77), np.where(counted, truth, 4)
    first, second = measure_objects(found, truth, counted), measure_objects(changed, other, counted)
    for name, values in first.items():
        assert np.array_equal(values, second[name]), name


def test_ids_grow_as_cells_do_and_stay_where_they_touch() -> None:
    cells = label_cells(blobs(0, radius=4) > 0)
    assert np.array_equal(grow_ids(cells) > 0, grow_regions(cells > 0) > 0)
    ids = blobs(0, radius=4)
    assert np.array_equal(grow_ids(ids)[ids > 0], ids[ids > 0])
    assert grow_ids(ids).min() == 0


# Confidence


def test_intervals_hold_the_score_and_know_slices_from_samples() -> None:
    """The mean of ten numbers; shown twice as often, each, they are no more slices."""
    values = np.random.default_rng(0).normal(size=10)

    def mean(sums: Any) -> dict[str, float]:
        return {"mean": float(sums["x"] / sums["n"])}

    parts = [{"x": np.array(value), "n": np.array(1)} for value in values]
    low, high = confidence_intervals(parts, range(10), mean)["mean"]
    error = values.std() / np.sqrt(10)
    assert (low, high) == pytest.approx((values.mean() - 1.96 * error, values.mean() + 1.96 * error), abs=error / 3)
    assert confidence_intervals(parts * 2, [*range(10)] * 2, mean)["mean"] == (low, high)
    assert confidence_intervals(parts[:1], [0], mean) == {}


# Files


def write(folder: Path, name: str, stack: NDArray[Any]) -> Path:
    write_stack(folder / f"{name}.tif", stack)
    return folder / f"{name}.tif"


@pytest.fixture
def ids() -> NDArray[np.uint16]:
    """Two slices with more than 32 objects, some of which touch."""
    return np.stack([blobs(seed, size=96) for seed in (1, 2)]).astype(np.uint16)


def test_a_mask_with_all_objects_merged_is_no_longer_perfect(tmp_path: Path, ids: NDArray[np.uint16]) -> None:
    merged = (ids > 0).astype(np.uint8) * 255
    found = score_files(write(tmp_path, "mask", merged), write(tmp_path, "ids", ids))
    expected = [skimage_metrics.adapted_rand_error(t, ndimage.label(m)[0])[0] for t, m in zip(ids, merged, strict=True)]
    assert found.scores.adapted_rand_error == pytest.approx(np.mean(expected), abs=1e-12)
    assert found.scores.adapted_rand_error > 0.2
    assert found.scores.v_rand < 0.5
    assert found.scores.warping_error > 0
    assert found.scores.pixel_error == 0
    assert found.kind == "instances"
    exact = score(tmp_path / "ids.tif", tmp_path / "ids.tif")
    assert exact.objects is not None
    assert (exact.adapted_rand_error, exact.warping_error, exact.objects.seg, exact.objects.pq) == (0, 0, 1, 1)
    assert exact.v_rand == 1


def test_labels_of_1_and_2_are_background_and_foreground(tmp_path: Path) -> None:
    cells = blobs(0)[None] > 0
    probability = ndimage.gaussian_filter(cells.astype(np.float32), (0, 1, 1))
    one = score(write(tmp_path, "p", probability), write(tmp_path, "ilastik", cells.astype(np.uint8) + 1))
    assert one == score(tmp_path / "p.tif", write(tmp_path, "usual", cells.astype(np.uint8) * 255))
    assert one.pixel_error > 0
    assert score(tmp_path / "ilastik.tif", tmp_path / "usual.tif", scale="mask").iou_membrane == 0


def test_classes_are_scored_by_their_values(tmp_path: Path) -> None:
    values = np.array([3, 10, 200], np.uint8)
    truth, found = np.random.default_rng(0).integers(0, 3, (2, 2, 20, 20))
    report = score_files(write(tmp_path, "f", values[found]), write(tmp_path, "t", values[truth])).as_dict()
    expected = sklearn_metrics.f1_score(truth.ravel(), found.ravel(), average=None)
    assert report["dice"] == pytest.approx(dict(zip(("3", "10", "200"), expected, strict=True)))
    assert report["mean_dice"] == pytest.approx(expected[1:].mean())
    with pytest.raises(ConfigError, match=r"the value 0 is none of a class: the labels have 3 values, 3, 10, 200"):
        score(write(tmp_path, "indices", found.astype(np.uint8)), tmp_path / "t.tif")
    with pytest.raises(ConfigError, match="no whole numbers"):
        score(write(tmp_path, "p", np.full(truth.shape, 0.3, np.float32)), tmp_path / "t.tif")


MASK = (blobs(0)[None] > 0).astype(np.uint8)
SOFT = (255 * ndimage.gaussian_filter(MASK.astype(np.float32), (0, 2, 2))).astype(np.uint8)
REFUSED: dict[str, tuple[NDArray[Any], NDArray[Any], str]] = {
    "a mask of 0 and 1": (MASK, 255 * MASK, r"the largest value is 1 of 255: a mask\? --scale mask"),
    "ids for a mask": (
        blobs(0)[None].astype(np.uint16),
        255 * MASK,
        r"each in one region: ids\? the labels have 2 values",
    ),
    "8 bits in 16": (SOFT.astype(np.uint16), MASK, r"the largest value is \d+ of 65535, so that no pixel"),
    "whole floats": (blobs(0)[None].astype(np.float32), MASK, "the values are whole numbers up to"),
    "swapped floats": (255 * MASK, SOFT / np.float32(255), r"found 0\.\d+ in slice 0 .* are they swapped\?"),
    "swapped integers": (255 * MASK, SOFT, r"of the neighbouring pixels differ, .* are they swapped\?"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_may_mean_something_else_is_refused_with_what_was_found(tmp_path: Path, case: str) -> None:
    prediction, labels, words = REFUSED[case]
    with pytest.raises(ConfigError, match=words):
        score(write(tmp_path, "prediction", prediction), write(tmp_path, "labels", labels))


def test_a_mask_of_0_and_1_is_one_where_it_is_said(tmp_path: Path) -> None:
    found = score(write(tmp_path, "p", MASK), write(tmp_path, "t", 255 * MASK), scale="mask")
    assert isinstance(found, Scores)
    assert (found.iou_cell, found.mean_dice) == (1, 1)


def test_few_ids_are_no_classes_for_one_map(tmp_path: Path) -> None:
    truth = np.zeros((1, 20, 20), np.uint8)
    truth[0, 2:8, 2:8], truth[0, 8:14, 2:8], truth[0, 3:8, 12:18] = 1, 2, 3
    found = score_files(write(tmp_path, "p", 255 * (truth > 0).astype(np.uint8)), write(tmp_path, "t", truth))
    assert found.kind == "instances"
    assert found.scores.adapted_rand_error > 0.1


def test_folders_of_pages_are_scored_as_files_are(tmp_path: Path) -> None:
    from PIL import Image

    for folder, pages in (("p", SOFT.repeat(2, axis=0)), ("t", (255 * MASK).repeat(2, axis=0))):
        (tmp_path / folder).mkdir()
        for number, page in enumerate(pages):
            Image.fromarray(page).save(tmp_path / folder / f"{number}.png")
    of_files = score(write(tmp_path, "p", SOFT.repeat(2, axis=0)), write(tmp_path, "t", (255 * MASK).repeat(2, axis=0)))
    assert score(tmp_path / "p", tmp_path / "t") == of_files
