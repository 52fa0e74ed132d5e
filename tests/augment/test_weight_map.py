"""The weight map is equation 2 of the U-Net paper, to the resolution of float16, and the same on every CPU."""

import hashlib
import math
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, gaussian_filter
from scipy.ndimage import label as number_regions

import augment
from augment.errors import ConfigError
from augment.weight_map import fall, find_cells, unet_weight_map

ROOT = Path(augment.__file__).parents[1]
ISBI = ROOT.parent / "shared" / "data" / "isbi2012"


def masks_of(label: NDArray[Any], *, instances: bool) -> list[NDArray[np.bool_]]:
    """Return every cell as a mask, found by scipy."""
    masks = []
    for value in set(label.ravel().tolist()) - {0}:
        regions, n = (label == value, 1) if instances else number_regions(label == value)
        masks += [regions == k for k in range(1, n + 1)]
    return masks


def by_the_formula(
    label: NDArray[Any], *, w0: float = 10.0, sigma_px: float = 5.0, instances: bool = False
) -> NDArray[np.float64]:
    """Return equation 2 as it is written: a distance transform of the whole label for every cell, sorted."""
    classes = label > 0 if instances else label
    present = np.unique(classes)
    weights = np.zeros(label.shape)
    for value in present:
        weights[classes == value] = label.size / len(present) / np.count_nonzero(classes == value)
    masks = masks_of(label, instances=instances)
    if len(masks) > 1:
        first, second = np.sort([distance_transform_edt(~mask) for mask in masks], axis=0)[:2]
        weights += w0 * np.exp(-((first + second) ** 2) / (2 * sigma_px**2))
    return weights


def require_equal(label: NDArray[Any], **options: Any) -> None:
    """Compare with the formula: within what may be left out, and within one step of float16."""
    found, expected = unet_weight_map(label, **options), by_the_formula(label, **options)
    n_classes = len(np.unique(label > 0 if options.get("instances") else label))
    assert np.all(np.abs(found - expected) <= 2.0**-12 / n_classes + 1e-6 * expected)
    if expected.max() < np.finfo(np.float16).max:
        half = expected.astype(np.float16)
        assert np.all(np.abs(found.astype(np.float16) - half) <= np.spacing(half))


def blobs(shape: tuple[int, int], seed: int, *, threshold: float = 0.0, scale_px: float = 3.0) -> NDArray[np.uint8]:
    """Return a label of winding cells and membranes."""
    noise = gaussian_filter(np.random.default_rng(seed).standard_normal(shape), scale_px)
    return (noise / noise.std() > threshold).astype(np.uint8)


# Small worlds


def test_two_cells_squeeze_the_pixel_between_them() -> None:
    """Of three pixels one is background: w_c is 3 / (2 x 1) there and 3 / (2 x 2) in the cells; d1 + d2 is 2."""
    emphasis = 10 * math.exp(-(2**2) / 50)
    found = unet_weight_map(np.array([[1, 0, 1]], np.uint8))
    assert found.dtype == np.float32
    assert found == pytest.approx(np.array([[0.75 + emphasis, 1.5 + emphasis, 0.75 + emphasis]]))


def test_distances_are_to_the_nearest_and_the_second_nearest_cell() -> None:
    """One row, cells at columns 0, 4 and 9: for each pixel d1 + d2, by hand."""
    label = np.zeros((1, 10), np.uint8)
    label[0, [0, 4, 9]] = 1
    sums = np.array([4, 4, 4, 4, 4, 5, 5, 5, 5, 5])
    emphasis = unet_weight_map(label) - unet_weight_map(label, w0=0)
    assert emphasis[0] == pytest.approx(10 * np.exp(-(sums**2) / 50), abs=1e-5)


def test_distances_are_euclidean() -> None:
    """(0, 0) and (3, 4) are 5 apart; w0 and sigma are as asked."""
    label = np.zeros((4, 5), np.uint8)
    label[0, 0] = label[3, 4] = 1
    emphasis = unet_weight_map(label, w0=2.0, sigma_px=3.0) - unet_weight_map(label, w0=0.0)
    assert emphasis[0, 0] == emphasis[3, 4] == pytest.approx(2 * math.exp(-25 / 18), rel=1e-5)
    assert emphasis[0, 1] == pytest.approx(2 * math.exp(-((1 + math.sqrt(18)) ** 2) / 18), rel=1e-5)


