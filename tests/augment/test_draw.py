"""Drawn recipes belong to their address, stay in their ranges, and mean what their names say once rendered."""

import math
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from augment.coordinates import displacement, slice_coordinates, window_offsets
from augment.draw import draw_recipe, grid_extent, look_at, ranges_of_sample, rotation_matrix
from augment.ranges import AugmentRanges, Extent
from augment.recipe import Recipe, to_float32
from augment.renderer import render
from augment.seeding import Stream

OPEN = AugmentRanges(flip=True, zoom=(0.8, 1.25), shift_px=9.0, gain=(0.9, 1.1), bias=(-5.0, 5.0))
WINDOW, SLICE = (40, 50), (64, 80)
GOLDEN = {
    "window": (40, 50),
    "grid_px": (
        ((2.4636788368225098, -6.195008277893066), (-1.9912554025650024, 0.3881256580352783)),
        ((4.198550701141357, -0.3257747292518616), (5.206380367279053, 0.8024455904960632)),
    ),
    "extent_px": (40, 50),
    "matrix": ((0.2778298854827881, 0.8959007859230042), (0.8959007859230042, -0.2778298854827881)),
    "shift_px": (-6.0, -8.0),
    "angle_deg": 287.22930908203125,
    "flip": True,
    "zoom": 1.066107988357544,
    "gain": 1.0737650394439697,
    "bias": 2.2933967113494873,
}


def draw(ranges: AugmentRanges, key: int = 0, **sizes: tuple[int, int]) -> Recipe:
    return draw_recipe(ranges, Stream(7, (key,)), **({"window": WINDOW, "slice_size": SLICE} | sizes))


def test_some_samples_alone_are_rotated_zoomed_or_brighter_and_the_others_mirrored_along_each_axis() -> None:
    """As nnU-Net has it: what is not rotated is, by chance, left to right and upside down."""
    ranges = replace(OPEN, probability={"rotate": 0.2, "zoom": 0.4, "gain": 0.6, "bias": 0.8})
    of_each = [ranges_of_sample(ranges, Stream(5, (12, key))) for key in range(500)]
    rotated, zoomed, gained, biased = (
        sum(getattr(each, name) == getattr(ranges, name) for each in of_each) / 500
        for name in ("rotate_deg", "zoom", "gain", "bias")
    )
    assert (round(rotated, 1), round(zoomed, 1), round(gained, 1), round(biased, 1)) == (0.2, 0.4, 0.6, 0.8)
    turned = [each.rotate_deg for each in of_each if each.rotate_deg != ranges.rotate_deg]
    assert 0.4 < turned.count((180.0, 180.0)) / len(turned) < 0.6
    assert set(turned) == {(0.0, 0.0), (180.0, 180.0)}
    upright = [ranges_of_sample(replace(ranges, flip=False), Stream(5, (12, key))).rotate_deg for key in range(100)]
    assert set(upright) == {(0.0, 360.0), (0.0, 0.0)}
    assert ranges_of_sample(OPEN, Stream(5, ())) == OPEN


def draw_flipped(ranges: AugmentRanges) -> Recipe:
    """Return a recipe whose flip was drawn as true, where the ranges allow it."""
    key = next(key for key in range(99) if draw(OPEN, key).flip)
    return draw(ranges, key)


@pytest.mark.parametrize(
    ("change", "moved"),
    [
        ({"rotate_deg": (10.0, 20.0)}, {"angle_deg", "matrix"}),
        ({"rotate_deg": (0.0, 0.0)}, {"angle_deg", "matrix"}),
        ({"flip": False}, {"flip", "matrix"}),
        ({"zoom": (1.0, 1.0)}, {"zoom", "matrix"}),
        ({"gain": (1.0, 1.0)}, {"gain"}),
        ({"bias": (0.0, 0.0)}, {"bias"}),
        ({"shift_px": 0.0}, {"shift_px"}),
        ({"shift_px": 20.0}, {"shift_px"}),
        ({"sigma_px": 0.0}, {"grid_px"}),
        ({"sigma_px": 3.0}, {"grid_px"}),
        ({"grid_points": 5}, {"grid_px"}),
        ({"extent": "padded"}, {"extent_px"}),
    ],
)
def test_changing_one_range_moves_no_other_number(change: dict[str, Any], moved: set[str]) -> None:
    """So two datasets that differ in one range can be compared sample by sample."""
    before, after = asdict(draw_flipped(OPEN)), asdict(draw_flipped(replace(OPEN, **change)))
    assert {name for name in before if before[name] != after[name]} == moved


def test_the_window_s_size_moves_no_other_number() -> None:
    before, after = asdict(draw(OPEN)), asdict(draw(OPEN, window=(60, 30)))
    assert {name for name in before if before[name] != after[name]} == {"window", "extent_px"}


def test_the_same_address_gives_the_same_recipe_whatever_was_drawn_before() -> None:
    expected = draw(OPEN, 3)
    for key in (8, 1, 5):
        draw(replace(OPEN, grid_points=4), key)
    assert draw(OPEN, 3) == expected


