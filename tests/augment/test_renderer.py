"""A rendered sample is one cubic spline of the image and the nearest label, at the same composed coordinates."""

import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import pytest
import tifffile

from augment.draw import draw_recipe, rotation_matrix
from augment.errors import AugpipeError, ConfigError, RecipeError
from augment.operations import Defects
from augment.ranges import AugmentRanges
from augment.recipe import Recipe
from augment.renderer import Sample, mirror_pad, prepare_slice, render, render_prepared
from augment.seeding import Stream
from augment.staged import render_staged

ISBI = Path(__file__).parents[3] / "shared" / "data" / "isbi2012"
DTYPES = ["uint8", "uint16", "int16", "float32"]
EVERYTHING = {"flip": True, "zoom": (0.4, 2.5), "shift_px": 30.0}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("slice_size", "window", "ranges"),
    [
        ((64, 64), (64, 64), AugmentRanges()),
        ((60, 83), (41, 27), AugmentRanges(**EVERYTHING)),  # a smaller window of odd size
        ((83, 60), (120, 301), AugmentRanges(**EVERYTHING, grid_points=2)),  # a larger one
        ((48, 48), (77, 32), AugmentRanges(**EVERYTHING, grid_points=4, extent="padded")),  # larger and smaller
        ((5, 9), (31, 22), AugmentRanges(**EVERYTHING, grid_points=5, sigma_px=3.0)),  # a tiny slice
        ((5, 9), (300, 200), AugmentRanges(zoom=(0.3, 0.3))),  # many mirror images
        ((1, 1), (9, 9), AugmentRanges()),
        ((2, 30), (40, 40), AugmentRanges(sigma_px=40.0)),
        ((30, 40), (2, 2), AugmentRanges()),
        ((40, 40), (50, 50), AugmentRanges(rotate_deg=(0.0, 0.0), sigma_px=0.0, shift_px=9.0)),
    ],
)
def test_a_sample_is_what_scipy_makes_of_the_recipe(
    make_slice: Callable[..., Any],
    expect: Callable[..., Any],
    assert_matches: Callable[..., None],
    dtype: str,
    slice_size: tuple[int, int],
    window: tuple[int, int],
    ranges: AugmentRanges,
) -> None:
    for key in range(4):
        image, label = make_slice(slice_size, dtype, seed=key)
        recipe = draw_recipe(ranges, Stream(3, (key,)), window=window, slice_size=slice_size)
        sample = render(image, label, recipe)
        assert_matches(sample, expect(image, label, recipe))
        assert set(np.unique(sample.label)) <= set(np.unique(label))


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16"])
@pytest.mark.parametrize(("gain", "bias"), [(1.75, 0.0), (0.75, 0.3125), (1.0, 100.25), (1.0, -100.25), (3.0, -250.0)])
def test_gain_and_bias_change_and_clip_the_gray_levels(
    make_slice: Callable[..., Any],
    plain_recipe: Callable[..., Recipe],
    expect: Callable[..., Any],
    assert_matches: Callable[..., None],
    dtype: str,
    gain: float,
    bias: float,
) -> None:
    image, label = make_slice((40, 50), dtype)
    scale = 1.0 if dtype == "uint8" else 257.0
    recipe = plain_recipe((60, 60), matrix=rotation_matrix(33.0), gain=gain, bias=bias * scale)
    assert_matches(render(image, label, recipe), expect(image, label, recipe))


def test_an_overshooting_spline_is_clipped_not_wrapped(plain_recipe: Callable[..., Recipe]) -> None:
    """Next to a step from 0 to 255 a cubic spline passes both; as bytes, -20 would be 236."""
    step = np.zeros((24, 24), np.uint8)
    step[:, 12:] = 255
    recipe = plain_recipe((24, 24), shift_px=(0.0, 0.5))
    row = render(step, step, recipe).image[12]
    unclipped = render(step.astype(np.float32), step, recipe).image[12]
    assert unclipped.min() < -10
    assert unclipped.max() > 265
    assert row[:11].max() < 30
    assert row[12:].min() > 225
    assert {0, 255} <= set(row.tolist())