@pytest.mark.parametrize("instances", [False, True])
def test_without_a_second_cell_nothing_is_emphasised(instances: bool) -> None:
    label = np.zeros((4, 4), np.uint8)
    assert np.all(unet_weight_map(label, instances=instances) == 1)  # no cell, one class
    label[1:3, 1:3] = 7
    expected = np.where(label, 16 / (2 * 4), 16 / (2 * 12))
    assert unet_weight_map(label, instances=instances) == pytest.approx(expected)
    assert np.all(unet_weight_map(np.full((3, 5), 3), instances=instances) == 1)  # one cell, one class


def test_cells_that_touch_at_a_corner_are_two() -> None:
    """As the ISBI challenge counts them; as instances of one id they are one."""
    label = np.eye(2, dtype=np.uint8)
    emphasis = 10 * math.exp(-2 / 50)  # d1 + d2 is 2 on background and the square root of 2 in a cell
    found = unet_weight_map(label)
    assert found[0, 0] == pytest.approx(1 + emphasis)
    assert found[0, 1] == pytest.approx(1 + 10 * math.exp(-4 / 50))
    assert np.all(unet_weight_map(label, instances=True) == 1)


def test_neighbouring_classes_are_two_cells_and_three_classes_weigh_alike() -> None:
    label = np.array([[1, 1, 2, 0]], np.uint8)
    w_c = np.array([4 / (3 * 2), 4 / (3 * 2), 4 / 3, 4 / 3])
    sums = np.array([2, 1, 1, 1 + 2])
    assert unet_weight_map(label)[0] == pytest.approx(w_c + 10 * np.exp(-(sums**2) / 50))


def test_instances_are_two_classes_however_many_they_are() -> None:
    label = np.array([[500, 500, 65535, 0]], np.uint16)
    w_c = np.array([4 / (2 * 3)] * 3 + [4 / 2])
    sums = np.array([2, 1, 1, 1 + 2])
    assert unet_weight_map(label, instances=True)[0] == pytest.approx(w_c + 10 * np.exp(-(sums**2) / 50))


def test_ids_of_any_size_are_cells() -> None:
    small = np.array([[5, 5, 0, 0, 7, 9, 9, 7]])
    large = np.where(small > 0, small + 2**40, 0).astype(np.uint64)
    assert np.array_equal(unet_weight_map(large, instances=True), unet_weight_map(small, instances=True))
    full = np.where(small > 0, small, 1)
    assert np.array_equal(unet_weight_map(full + 2**40, instances=True), unet_weight_map(full, instances=True))


@pytest.mark.parametrize("instances", [True, False])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32])
def test_ignored_pixels_have_no_weight_and_count_for_nothing(
    dtype: type[np.unsignedinteger[Any]], instances: bool
) -> None:
    """As by the formula for what is left: no class, no cell, and no pixel of the background."""
    label = np.zeros((30, 40), dtype)
    label[5:12, 3:12], label[5:12, 14:30] = 1, 2
    ignore = int(np.iinfo(dtype).max)
    ignored = np.zeros(label.shape, np.bool_)
    ignored[:, 25:], ignored[8:10] = True, True
    label[ignored] = ignore
    weights = unet_weight_map(label, instances=instances, ignore=ignore)
    assert not weights[ignored].any()
    meant = np.where(ignored, 0, label)
    groups = meant if instances else number_regions(meant == 1)[0] + 10 * number_regions(meant == 2)[0]
    far = [distance_transform_edt(groups != cell) for cell in np.unique(groups[groups > 0])]
    nearest, second = np.sort(far, axis=0)[:2]
    kinds = meant > 0 if instances else meant
    balance = np.zeros(label.shape)
    for kind in np.unique(kinds[~ignored]):
        there = (kinds == kind) & ~ignored
        balance[there] = np.count_nonzero(~ignored) / (len(np.unique(kinds[~ignored])) * np.count_nonzero(there))
    expected = balance + 10 * np.exp(-((nearest + second) ** 2) / 50)
    assert np.allclose(weights[~ignored], expected[~ignored], atol=1e-3)
    assert not unet_weight_map(np.full((3, 4), ignore, dtype), instances=instances, ignore=ignore).any()


def test_a_cell_in_parts_is_one_instance() -> None:
    """Its own other part is no second cell."""
    label = np.array([[3, 0, 3, 0, 0, 9]], np.uint16)
    emphasis = (unet_weight_map(label, instances=True) - unet_weight_map(label, w0=0, instances=True))[0]
    sums = np.array([5, 1 + 4, 3, 1 + 2, 2 + 1, 3])
    assert emphasis == pytest.approx(10 * np.exp(-(sums**2) / 50), rel=1e-5)