def test_another_address_gives_another_recipe() -> None:
    assert len({draw(OPEN, key) for key in range(50)}) == 50


def test_a_recipe_of_a_known_address_is_this_for_ever() -> None:
    """A change here is a change of every dataset that was ever published: it needs a new renderer version."""
    recipe = draw(replace(OPEN, grid_points=2, sigma_px=4.0))
    assert recipe.to_json() == GOLDEN


def test_every_number_lies_in_its_range() -> None:
    drawn = [draw(OPEN, key) for key in range(200)]
    for name in ("zoom", "gain", "bias"):
        low, high = getattr(OPEN, name)
        values = [getattr(recipe, name) for recipe in drawn]
        assert low <= min(values) < low + 0.05 * (high - low)
        assert high - 0.05 * (high - low) < max(values) <= high
    angles, _ = np.histogram([recipe.angle_deg for recipe in drawn], bins=4, range=(0, 360))
    assert angles.sum() == 200
    assert angles.min() > 30
    assert 70 < sum(recipe.flip for recipe in drawn) < 130


def test_every_real_is_a_float32_value() -> None:
    """`Recipe` refuses all others, whatever the ranges."""
    ranges = AugmentRanges(rotate_deg=(0.1, 0.1), zoom=(0.3, 0.3), gain=(1.1, 1.1), bias=(0.7, 0.7), sigma_px=0.1)
    recipe = draw(ranges)
    assert (recipe.angle_deg, recipe.zoom, recipe.gain, recipe.bias) == tuple(map(to_float32, (0.1, 0.3, 1.1, 0.7)))


def test_displacements_are_normal_with_the_ranges_sigma() -> None:
    grid = np.array([draw(replace(OPEN, sigma_px=4.0), key).grid_px for key in range(200)])  # (200, 2, 3, 3)
    assert grid.shape == (200, 2, 3, 3)
    assert grid.mean(axis=0) == pytest.approx(np.zeros((2, 3, 3)), abs=1.1)
    assert grid.std(axis=0) == pytest.approx(np.full((2, 3, 3), 4.0), abs=0.8)
    correlation = np.corrcoef(grid.reshape(200, 18), rowvar=False) - np.eye(18)
    assert np.abs(correlation).max() < 0.3


def test_a_window_that_covers_the_slice_is_not_shifted() -> None:
    for key in range(20):
        assert draw(AugmentRanges(), key, window=(64, 90)).shift_px == (0.0, 0.0)


def test_only_the_axis_on_which_the_slice_is_larger_is_shifted() -> None:
    shifts = np.array([draw(AugmentRanges(), key, window=(70, 50)).shift_px for key in range(50)])
    assert not shifts[:, 0].any()
    assert np.ptp(shifts[:, 1]) > 20


def test_a_smaller_window_reaches_every_corner_of_the_slice_and_not_beyond() -> None:
    """By whole pixels, so that an unrotated, undeformed sample shows pixels as they are."""
    drawn = [draw(AugmentRanges(), key, window=(8, 10), slice_size=(12, 12)).shift_px for key in range(300)]
    assert set(drawn) == {(float(y), float(x)) for y in (-2, -1, 0, 1, 2) for x in (-1, 0, 1)}


@pytest.mark.parametrize("more_px", [0, 1])
def test_a_given_shift_is_drawn_evenly_up_to_its_limit(more_px: int) -> None:
    """In whole steps that put pixel on pixel: half a pixel off where slice and window differ by an odd number."""
    window = (SLICE[0] + 40 + more_px, SLICE[1] + 40 + more_px)
    shifts = [draw(replace(OPEN, shift_px=2.9), key, window=window).shift_px[0] for key in range(500)]
    values, counts = np.unique(shifts, return_counts=True)
    assert values.tolist() == ([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5] if more_px else [-2.0, -1.0, 0.0, 1.0, 2.0])
    assert counts.min() > 55


def test_the_padded_extent_is_the_original_code_s() -> None:
    """Its canvas for 700 px on a slice of 512 px was 512 + 2 x (188 + 200) = 1288 px wide."""
    assert grid_extent("padded", window=(700, 700), slice_size=(512, 512)) == (1288, 1288)


def test_the_extent_is_counted_along_each_axis() -> None:
    assert grid_extent("padded", window=(100, 30), slice_size=(50, 60)) == (50 + 2 * 250, 60 + 2 * 200)
    assert grid_extent("window", window=(100, 30), slice_size=(50, 60)) == (100, 30)