def test_gain_comes_before_rounding(plain_recipe: Callable[..., Recipe]) -> None:
    """Half way between gray levels 11 and 12, ten times: 115; rounded first it would be 120."""
    ramp = np.tile(np.arange(24, dtype=np.uint8), (24, 1))
    on_pixels, between = plain_recipe((2, 2), gain=10.0), plain_recipe((3, 3), gain=10.0)
    assert render(ramp, ramp, on_pixels).image.tolist() == [[110, 120], [110, 120]]
    assert render(ramp, ramp, between).image.tolist() == [[105, 115, 125]] * 3


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(7, 12), (64, 31)])
def test_a_recipe_that_changes_nothing_gives_the_slice_itself(
    plain_recipe: Callable[..., Recipe], make_slice: Callable[..., Any], dtype: str, shape: tuple[int, int]
) -> None:
    image, label = make_slice(shape, dtype)
    sample = render(image, label, plain_recipe(shape))
    if dtype == "float32":
        np.testing.assert_allclose(sample.image, image, rtol=0, atol=1e-6)
    else:
        assert np.array_equal(sample.image, image)
    assert np.array_equal(sample.label, label)


def test_labels_keep_their_dtype_and_their_values(
    plain_recipe: Callable[..., Recipe], make_slice: Callable[..., Any]
) -> None:
    """Instance ids go beyond 255 and must not be blended."""
    image, _ = make_slice((20, 20))
    ids = np.random.default_rng(0).choice(np.array([0, 300, 65535], np.uint16), (20, 20))
    sample = render(image, ids, plain_recipe((50, 50), matrix=rotation_matrix(20.0, zoom=1.5)))
    assert sample.label.dtype == np.uint16
    assert set(np.unique(sample.label)) == {0, 300, 65535}


def test_image_and_label_move_together() -> None:
    """A label drawn along a bright square must lie on it afterwards: coordinates are never drawn twice."""
    label = np.zeros((64, 64), np.uint8)
    label[20:44, 24:40] = 1
    recipe = draw_recipe(AugmentRanges(flip=True), Stream(0, (5,)), window=(90, 90), slice_size=(64, 64))
    sample = render(label * 200, label, recipe)
    assert np.mean((sample.image > 100) == (sample.label == 1)) > 0.995


@pytest.mark.parametrize("dtype", DTYPES)
def test_given_arrays_are_filled_and_returned(
    plain_recipe: Callable[..., Recipe], make_slice: Callable[..., Any], dtype: str
) -> None:
    source = prepare_slice(*make_slice((20, 30), dtype))
    recipe = plain_recipe((13, 17), matrix=rotation_matrix(10.0))
    images, labels = np.zeros((3, 13, 17), dtype), np.zeros((3, 13, 17), np.uint8)
    out = Sample(images[1], labels[1])
    returned = render_prepared(source, recipe, out)
    expected = render_prepared(source, recipe)
    assert returned.image is out.image
    assert returned.label is out.label
    assert np.array_equal(images[1], expected.image)
    assert np.array_equal(labels[1], expected.label)
    assert not images[[0, 2]].any()
    assert not labels[[0, 2]].any()


@pytest.mark.parametrize(
    "out",
    [
        Sample(np.zeros((12, 17), np.uint8), np.zeros((12, 17), np.uint8)),
        Sample(np.zeros((13, 17), np.uint8), np.zeros((13, 16), np.uint8)),
        Sample(np.zeros((13, 17), np.uint16), np.zeros((13, 17), np.uint8)),
        Sample(np.zeros((13, 17), np.uint8), np.zeros((13, 17), np.uint16)),
    ],
)
def test_given_arrays_of_another_shape_or_dtype_are_refused(
    plain_recipe: Callable[..., Recipe], make_slice: Callable[..., Any], out: Sample
) -> None:
    """The kernel checks no bounds: larger arrays end in a segmentation fault, smaller ones in another window."""
    source = prepare_slice(*make_slice((20, 30)))
    with pytest.raises(AugpipeError):
        render_prepared(source, plain_recipe((13, 17)), out)