def test_the_emphasis_ends_where_float16_would_not_show_it() -> None:
    """From d1 + d2 = 24 on it is below 2**-13, a quarter of the spacing of float16 at the least w_c, 1/2."""
    assert 10 * math.exp(-(24**2) / 50) < 2.0**-13 < 10 * math.exp(-(23**2) / 50)
    for gap, emphasised in ((23, True), (25, False), (60, False)):
        label = np.zeros((1, gap + 1), np.uint8)
        label[0, [0, gap]] = 1
        difference = unet_weight_map(label) - unet_weight_map(label, w0=0)
        assert np.all(difference > 0) == emphasised
        assert np.any(difference > 0) == emphasised


# Cells


@given(arrays.arrays(np.int32, arrays.array_shapes(min_dims=2, max_dims=2, max_side=14), elements=st.integers(0, 3)))
def test_cells_are_scipy_s_regions(label: NDArray[np.int32]) -> None:
    cells = find_cells(label, instances=False)
    found = sorted((cells.number == k).tobytes() for k in range(len(cells.boxes)))
    assert found == sorted(mask.tobytes() for mask in masks_of(label, instances=False))
    assert np.array_equal(cells.number < 0, label == 0)
    for k, (top, bottom, left, right) in enumerate(cells.boxes):
        rows, columns = np.nonzero(cells.number == k)
        assert (top, bottom, left, right) == (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1)


def test_a_comb_is_one_cell() -> None:
    """Its teeth are met one by one, and joined in the last row."""
    label = np.zeros((5, 9), np.int32)
    label[:, ::2] = 1
    assert len(find_cells(label, instances=False).boxes) == 5
    label[4] = 1
    assert find_cells(label, instances=False).boxes.tolist() == [[0, 5, 0, 9]]


# The formula


@given(
    arrays.arrays(np.uint8, arrays.array_shapes(min_dims=2, max_dims=2, max_side=20), elements=st.integers(0, 3)),
    st.booleans(),
    st.sampled_from([(10.0, 5.0), (10.0, 1.0), (0.0, 5.0), (1000.0, 9.5), (1.0, 0.1), (3.0, 1000.0)]),
)
@settings(deadline=None, max_examples=300)
def test_it_is_the_formula_on_noise(label: NDArray[np.uint8], instances: bool, constants: tuple[float, float]) -> None:
    w0, sigma_px = constants
    require_equal(label, w0=w0, sigma_px=sigma_px, instances=instances)


@given(st.integers(0, 2**32), st.floats(-1, 2), st.floats(1, 6), st.booleans())
@settings(deadline=None, max_examples=40)
def test_it_is_the_formula_on_winding_cells(seed: int, threshold: float, scale_px: float, instances: bool) -> None:
    """Cells larger than the reach, some around others, cut by the edges; sizes that no vector width divides."""
    label = blobs((71, 93), seed, threshold=threshold, scale_px=scale_px)
    if instances:
        label = number_regions(label)[0].astype(np.uint16) * 3
    require_equal(label, instances=instances)


@pytest.mark.isbi
@pytest.mark.skipif(not ISBI.is_dir(), reason="../shared/data/isbi2012 is not there")
def test_it_is_the_formula_on_the_real_stack() -> None:
    import tifffile

    label = tifffile.imread(ISBI / "train-labels.tif", key=0)[:300, :320] // 255
    require_equal(label)


@given(arrays.arrays(np.uint8, arrays.array_shapes(min_dims=2, max_dims=2, max_side=20), elements=st.integers(0, 4)))
def test_every_class_has_the_same_total_weight_and_the_mean_is_1(label: NDArray[np.uint8]) -> None:
    weights = unet_weight_map(label, w0=0).astype(np.float64)
    totals = [weights[label == value].sum() for value in np.unique(label)]
    assert totals == pytest.approx([label.size / len(totals)] * len(totals), rel=1e-6)
    assert weights.mean() == pytest.approx(1, rel=1e-6)


def test_the_exponential_is_one() -> None:
    """To the resolution of float32, as far as it can be within reach; far beyond it is nothing."""
    for x in [*np.linspace(0, 30, 3001), 1e-9, 1e-3]:
        assert fall(float(x)) == pytest.approx(math.exp(-x), rel=1e-7)
    assert fall(0.0) == 1
    assert fall(1e3) < 1e-30
    assert fall(1e300) == 0