@given(angle=st.floats(-1000, 1000), flip=st.booleans(), zoom=st.floats(0.05, 20))
def test_areas_shrink_by_zoom_squared_and_only_a_flip_changes_sides(angle: float, flip: bool, zoom: float) -> None:
    """The matrix leads back to the slice, so a zoom of 2 shows a quarter of the tissue."""
    (yy, yx), (xy, xx) = rotation_matrix(angle, flip=flip, zoom=zoom)
    sign = -1 if flip else 1
    assert (yy * xx - yx * xy) * zoom**2 == pytest.approx(sign, rel=1e-5)
    assert math.hypot(yy, xy) * zoom == pytest.approx(1, rel=1e-5)  # nothing is stretched or sheared
    assert yy * yx + xy * xx == pytest.approx(0, abs=1e-6 / zoom**2)


@pytest.fixture
def turned(
    plain_recipe: Callable[..., Recipe], make_slice: Callable[..., Any]
) -> Callable[..., tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]]:
    """Return a function that gives a 7 x 10 slice's image and label before and after a rotation."""

    def turn(window: tuple[int, int], angle_deg: float, *, flip: bool = False) -> tuple[NDArray[Any], ...]:
        image, label = make_slice((7, 10))
        return image, label, *render(image, label, plain_recipe(window, matrix=rotation_matrix(angle_deg, flip=flip)))

    return turn


@pytest.mark.parametrize("quarters", [0, 1, 2, 3, 4])
def test_a_positive_angle_turns_counter_clockwise_like_rot90(turned: Callable[..., Any], quarters: int) -> None:
    window = (7, 10) if quarters % 2 == 0 else (10, 7)
    image, label, image_out, label_out = turned(window, 90.0 * quarters)
    assert np.array_equal(image_out, np.rot90(image, quarters))
    assert np.array_equal(label_out, np.rot90(label, quarters))


@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
def test_a_flip_mirrors_left_to_right_after_the_rotation(turned: Callable[..., Any], quarters: int) -> None:
    window = (7, 10) if quarters % 2 == 0 else (10, 7)
    image, label, image_out, label_out = turned(window, 90.0 * quarters, flip=True)
    assert np.array_equal(image_out, np.fliplr(np.rot90(image, quarters)))
    assert np.array_equal(label_out, np.fliplr(np.rot90(label, quarters)))


def test_a_zoom_of_2_doubles_sizes(plain_recipe: Callable[..., Recipe]) -> None:
    label = np.zeros((16, 16), np.uint8)
    label[6:10, 5:11] = 1  # 4 x 6 in the middle
    recipe = plain_recipe((16, 16), matrix=rotation_matrix(0.0, zoom=2.0))
    expected = np.zeros((16, 16), np.uint8)
    expected[4:12, 2:14] = 1  # 8 x 12
    assert np.array_equal(render(label, label, recipe).label, expected)


def test_matrix_and_named_numbers_of_a_drawn_recipe_agree() -> None:
    """Angle, flip and zoom are recorded to be read; they must not tell another story than the matrix."""
    for key in range(20):
        recipe = draw(OPEN, key)
        assert recipe.matrix == rotation_matrix(recipe.angle_deg, flip=recipe.flip, zoom=recipe.zoom)


def test_a_window_an_odd_number_of_pixels_smaller_still_reaches_every_corner() -> None:
    """Half-pixel shifts put its pixels on the slice's: whole ones would leave out one edge, and split every pixel."""
    shifts = {draw(AugmentRanges(), key, window=(9, 10), slice_size=(12, 12)).shift_px[0] for key in range(300)}
    assert shifts == {-1.5, -0.5, 0.5, 1.5}


def test_a_window_that_covers_a_slice_shows_its_very_pixels_whatever_their_sizes() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (12, 12)).astype(np.uint8)
    still = AugmentRanges(rotate_deg=(0.0, 0.0), sigma_px=0.0)
    image = render(pixels, pixels, draw(still, window=(17, 16), slice_size=(12, 12))).image
    assert np.array_equal(image[3:15, 2:14], pixels)


@given(
    st.tuples(st.integers(2, 41), st.integers(2, 41)),
    st.tuples(st.integers(1, 70), st.integers(1, 70)),
    st.sampled_from(["window", "padded"]),
    st.integers(2, 5),
    st.integers(0, 99),
    st.data(),
)
def test_the_centre_pixel_looks_at_the_place(
    window: tuple[int, int], size: tuple[int, int], extent: Extent, points: int, key: int, data: st.DataObject
) -> None:
    """Whatever is rotated, mirrored, magnified or deformed, and however small the slice is."""
    place = tuple(data.draw(st.integers(0, side - 1)) for side in size)
    drawn = draw(replace(OPEN, extent=extent, grid_points=points), key, window=window, slice_size=size)
    recipe = look_at(drawn, place, size)
    row, column = window[0] // 2, window[1] // 2
    seen = slice_coordinates(window_offsets(window) + displacement(recipe), recipe, size)[:, row, column]
    np.testing.assert_allclose(seen, place, atol=1e-4)
    label = np.zeros(size, np.uint8)
    label[place] = 1
    assert render(np.zeros(size, np.uint8), label, recipe).label[row, column] == 1
    assert asdict(recipe) | {"shift_px": drawn.shift_px, "place": None} == asdict(drawn)
