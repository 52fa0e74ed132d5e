"""Scores against answers worked out by hand, planted faults, scikit-image, and the challenge's own numbers."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from scipy import ndimage
from skimage.metrics import adapted_rand_error as skimage_adapted_rand_error
from small_runs import score_stack

from training.scores import regions
from training.scores.challenge import (
    THRESHOLDS,
    PixelScores,
    ScoreError,
    count_pixels,
    pixel_scores,
    score_slices,
)
from training.scores.objects import adapted_rand_error
from training.scores.regions import (
    Overlap,
    count_splits_and_mergers,
    find_overlaps,
    grow_regions,
    info_score,
    label_cells,
    rand_scores,
)

ROOT = Path(__file__).parents[2]
OFFICIAL = ROOT.parent / "shared" / "fixtures" / "metrics"

Picture = NDArray[np.float32]


def picture(*rows: str) -> NDArray[np.bool_]:
    """Return where the rows show a cell (o) and not membrane (#)."""
    return np.array([[pixel == "o" for pixel in row] for row in rows])


def predict(cells: NDArray[np.bool_]) -> Picture:
    """Return a sure prediction of these cells."""
    return np.where(cells, np.float32(0.95), np.float32(0.05))


def smooth_map(seed: int, size: int = 40, sigma: float = 2.0) -> Picture:
    """Return a map with values from 0 to 1 in which about half the pixels are above 0.5, in blobs and mazes."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(size, size)), sigma)
    return np.clip(0.5 + noise / (4 * noise.std()), 0, 1).astype(np.float32)


TWO_CELLS = picture("oo#ooo", "oo#ooo", "oo#ooo", "oo#ooo", "oo#ooo", "oo#ooo")  # 12 and 18 pixels


# Thresholds


def test_thresholds_are_added_up_as_the_challenge_does() -> None:
    """With `np.linspace` or tenths, pixels that sit on a threshold would change sides."""
    tenths = ("0.0", "0.1", "0.2", "0.30000000000000004", "0.4", "0.5", "0.6", "0.7", "0.7999999999999999")
    assert tuple(str(threshold) for threshold in THRESHOLDS) == (*tenths, "0.8999999999999999", "0.9999999999999999")


def test_pixels_on_a_threshold_are_compared_as_float64() -> None:
    """As numpy would compare them, 0.1 as float32 is not above 0.1, and it is by 1.5e-9."""
    near = np.float32(THRESHOLDS)
    values = np.concatenate([near, np.nextafter(near, np.float32(0)), np.nextafter(near, np.float32(1))])
    for value in values:
        above = sum(float(value) > threshold for threshold in THRESHOLDS)
        assert count_pixels(value, 1)[1].argmax() == above, value


def test_half_is_not_above_half() -> None:
    scores = pixel_scores(count_pixels(np.full((2, 2), 0.5), np.ones((2, 2))))
    assert (scores.misclassified, scores.iou_cell) == (1.0, 0.0)


# Pixels


def test_pixel_scores_of_a_small_world() -> None:
    """Two of the six membrane pixels are taken for cell up to 0.6."""
    prediction = predict(TWO_CELLS)
    prediction[:2, 2] = 0.65
    scores = pixel_scores(count_pixels(prediction, TWO_CELLS))
    assert scores == PixelScores(
        pixel_error=0.0,
        pixel_error_threshold=0.7,
        misclassified=2 / 36,
        iou_cell=30 / 32,
        iou_membrane=4 / 6,
        pixel_f_curve=(60 / 66, *[60 / 62] * 6, 1.0, 1.0, 1.0, 0.0),
    )


def test_counts_are_pooled_and_scores_are_not_averaged() -> None:
    one = count_pixels(np.ones((2, 2)), np.ones((2, 2)))
    other = count_pixels(np.zeros((1, 4, 3)), np.ones((1, 4, 3)))
    assert pixel_scores(one + other).misclassified == 12 / 16
    np.testing.assert_array_equal(one + other, count_pixels(np.repeat([1, 0], [4, 12]), np.ones(16)))


@pytest.mark.parametrize(
    ("predicted", "label", "expected"),
    [
        (0, 0, (0, 0, 1, 1)),
        (1, 1, (0, 0, 1, 1)),
        (0, 1, (1, 1, 0, 0)),
        (1, 0, (1, 1, 0, 0)),
    ],
)
def test_a_class_that_is_neither_there_nor_predicted_is_perfect(
    predicted: int, label: int, expected: tuple[int, ...]
) -> None:
    scores = pixel_scores(count_pixels([[predicted]], [[label]]))
    assert (scores.pixel_error, scores.misclassified, scores.iou_cell, scores.iou_membrane) == expected


# Regions


@pytest.mark.parametrize(
    ("cells", "regions"),
    [
        ("oo#oo", "11.22"),
        ("oo##oo", "111.22"),  # the left one is flooded first
        ("oo###oo", "111.222"),
        ("###oo", "11111"),
        ("####", "1111"),
        ("oooo", "1111"),
    ],
)
def test_regions_grow_until_one_pixel_is_left_between_them(cells: str, regions: str) -> None:
    assert "".join(str(n) for n in grow_regions(picture(cells))[0]).replace("0", ".") == regions
    assert "".join(str(n) for n in grow_regions(picture(*cells))[:, 0]).replace("0", ".") == regions


def test_cells_that_touch_at_a_corner_stay_apart() -> None:
    regions = grow_regions(picture("oo#", "##o", "##o"))
    np.testing.assert_array_equal(regions, [[1, 1, 0], [1, 0, 2], [0, 2, 2]])


@pytest.mark.parametrize("seed", range(4))
def test_borders_are_where_regions_meet(seed: int) -> None:
    cells = smooth_map(seed) > 0.55
    regions = grow_regions(cells)
    assert regions.max() == ndimage.label(cells)[1] > 5
    assert (regions[cells] > 0).all()
    np.testing.assert_array_equal(grow_regions(regions > 0) > 0, regions > 0)
    for y, x in np.argwhere(regions == 0):
        around = regions[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2]
        assert len(np.unique(around[around > 0])) > 1, (y, x)


def test_overlap_of_a_cell_that_was_cut_in_two() -> None:
    """The cut is one pixel wide, and stays border: six pixels of the cell are in no region."""
    cut = TWO_CELLS.copy()
    cut[:, 4] = False
    overlap = find_overlaps(label_cells(TWO_CELLS), [cut])[0]
    assert [sorted(sizes) for sizes in overlap[:3]] == [[12, 18], [6, 6, 12], [6, 6, 12]]
    assert overlap.lone == 6
    both = 12**2 + 6**2 + 6**2 + 6
    assert rand_scores(overlap) == pytest.approx((1, both / 468, 2 * both / (468 + both)))
    of_cells = -(0.4 * math.log(0.4) + 0.6 * math.log(0.6))
    of_regions = -(0.4 * math.log(0.4) + 2 * 0.2 * math.log(0.2) + 6 / 30 * math.log(1 / 30))
    assert info_score(overlap) == pytest.approx(2 * of_cells / (of_cells + of_regions))


def test_overlap_of_cells_that_were_merged() -> None:
    overlap = find_overlaps(label_cells(TWO_CELLS), [np.ones_like(TWO_CELLS)])[0]
    assert rand_scores(overlap) == (468 / 900, 1, 2 * 468 / (468 + 900))
    assert info_score(overlap) == 0


@pytest.mark.parametrize("seed", range(3))
def test_rand_scores_count_pairs_of_pixels(seed: int) -> None:
    """Every pair looked at one by one; a border pixel is paired with itself alone."""
    cells, probability = smooth_map(seed, 12, 1.0) > 0.45, smooth_map(seed + 10, 12, 1.0)
    truth, regions = ndimage.label(cells)[0][cells], grow_regions(probability > 0.5)[cells]
    same_cell = truth[:, None] == truth
    same_region = ((regions[:, None] == regions) & (regions > 0)) | np.eye(regions.size, dtype=bool)
    both = (same_cell & same_region).sum()
    precision, recall, _ = rand_scores(find_overlaps(label_cells(cells), [probability > 0.5])[0])
    assert precision == both / same_region.sum()
    assert recall == both / same_cell.sum()


def test_a_slice_of_one_cell_is_perfect_if_it_is_found() -> None:
    one = Overlap(*(np.array([9]) for _ in range(3)), lone=0)
    assert rand_scores(one) == (1, 1, 1)
    assert info_score(one) == 1


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("shift", [-0.1, 0.0, 0.1])
def test_adapted_rand_error_is_that_of_scikit_image(seed: int, shift: float) -> None:
    cells = smooth_map(seed) > 0.5
    probability = np.clip(0.6 * smooth_map(seed) + 0.4 * smooth_map(seed + 50) + shift, 0, 1).astype(np.float32)
    expected = skimage_adapted_rand_error(ndimage.label(cells)[0], ndimage.label(probability > 0.5)[0])[0]
    assert expected > 0.01
    assert adapted_rand_error(label_cells(probability > 0.5), label_cells(cells)) == pytest.approx(expected, abs=1e-12)


def test_adapted_rand_error_without_pairs_is_0() -> None:
    """Where scikit-image divides 0 by 0."""
    single = np.eye(3, dtype=bool)
    cells = label_cells(single)
    assert adapted_rand_error(cells, cells) == 0
    assert adapted_rand_error(cells, np.zeros_like(cells)) == 0
    assert adapted_rand_error(np.ones_like(cells), cells) == 1


# Warping


@pytest.mark.parametrize("shift", [-3, -2, -1, 1, 2, 3])
def test_a_membrane_moved_by_up_to_its_thickness_is_no_mistake(shift: int) -> None:
    """The labels follow, pixel by pixel; pixel and region scores see the move."""
    cells = np.ones((24, 24), bool)
    cells[:, 10:13] = False
    scores = score_stack(predict(np.roll(cells, shift, axis=1))[None], cells[None])
    assert scores.warping_error == 0
    assert scores.misclassified == 2 * abs(shift) / 24
    assert (scores.v_rand < 1) == (abs(shift) > 1)


def test_a_membrane_moved_by_more_than_its_thickness_is_a_split_and_a_merger() -> None:
    """Only pixels that differ are flipped, and those between the two places do not."""
    cells = np.ones((5, 9), bool)
    moved = cells.copy()
    cells[:, 2], moved[:, 6] = False, False
    assert count_splits_and_mergers(predict(moved), cells, 0.5) == 1 + 5  # the last pixel of one, all of the other


@pytest.mark.parametrize(
    ("cells", "predicted", "mistakes"),
    [
        (("oo#oo", "oo#oo", "oo#oo"), ("oo#oo", "ooooo", "oo#oo"), 1),  # a gap merges two cells
        (("ooooo", "ooooo", "ooooo"), ("oo#oo", "oo#oo", "oo#oo"), 1),  # of a cut, all but its last pixel is warped
        (("ooooo", "ooooo", "ooooo"), ("ooooo", "oo#oo", "ooooo"), 0),  # a hole is added
        (("ooooo", "oo#oo", "ooooo"), ("ooooo", "ooooo", "ooooo"), 0),  # a hole is lost
        (("#####", "#####", "#####"), ("#####", "##o##", "#####"), 0),  # an object is added
        (("#####", "##o##", "#####"), ("#####", "#####", "#####"), 0),  # an object is lost
        (("ooooo", "ooooo", "ooooo"), ("ooooo", "ooooo", "ooo##"), 0),  # a corner is warped
    ],
)
def test_only_splits_and_mergers_count(cells: Any, predicted: Any, mistakes: int) -> None:
    cells, probability = picture(*cells), predict(picture(*predicted))
    assert count_splits_and_mergers(probability, cells, 0.5) == mistakes
    assert count_splits_and_mergers(probability.T, cells.T, 0.5) == mistakes


@pytest.mark.parametrize(("radius_px", "splits"), [(1, 1), (3, 1), (4, 0), (0, 0), (99, 0)])
def test_a_ring_is_not_split_by_a_gap_if_the_way_round_is_in_reach(radius_px: int, splits: int) -> None:
    ring = picture("ooooo", "o###o", "o###o", "o###o", "ooooo")
    ring = np.pad(ring, ((0, 4), (0, 4)))
    gap = ring.copy()
    gap[0, 2] = False
    assert count_splits_and_mergers(predict(gap), ring, 0.5, radius_px=radius_px) == splits


@pytest.mark.parametrize(("lost", "won", "mistakes"), [(0.1, 0.6, 0), (0.4, 0.9, 1)])
def test_the_surest_pixels_are_warped_first(lost: float, won: float, mistakes: int) -> None:
    """The tip of a cell is lost and the pixel beside it is won.

    Lost first, the one beside it is a new object, which is no split; won first, it hangs on the tip.
    """
    cells = picture("oo#", "oo#", "#o#")
    probability = predict(cells)
    probability[2, 1:] = lost, won
    assert count_splits_and_mergers(probability, cells, 0.5) == mistakes


@pytest.mark.parametrize("seed", range(6))
def test_warping_keeps_the_topology(seed: int) -> None:
    """As many cells and as many parts of membrane as before, and much nearer to the prediction."""
    source = np.pad(smooth_map(seed) > 0.5, 1)
    before = source.copy()
    target = np.pad(smooth_map(seed) + 0.5 * smooth_map(seed + 20) > 0.75, 1)
    wrong = np.flatnonzero(source != target)
    stuck = regions._kernel("_flip_simple_points")(source.ravel(), source.shape[1], wrong.copy())
    diagonal = np.ones((3, 3))
    assert ndimage.label(source)[1] == ndimage.label(before)[1] > 1
    assert ndimage.label(~source, diagonal)[1] == ndimage.label(~before, diagonal)[1]
    assert stuck == (source != target).sum() < wrong.size / 3


# Stacks


def test_a_gap_of_one_pixel_shows_in_regions_and_hardly_in_pixels() -> None:
    cells = np.ones((20, 20), bool)
    cells[:, 10] = False
    gap = cells.copy()
    gap[7, 10] = True
    scores = score_stack(predict(gap)[None], cells[None])
    assert scores.pixel_error == pytest.approx(1 - 760 / 761)
    assert scores.warping_error == 1 / 400
    assert scores.v_rand == pytest.approx(2 * (200**2 + 180**2) / (200**2 + 180**2 + 380**2))
    assert scores.v_info == 0
    assert scores.adapted_rand_error > 0.3


@pytest.mark.parametrize("seed", range(3))
def test_labels_predicted_as_they_are_score_perfectly(seed: int) -> None:
    cells = smooth_map(seed) > 0.5
    scores = score_stack(cells[None].astype(np.float32), cells[None]).as_dict()
    best = dict.fromkeys(["v_rand", "v_info", "iou_cell", "iou_membrane"], 1.0)
    best |= dict.fromkeys(["pixel_error", "misclassified", "warping_error", "adapted_rand_error"], 0.0)
    assert {key: scores[key] for key in best} == pytest.approx(best, abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_only_membrane_or_cell_matters_in_labels(seed: int) -> None:
    probability, cells = smooth_map(seed)[None], smooth_map(seed + 5)[None] > 0.5
    names = np.where(cells, np.random.default_rng(seed).integers(1, 300, cells.shape), 0).astype(np.uint16)
    assert score_stack(probability, names) == score_stack(probability, cells) == score_stack(probability, cells * 255.0)


def test_regions_are_averaged_over_slices_and_pixels_are_pooled() -> None:
    """A small slice counts as much as a large one for V_Rand, and by its pixels for the pixel scores."""
    small, large = picture("oo#oo"), np.ones((10, 10), bool)
    large[:, 5] = False
    merged = np.ones_like(large)
    apart = [score_slices([pair]) for pair in ((predict(small), small), (predict(merged), large))]
    scores = score_slices([(predict(small), small), (predict(merged), large)])
    assert scores.v_rand == pytest.approx((1 + apart[1].v_rand) / 2)
    assert scores.misclassified == 10 / 105
    assert scores.warping_error == apart[1].warping_error * 100 / 105


def test_a_stack_may_come_slice_by_slice() -> None:
    stack, labels = np.stack([smooth_map(z) for z in range(3)]), np.stack([smooth_map(z) > 0.4 for z in range(3)])
    whole = score_stack(stack, labels)
    assert score_stack(iter(stack), (label.astype(np.uint8) for label in labels)) == whole
    assert score_slices(zip(stack, labels, strict=True)) == whole


def test_slices_are_scored_one_by_one() -> None:
    """A stack that does not fit into memory still can be scored."""
    seen = []

    def pairs() -> Iterator[tuple[Picture, Picture]]:
        for z in range(9):
            seen.append(z)
            yield smooth_map(z), np.ones((40, 40) if z < 1 else (39, 40), np.float32)

    with pytest.raises(ScoreError, match=r"^slice 1: .* got labels \(39, 40\), prediction \(40, 40\); crop"):
        score_slices(pairs())
    assert seen == [0, 1]


@pytest.mark.parametrize("value", [0.0, 0.4, 0.5, 1.0])
@pytest.mark.parametrize("label", [0, 1])
@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (6, 6)])
def test_bare_slices_have_scores(value: float, label: int, shape: tuple[int, int]) -> None:
    """No cells, no membrane, a single pixel: every score is a number from 0 to 1."""
    scores = score_slices([(np.full(shape, value), np.full(shape, label))])
    assert all(0 <= score <= 1 for score in scores.as_dict().values())
    if label == 0:
        assert (scores.v_rand, scores.v_info, scores.adapted_rand_error) == (1, 1, 0)
    if (value > 0.5) == bool(label):
        assert (scores.misclassified, scores.iou_cell, scores.iou_membrane, scores.pixel_error) == (0, 1, 1, 0)


def test_the_dictionary_is_flat_and_names_each_score() -> None:
    scores = score_stack(smooth_map(0)[None], smooth_map(1)[None] > 0.5)
    chosen = ["pixel_error", "v_rand", "v_info", "warping_error"]
    plain = ["mean_dice", "misclassified", "iou_cell", "iou_membrane", "adapted_rand_error"]
    assert sorted(json.loads(json.dumps(scores.as_dict()))) == sorted(
        ["n", *chosen, *plain, *(f"{key}_threshold" for key in chosen)]
    )
    for key, curve in (("v_rand", scores.v_rand_curve), ("v_info", scores.v_info_curve)):
        assert len(curve) == len(scores.thresholds)
        best = scores.thresholds.index(scores.as_dict()[f"{key}_threshold"])
        assert scores.as_dict()[key] == max(curve) == curve[best]
        assert max(curve) not in curve[:best]
    assert scores.warping_error == min(scores.warping_curve)
    assert 1 - scores.pixel_error == max(scores.pixel_f_curve)


@pytest.mark.parametrize(
    ("prediction", "labels", "message"),
    [
        (np.zeros((1, 4, 4)), np.zeros((1, 4, 5)), r"^slice 0: .* got labels \(4, 5\), prediction \(4, 4\); crop both"),
        (np.zeros((4, 4)), np.zeros((4, 4)), r"^slice 0: expected a shape of \(Y, X\), got \(4,\)"),
        (np.zeros((1, 1, 4, 4)), np.zeros((1, 1, 4, 4)), r"^slice 0: expected a shape of \(Y, X\), got \(1, 4, 4\)"),
        (np.zeros((0, 4, 4)), np.zeros((0, 4, 4)), "^scores: expected at least one slice"),
        (np.zeros((1, 0, 4)), np.zeros((1, 0, 4)), "^slice 0: .* with pixels in it"),
        (np.full((1, 4, 4), np.nan), np.zeros((1, 4, 4)), r"^slice 0: .* 0\.\.1, got nan"),
        (np.full((1, 4, 4), 1.5), np.zeros((1, 4, 4)), r"^slice 0: .* got 1\.5\.\.1\.5; apply the sigmoid"),
        (np.full((1, 4, 4), -0.1), np.zeros((1, 4, 4)), r"^slice 0: .* got -0\.1\.\.-0\.1"),
        (np.full((1, 4, 4), 255, np.uint8), np.zeros((1, 4, 4)), "divide 8-bit values by 255"),
        (np.zeros((1, 4, 4)), np.full((1, 4, 4), np.nan), "^slice 0: expected labels without NaN"),
    ],
)
def test_what_cannot_be_scored_is_refused(prediction: Any, labels: Any, message: str) -> None:
    with pytest.raises(ScoreError, match=message):
        score_stack(prediction, labels)


def test_one_bad_pixel_is_refused() -> None:
    prediction = np.full((5, 5), 0.5)
    prediction[3, 3] = np.nan
    with pytest.raises(ScoreError, match=r"^pixels: "):
        count_pixels(prediction, np.zeros((5, 5)))


# The challenge's own numbers


@pytest.fixture(scope="module")
def official() -> dict[str, Any]:
    """Return by kind of prediction (slices, labels, the numbers of the challenge's own program, our scores)."""
    if not OFFICIAL.is_dir():
        pytest.skip(f"{OFFICIAL} is missing")
    numbers = json.loads((OFFICIAL / "official.json").read_text(encoding="utf-8"))
    labels = tifffile.imread(OFFICIAL / "labels.tif")
    maps = {
        name: (tifffile.imread(OFFICIAL / file) / np.float32(255)).astype(np.float32)
        for name, file in (("probability", "probability_u8.tif"), ("binary", "binary.tif"))
    }
    return {
        key.split(" ")[0]: (maps[key.split(" ")[0]], labels, number, score_stack(maps[key.split(" ")[0]], labels))
        for key, number in numbers.items()
    }


@pytest.mark.isbi
@pytest.mark.parametrize("kind", ["probability", "binary"])
def test_pixel_scores_are_the_official_ones(official: dict[str, Any], kind: str) -> None:
    maps, labels, numbers, scores = official[kind]
    assert 1 - scores.pixel_error == pytest.approx(numbers["pixel_f_max"], abs=1e-6)
    assert scores.misclassified == pytest.approx(numbers["pixel_misclassified@0.5"], abs=1e-6)
    counts = count_pixels(maps, labels)
    for index, tenths in ((3, 3), (5, 5), (7, 7)):
        wrong = counts[0, index + 1 :].sum() + counts[1, : index + 1].sum()
        assert wrong / labels.size == pytest.approx(numbers[f"pixel_misclassified@0.{tenths}"], abs=1e-6)


@pytest.mark.isbi
@pytest.mark.parametrize("kind", ["probability", "binary"])
def test_v_rand_and_v_info_are_the_official_ones(official: dict[str, Any], kind: str) -> None:
    """The F-scores are means over slices; the precision and recall that the program prints are pooled."""
    maps, labels, numbers, scores = official[kind]
    assert scores.v_rand == pytest.approx(numbers["v_rand_max"], abs=1e-9)
    assert scores.v_info == pytest.approx(numbers["v_info_max"], abs=1e-9)
    overlaps = [
        find_overlaps(label_cells(label > 0), [probability.astype(np.float64) > t for t in THRESHOLDS])
        for probability, label in zip(maps, labels, strict=True)
    ]
    for index, tenths in ((3, 3), (5, 5), (7, 7)):
        lone = sum(overlap[index].lone for overlap in overlaps)
        cells, regions, shared = (np.concatenate([overlap[index][part] for overlap in overlaps]) for part in (0, 1, 2))
        precision, recall, _ = rand_scores(Overlap(cells, regions, shared, lone))
        expected = pytest.approx(numbers[f"v_rand@0.{tenths}"], abs=1e-9)
        assert [precision, recall, scores.v_rand_curve[index]] == expected
        assert scores.v_info_curve[index] == pytest.approx(numbers[f"v_info@0.{tenths}"], abs=1e-9)


@pytest.mark.isbi
@pytest.mark.parametrize(("kind", "scale"), [("probability", 1), ("binary", 255)])
def test_splits_and_mergers_are_the_official_ones(official: dict[str, Any], kind: str, scale: int) -> None:
    """Exactly: the binary stack was given as 0 and 255, so that its cells are surer than its membranes."""
    maps, labels, numbers, _ = official[kind]
    mistakes = sum(
        count_splits_and_mergers(probability * np.float32(scale), label > 0, 0.5, radius_px=-1)
        for probability, label in zip(maps, labels, strict=True)
    )
    assert mistakes / labels.size == pytest.approx(numbers["warping_sm_err@0.5"], rel=1e-9)


@pytest.mark.isbi
def test_warping_error_is_the_official_one(official: dict[str, Any]) -> None:
    _, _, numbers, scores = official["probability"]
    assert scores.warping_error == pytest.approx(numbers["warping_min_splits_mergers_r20"], rel=1e-9)
    assert scores.warping_error_threshold == 0.5
