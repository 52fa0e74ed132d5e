"""Faults of sections: what each does to image and label, against scipy and small windows written out."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.ndimage
from hypothesis import given
from hypothesis import strategies as st

from augment.coordinates import displacement, slice_coordinates, window_offsets
from augment.draw import draw_recipe, look_at
from augment.operations import Defects
from augment.operations.drawing import Drawing
from augment.operations.faults import darken, is_beyond, is_hidden
from augment.ranges import AugmentRanges
from augment.recipe import Recipe
from augment.renderer import render
from augment.seeding import Stream

IGNORED = 255
sizes = st.integers(8, 90)


def draw(key: int, window: tuple[int, int] = (64, 80), strength: tuple[float, float] = (4.0, 9.0)) -> Defects:
    return Defects.draw(strength, Drawing(Stream(5, (9, key)), window, 1, per_channel=False))


def drawn(kind: str, window: tuple[int, int] = (64, 80), strength: tuple[float, float] = (4.0, 9.0)) -> Defects:
    """Return the first fault of a kind."""
    return next(each for key in range(200) if (each := draw(key, window, strength)).kind == kind)


def test_what_is_missing_is_black_and_says_nothing(plain_recipe: Callable[..., Recipe]) -> None:
    image = np.arange(60, 96, dtype=np.uint8).reshape(6, 6)
    label = np.ones((6, 6), np.uint8)
    missing = Defects("missing", (0.0, 1.0), (0.0, 1.0), 5.0, darkness=1.0)
    sample = render(image, label, plain_recipe((6, 6), defects=missing))
    beyond = np.s_[:, 4:]  # columns 4 and 5 are 1.5 and 2.5 px right of the middle
    expected, expected_label = image.copy(), label.copy()
    expected[beyond], expected_label[beyond] = 60, IGNORED
    assert np.array_equal(sample.image, expected)
    assert np.array_equal(sample.label, expected_label)


def test_what_lies_beyond_a_jump_has_moved_with_its_label(plain_recipe: Callable[..., Recipe], make_slice: Any) -> None:
    image, label = make_slice((40, 40))
    jump = Defects("jump", (1.0, 0.0), (2.0, 0.0), 3.0, shift_px=(1.0, -3.0))
    sample = render(image, label, plain_recipe((20, 20), defects=jump))
    for pixels, source in zip(sample, (image, label), strict=True):
        assert np.array_equal(pixels[:12], source[10:22, 10:30])
        assert np.array_equal(pixels[12:], source[23:31, 7:27])


def test_a_fold_takes_tissue_away_and_hides_some_more(plain_recipe: Callable[..., Recipe], make_slice: Any) -> None:
    image, label = make_slice((60, 60))
    fold = Defects("fold", (0.0, -1.0), (0.0, -5.0), 4.0, shift_px=(0.0, -8.0), darkness=1.0)
    sample = render(image, label, plain_recipe((30, 30), defects=fold))
    for pixels, source in zip(sample, (image, label), strict=True):
        assert np.array_equal(pixels[:, 12:], source[15:45, 27:45])
        assert np.array_equal(pixels[:, :8], source[15:45, 7:15])
    assert (sample.label[:, 8:12] == IGNORED).all()
    assert np.ptp(sample.image[:, 8:12]) == 0


def test_a_spot_is_darkest_in_its_middle_and_hides_nothing(plain_recipe: Callable[..., Recipe]) -> None:
    image, label = np.full((81, 81), 200, np.uint8), np.ones((81, 81), np.uint8)
    image[0, 0] = 100
    spot = Defects("spot", (1.0, 0.0), (0.0, 10.0), 5.0, darkness=0.5)
    sample = render(image, label, plain_recipe((81, 81), defects=spot))
    assert np.array_equal(sample.label, label)
    y, x = np.indices((81, 81)) - 40.0
    inside = np.maximum(1 - (y / 10) ** 2 - ((x - 10) / 20) ** 2, 0)
    expected = image - 0.5 * (1 - (1 - inside) ** 2) * (image - 100.0)
    assert np.array_equal(sample.image, np.floor(expected + 0.5))
    assert sample.image[40, 50] == 150


@pytest.mark.parametrize("kind", ["jump", "fold"])
def test_moved_tissue_is_where_scipy_finds_it(kind: str, make_slice: Any) -> None:
    """Turned, magnified and deformed: what is beyond the line is looked up further on, by as much as was folded."""
    image, label = make_slice((70, 90), "float32")
    defects = drawn(kind)
    ranges = AugmentRanges(flip=True, zoom=(0.8, 1.3), sigma_px=3.0)
    recipe = replace(
        draw_recipe(ranges, Stream(1, (0,)), window=(64, 80), slice_size=image.shape), defects=replace(defects)
    )
    offsets = window_offsets(recipe.window) + displacement(recipe)
    beyond = is_beyond(defects, recipe.window)
    for axis, shift in enumerate(defects.shift_px):
        offsets[axis, beyond] += shift
    where = slice_coordinates(offsets, recipe, image.shape)
    margin = 200
    padded = np.pad(image.astype(np.float64), margin, mode="symmetric")
    expected = scipy.ndimage.map_coordinates(padded, where + margin, order=3, mode="mirror")
    hidden = is_hidden(defects, recipe.window)
    seen = np.ones(recipe.window, bool) if hidden is None else ~hidden
    sample = render(image, label, recipe)
    np.testing.assert_allclose(sample.image[seen], expected[seen], rtol=0, atol=2e-5)
    nearest = np.pad(label, margin, mode="symmetric")[tuple(np.floor(where + margin + 0.5).astype(int))]
    assert np.mean(sample.label[seen] != nearest[seen]) < 1e-3  # but for ties
    assert (sample.label[~seen] == IGNORED).all()


@given(key=st.integers(0, 2000), window=st.tuples(sizes, sizes), size=st.floats(0.0, 30.0))
def test_the_middle_of_a_window_stays_what_it_is(key: int, window: tuple[int, int], size: float) -> None:
    """A focus puts there what a sample is to show."""
    defects = draw(key, window, (size, size))
    middle = window[0] // 2, window[1] // 2
    assert not is_beyond(defects, window)[middle] or defects.kind == "spot"
    hidden = is_hidden(defects, window)
    assert hidden is None or not hidden[middle]


def test_a_focused_sample_shows_its_place_beside_a_fold(make_slice: Any) -> None:
    image, label = make_slice((200, 200))
    for kind in ("missing", "fold", "jump"):
        recipe = draw_recipe(AugmentRanges(), Stream(0, (0,)), window=(64, 80), slice_size=image.shape)
        recipe = replace(look_at(recipe, (120, 33), image.shape), defects=drawn(kind))
        assert render(image, label, recipe).label[32, 40] == label[120, 33]


def test_slices_beside_a_faulty_one_are_whole(plain_recipe: Callable[..., Recipe]) -> None:
    recipe = plain_recipe((64, 80), defects=draw(0))
    assert recipe.beside(1) == recipe.beside(-2) == plain_recipe((64, 80))
    assert recipe.beside(0) == recipe


def test_all_faults_are_drawn_equally_often() -> None:
    kinds = [draw(key).kind for key in range(2000)]
    for kind in ("missing", "spot", "fold", "jump"):
        assert abs(kinds.count(kind) / 2000 - 0.25) < 0.04


def test_every_channel_darkens_to_its_own_black() -> None:
    planes = np.stack((np.linspace(10, 20, 64), np.linspace(-500, 900, 64))).reshape(2, 8, 8)
    darken(planes, Defects("missing", (1.0, 0.0), (0.0, 0.0), 5.0, darkness=1.0))
    assert (planes[0, 4:] == 10).all()
    assert (planes[1, 4:] == -500).all()


def test_ids_of_mirrored_objects_and_of_ignored_margins_move_too(plain_recipe: Callable[..., Recipe]) -> None:
    """The window reaches 4 px over the lower edge; beyond the line, 2 px less."""
    image = np.zeros((20, 20), np.uint8)
    label = np.full((20, 20), 7, np.uint8)
    jump = Defects("jump", (0.0, 1.0), (0.0, 2.0), 2.0, shift_px=(-2.0, 0.0))
    recipe = plain_recipe((20, 20), shift_px=(4.0, 0.0), defects=jump)
    for margin, mirrored in (("ignore", IGNORED), ("own", 8)):
        expected = np.full((20, 20), 7)
        expected[16:, :12] = expected[18:, 12:] = mirrored
        assert np.array_equal(render(image, label, recipe, margin=margin).label, expected)  # type: ignore[arg-type]