@pytest.mark.parametrize("dtype", [">u2", ">f4"])
def test_big_endian_pixels_are_rendered_alike_or_refused(
    plain_recipe: Callable[..., Recipe], make_slice: Callable[..., Any], dtype: str
) -> None:
    """ImageJ writes them; the compiler does not know them, and would say so in a page of its own terms."""
    image, label = make_slice((20, 30), np.dtype(dtype).newbyteorder("=").name)
    with contextlib.suppress(ConfigError):
        assert np.array_equal(render(image.astype(dtype), label, plain_recipe((20, 30))).label, label)
    with contextlib.suppress(ConfigError):
        assert np.array_equal(render(image, label.astype(">u2"), plain_recipe((20, 30))).label, label)


def test_the_slice_s_memory_layout_does_not_matter(
    plain_recipe: Callable[..., Recipe], make_slice: Callable[..., Any]
) -> None:
    """Slices arrive as views of a stack, transposed, or read-only from a memory map."""
    image, label = make_slice((20, 30))
    recipe = plain_recipe((25, 25), matrix=rotation_matrix(10.0))
    expected = render(image, label, recipe)
    spread = np.zeros((40, 60), np.uint8)
    spread[::2, ::2] = image
    image.flags.writeable = False
    for same in (np.asfortranarray(image), spread[::2, ::2], image):
        sample = render(same, np.asfortranarray(label), recipe)
        assert np.array_equal(sample.image, expected.image)
        assert np.array_equal(sample.label, expected.label)


def test_the_slice_is_left_alone(plain_recipe: Callable[..., Recipe], make_slice: Callable[..., Any]) -> None:
    image, label = make_slice((20, 30))
    before = image.copy(), label.copy()
    sample = render(image, label, plain_recipe((20, 30)))
    sample.image[:] = 0
    sample.label[:] = 9
    assert np.array_equal(image, before[0])
    assert np.array_equal(label, before[1])


def test_threads_render_what_one_thread_renders(make_slice: Callable[..., Any]) -> None:
    """They share one prepared slice and the cache of spline weights, and the kernel runs without the GIL."""
    n_threads = 4
    source = prepare_slice(*make_slice((96, 80)))
    ranges = AugmentRanges(flip=True, zoom=(0.8, 1.2))
    recipes = [
        draw_recipe(ranges, Stream(0, (k,)), window=(150 + k, 330), slice_size=source.size)
        for k in range(4 * n_threads)
    ]
    serial = [render_prepared(source, recipe) for recipe in recipes]
    together = Barrier(n_threads)

    def work(thread: int) -> list[Sample]:
        together.wait(timeout=60)
        return [render_prepared(source, recipe) for recipe in recipes[thread::n_threads]]

    with ThreadPoolExecutor(n_threads) as pool:
        threaded = list(pool.map(work, range(n_threads)))
    for thread, samples in enumerate(threaded):
        for sample, expected in zip(samples, serial[thread::n_threads], strict=True):
            assert np.array_equal(sample.image, expected.image)
            assert np.array_equal(sample.label, expected.label)


def test_nbytes_counts_what_a_prepared_slice_holds(make_slice: Callable[..., Any]) -> None:
    """The cache of slices is bounded by it: 4 bytes a coefficient and 1 a label, over 4 more pixels a side."""
    assert prepare_slice(*make_slice((20, 30))).nbytes == 28 * 38 * (4 + 1)