# The same bits


@pytest.mark.parametrize(
    "move", [np.transpose, np.flipud, np.fliplr, lambda a: np.rot90(a, 1)], ids=["transposed", "up", "left", "turned"]
)
def test_a_moved_label_has_the_moved_map_bit_by_bit(move: Any) -> None:
    """So that neither the order of cells nor that of rows and columns shows."""
    label = blobs((60, 83), 3, scale_px=2.0)
    assert np.array_equal(unet_weight_map(move(label)), move(unet_weight_map(label)))


def test_ids_are_only_names() -> None:
    regions = number_regions(blobs((60, 83), 4, scale_px=2.0))[0].astype(np.uint16)
    names = np.random.default_rng(0).permutation(65535)[: regions.max() + 1].astype(np.uint16) + 1
    names[0] = 0
    assert np.array_equal(unet_weight_map(regions, instances=True), unet_weight_map(names[regions], instances=True))


def test_the_label_is_read_and_not_changed_whatever_its_form() -> None:
    label = blobs((60, 84), 5)
    expected = unet_weight_map(label)
    locked = label.copy()
    locked.flags.writeable = False
    for form in (locked, np.asfortranarray(label), label.astype(bool), label.astype(">u2"), label.astype(np.int64)):
        assert np.array_equal(unet_weight_map(form), expected)
    assert np.array_equal(unet_weight_map(label[:, ::2]), unet_weight_map(label[:, ::2].copy()))


def test_threads_do_not_disturb_each_other() -> None:
    labels = [blobs((120, 130), seed, scale_px=2.0) for seed in range(8)]
    expected = [unet_weight_map(label) for label in labels]
    with ThreadPoolExecutor(4) as pool:
        for found, alone in zip(pool.map(unet_weight_map, labels * 4), expected * 4, strict=True):
            assert np.array_equal(found, alone)


def test_the_weights_of_a_label_are_still_the_same() -> None:
    """A change in any bit changes datasets: raise RENDERER_VERSION, and name the change in CHANGELOG.md."""
    y, x = np.mgrid[:90, :110]
    label = ((y * y + 3 * x) % 190 > 40) & ((x * x // 9 + y) % 70 > 9)
    digest = hashlib.sha256(unet_weight_map(label).astype("<f4").tobytes()).hexdigest()
    assert digest == "52265799fb2e555a68c47c9ef22be0524e7af469f6378aaa163dc24be1c431aa"


@pytest.mark.slow
def test_any_cpu_gives_the_same_bytes(tmp_path: Path) -> None:
    label = blobs((150, 170), 6, scale_px=2.0)
    np.save(tmp_path / "label.npy", label)
    code = """
import hashlib, sys, numpy as np
from augment.weight_map import unet_weight_map
label = np.load(sys.argv[1])
for instances in (False, True):
    print(hashlib.sha256(unet_weight_map(label, instances=instances).tobytes()).hexdigest())
"""
    cpu = {"NUMBA_CPU_NAME": "generic", "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    command = [sys.executable, "-c", code, str(tmp_path / "label.npy")]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **cpu}, capture_output=True, text=True, check=False)
    expected = [
        hashlib.sha256(unet_weight_map(label, instances=instances).tobytes()).hexdigest() for instances in (False, True)
    ]
    assert done.stdout.split() == expected, done.stderr


# Refused


@pytest.mark.parametrize(
    ("label", "words"),
    [
        (np.zeros((2, 3, 4), np.uint8), r"got \(2, 3, 4\) uint8"),
        (np.zeros((0, 4), np.uint8), r"got \(0, 4\)"),
        (np.zeros((2, 3)), "float64"),
        (np.zeros((1, 16385), np.uint8), "1 to 16384 px a side"),
        (np.array([[-1, 0]]), "got -1 to 0"),
        (np.array([[65536, 0]]), "from 0 to 65535, got 0 to 65536"),
    ],
)
def test_what_is_no_label_is_refused(label: NDArray[Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        unet_weight_map(label)


@pytest.mark.parametrize(
    "options", [{"w0": -1.0}, {"w0": math.inf}, {"w0": math.nan}, {"sigma_px": 0.0}, {"sigma_px": math.nan}]
)
def test_constants_out_of_range_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="expected w0 from 0"):
        unet_weight_map(np.eye(3, dtype=np.uint8), **options)