@pytest.mark.parametrize(
    "changes",
    [
        {"shift_px": (1e6, 0.0)},
        {"shift_px": (0.0, -1e6)},
        {"matrix": ((0.0, 1e5), (1.0, 0.0))},
        {"matrix": ((1.0, 0.0), (-1e5, 0.0))},
        {"grid_px": (((0.0, 0.0), (0.0, 0.0)), ((0.0, 0.0), (-1e5, 0.0)))},
    ],
)
def test_a_recipe_that_reaches_too_far_is_refused(
    plain_recipe: Callable[..., Recipe], make_slice: Callable[..., Any], changes: dict[str, Any]
) -> None:
    """The kernel folds over a bounded number of mirror images; beyond, it would read outside the slice."""
    image, label = make_slice((20, 20))
    with pytest.raises(RecipeError, match=r"it reaches [\d]+ px over a slice of \(20, 20\) px"):
        render(image, label, plain_recipe((8, 8), **changes))


def test_a_fault_that_moves_tissue_too_far_is_refused_as_such(
    plain_recipe: Callable[..., Recipe], make_slice: Callable[..., Any]
) -> None:
    far = Defects("jump", (0.0, 1.0), (0.0, 1.0), 9000.0, (9000.0, 0.0))
    with pytest.raises(RecipeError, match=r"use a smaller window, defects, or a larger zoom"):
        render(*make_slice((8, 8)), replace(plain_recipe((8, 8)), defects=far))


def test_the_slice_s_shorter_side_decides_what_is_too_far(
    plain_recipe: Callable[..., Recipe], make_slice: Callable[..., Any]
) -> None:
    recipe = plain_recipe((8, 8), shift_px=(5000.0, 0.0))
    render(*make_slice((20, 20)), recipe)
    with pytest.raises(RecipeError):
        render(*make_slice((2, 20)), recipe)


@pytest.mark.parametrize(
    ("image", "label", "message"),
    [
        (np.zeros((4, 5), np.int8), np.zeros((4, 5), np.uint8), "uint8, uint16, int16, float32, got int8"),
        (np.zeros((4, 5), np.float64), np.zeros((4, 5), np.uint8), "got float64"),
        (np.zeros((4, 5), np.uint8), np.zeros((4, 5), np.int32), "label must be uint8, uint16, uint32, got int32"),
        (np.zeros((4, 5), np.uint8), np.zeros((4, 5), bool), "label must be uint8, uint16, uint32, got bool"),
        (np.zeros((4, 5), np.uint8), np.zeros((5, 4), np.uint8), r"got \(4, 5\) and \(5, 4\)"),
        (np.zeros((4, 5, 3), np.uint8), np.zeros((4, 5, 3), np.uint8), r"got \(4, 5, 3\)"),
        (np.zeros(4, np.uint8), np.zeros(4, np.uint8), r"got \(4,\)"),
        (np.zeros((0, 5), np.uint8), np.zeros((0, 5), np.uint8), r"got \(0, 5\)"),
    ],
)
def test_slices_that_cannot_be_rendered_are_refused(image: Any, label: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        prepare_slice(image, label)


@pytest.fixture(scope="module")
def isbi() -> tuple[Any, Any]:
    if not (ISBI / "train-volume.tif").exists():
        pytest.skip(f"{ISBI} is missing")
    return tifffile.imread(ISBI / "train-volume.tif"), tifffile.imread(ISBI / "train-labels.tif")


@pytest.mark.isbi
@pytest.mark.parametrize("z", [0, 14, 29])
def test_real_slices_are_rendered_as_scipy_renders_them(
    isbi: tuple[Any, Any], expect: Callable[..., Any], assert_matches: Callable[..., None], z: int
) -> None:
    """At the original project's window of 700 px on slices of 512 px."""
    image, label = isbi[0][z], isbi[1][z]
    recipe = draw_recipe(AugmentRanges(flip=True), Stream(0, (0, z, 0)), window=(700, 700), slice_size=image.shape)
    assert_matches(render(image, label, recipe), expect(image, label, recipe))


@pytest.mark.isbi
@pytest.mark.parametrize(("z", "extent"), [(0, "padded"), (14, "window"), (29, "padded")])
def test_real_slices_are_rendered_as_elasticdeform_renders_them(isbi: tuple[Any, Any], z: int, extent: Any) -> None:
    """Without rotation, where the staged engine interpolates once as well."""
    image, label = isbi[0][z], isbi[1][z]
    ranges = AugmentRanges(rotate_deg=(0.0, 0.0), extent=extent)
    recipe = draw_recipe(ranges, Stream(0, (0, z, 0)), window=(700, 700), slice_size=image.shape)
    fused, staged = render(image, label, recipe), render_staged(image, label, recipe)
    difference = np.abs(fused.image.astype(int) - staged.image)
    assert difference.max() <= 1
    assert np.mean(difference == 0) >= 0.999
    assert np.mean(fused.label == staged.label) >= 0.9999


def test_a_pixel_that_is_not_a_number_is_refused(plain_recipe: Callable[..., Recipe]) -> None:
    """The spline would spread it over the whole sample."""
    image = np.ones((6, 6), np.float32)
    image[2, 3] = np.nan
    with pytest.raises(ConfigError, match="not numbers"):
        render(image, np.zeros((6, 6), np.uint8), plain_recipe((6, 6)))


def test_mirror_pad_by_hand() -> None:
    assert mirror_pad(np.array([[1, 2], [3, 4]]), 1).tolist() == [
        [1, 1, 2, 2],
        [1, 1, 2, 2],
        [3, 3, 4, 4],
        [3, 3, 4, 4],
    ]


# Channels


@pytest.mark.parametrize(
    ("dtype", "n_channels"), [("uint8", 3), ("uint16", 4), ("float32", 2), ("int16", 1), ("uint8", 32)]
)
def test_every_channel_is_rendered_as_if_it_were_alone(
    make_slice: Callable[..., Any], dtype: str, n_channels: int
) -> None:
    """Bit for bit, in windows of one block and of several, folded and not."""
    planes = [make_slice((40, 50), dtype, seed=seed)[0] for seed in range(n_channels)]
    image, (_, label) = np.stack(planes, axis=-1), make_slice((40, 50))
    ranges = AugmentRanges(gain=(0.8, 1.2), bias=(-2.0, 2.0))
    for window in ((30, 20), (33, 401)):
        recipe = draw_recipe(ranges, Stream(0, window), window=window, slice_size=(40, 50))
        sample = render(image, label, recipe)
        assert sample.image.shape == (*window, n_channels)
        for channel, plane in enumerate(planes):
            alone = render(plane, label, recipe)
            assert np.array_equal(sample.image[..., channel], alone.image)
            assert np.array_equal(sample.label, alone.label)


@pytest.mark.parametrize(("dtype", "n_channels"), [("uint8", 3), ("uint16", 4), ("float32", 2)])
def test_every_channel_is_what_scipy_makes_of_it(
    make_slice: Callable[..., Any],
    expect: Callable[..., Any],
    assert_matches: Callable[..., None],
    dtype: str,
    n_channels: int,
) -> None:
    planes = [make_slice((40, 50), dtype, seed=seed)[0] for seed in range(n_channels)]
    _, label = make_slice((40, 50))
    recipe = draw_recipe(AugmentRanges(), Stream(3, ()), window=(60, 70), slice_size=(40, 50))
    sample = render(np.stack(planes, axis=-1), label, recipe)
    for channel, plane in enumerate(planes):
        assert_matches(Sample(sample.image[..., channel], sample.label), expect(plane, label, recipe))


def test_too_many_channels_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"may have 32 channels, got 33; choose some"):
        prepare_slice(np.zeros((8, 8, 33), np.uint8), np.zeros((8, 8), np.uint8))


def test_memory_with_gaps_is_refused_rather_than_left_as_it_was(
    make_slice: Callable[..., Any], plain_recipe: Callable[..., Recipe]
) -> None:
    source = prepare_slice(*make_slice((8, 8)))
    with pytest.raises(ConfigError, match="out must be in C order"):
        render_prepared(
            source, plain_recipe((4, 4)), Sample(np.zeros((4, 8), np.uint8)[:, ::2], np.zeros((4, 4), np.uint8))
        )
