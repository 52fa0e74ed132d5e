"""What pictures share at one place though they share nothing else is no tissue; a copy or a patch of tissue is."""

from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from pipeline.audit.search.features import find_features
from pipeline.audit.search.furniture import find_furniture, turned_into_place
from pipeline.audit.search.picture_search import Found, PictureIndex
from pipeline.audit.search.registration import Match
from pipeline.source.phantom import make_phantom

Picture = NDArray[np.uint8]
SIDE, BAR_PX = 288, 48
N_KNOWN = 5


@cache
def tissue(z: int) -> Picture:
    """Return a slice of which no other is a neighbour."""
    picture: Picture = make_phantom((13, SIDE, SIDE), seed=2)[0][2 * z]
    return picture


def with_bar(picture: Picture) -> Picture:
    """Return a picture with the text of a microscope across its foot."""
    sheet = Image.fromarray(picture)
    draw = ImageDraw.Draw(sheet)
    draw.rectangle((0, SIDE - BAR_PX, SIDE, SIDE), fill=0)
    for row, text in enumerate(("HV 5.00 kV   mag 20 000 x   WD 4.9 mm", "det TLD   HFW 6.4 um   tilt 0   500 nm")):
        draw.text((6, SIDE - BAR_PX + 8 + 18 * row), text, fill=255)
    return np.array(sheet)


def look_up(sample: Picture, known: list[Picture]) -> Found:
    index = PictureIndex([find_features(each) for each in known], known.__getitem__)
    return index.find(sample, find_features(sample))


def keys(found: Found) -> list[int]:
    return [each.candidate.key for each in found.sightings]


@cache
def bars() -> list[Picture]:
    return [with_bar(tissue(z)) for z in range(N_KNOWN)]


def test_a_data_bar_is_not_tissue() -> None:
    sample = with_bar(tissue(6))
    found = look_up(sample, bars())
    assert keys(found) == []
    assert SIDE * BAR_PX * 0.5 < found.left_out_px < SIDE * BAR_PX * 2
    furniture = find_furniture(sample, bars())
    assert furniture is not None
    assert not furniture[: (SIDE - 2 * BAR_PX) // 2].any()


@pytest.mark.parametrize("quarters", range(4))
def test_a_data_bar_is_not_tissue_however_the_picture_is_turned(quarters: int) -> None:
    assert keys(look_up(np.rot90(with_bar(tissue(6)), quarters).copy(), bars())) == []


@pytest.mark.parametrize("gain", [1.0, 0.7])
def test_a_copy_is_found_by_its_tissue_though_it_has_the_data_bar(gain: float) -> None:
    sample = (with_bar(tissue(3)) * gain).astype(np.uint8)
    assert keys(look_up(sample, bars())) == [3]


def test_tissue_that_moved_is_found_though_the_data_bar_did_not() -> None:
    sample = with_bar(np.rot90(tissue(3), 1).copy())
    assert keys(look_up(sample, bars())) == [3]


def test_two_pictures_that_share_a_bar_do_not_make_it_furniture() -> None:
    """It may as well be tissue that was pasted."""
    found = look_up(with_bar(tissue(6)), bars()[:2])
    assert keys(found) != []
    assert found.left_out_px == 0


def test_copies_of_one_picture_are_no_furniture() -> None:
    """A half-erased sample agrees with four copies of a picture at its place, and they agree with each other."""
    copies = [np.clip(tissue(0) * gain, 0, 255).astype(np.uint8) for gain in (0.7, 0.8, 0.9, 1.0)]
    noise = np.random.default_rng(0).normal(128, 30, (SIDE, SIDE)).clip(0, 255).astype(np.uint8)
    sample = np.where(np.arange(SIDE) < SIDE // 2, tissue(0), noise)
    assert find_furniture(sample, copies) is None
    assert 3 in keys(look_up(sample, copies))


def test_a_patch_of_one_picture_in_the_same_place_is_found() -> None:
    sample = tissue(6).copy()
    sample[60:190, 60:190] = tissue(1)[60:190, 60:190]
    assert keys(look_up(sample, [tissue(z) for z in range(N_KNOWN)])) == [1]


@pytest.mark.parametrize("others", [[], [0, 1], [0, 1, 2, 3, 4]])
def test_pictures_that_share_nothing_have_no_furniture(others: list[int]) -> None:
    assert find_furniture(tissue(6), [tissue(z) for z in others]) is None


@pytest.mark.parametrize("quarters", range(4))
def test_a_picture_is_turned_to_show_the_same_at_the_same_place(quarters: int) -> None:
    sample: NDArray[Any] = np.arange(20, dtype=np.uint8).reshape(4, 5)
    other = np.ascontiguousarray(np.rot90(sample, quarters))
    places = [(x, y) for y in range(4) for x in range(5)]
    where = [tuple(np.argwhere(other == sample[y, x])[0, ::-1]) for x, y in places]
    match = Match(np.array(places, np.float32), np.array(where, np.float32), np.eye(2, 3))
    turned = turned_into_place(match, sample.shape, other)
    assert turned is not None
    assert np.array_equal(turned, sample)


def test_a_picture_that_shows_it_elsewhere_cannot_be_turned_into_place() -> None:
    sample = np.zeros((40, 50), np.uint8)
    places = np.array([(5, 5), (20, 9), (30, 30)], np.float32)
    assert turned_into_place(Match(places, places + 6, np.eye(2, 3)), sample.shape, sample) is None
    assert turned_into_place(Match(places, places, np.eye(2, 3)), sample.shape, np.zeros((41, 50), np.uint8)) is None


def test_what_reaches_into_the_middle_is_no_furniture() -> None:
    """A patch of tissue in four pictures, at its own place: a mosaic, or a camera that stood still."""
    pasted = [tissue(z).copy() for z in range(N_KNOWN)]
    for picture in pasted:
        picture[90:220, 90:220] = tissue(6)[90:220, 90:220]
    sample = tissue(5).copy()
    sample[90:220, 90:220] = tissue(6)[90:220, 90:220]
    assert find_furniture(sample, pasted) is None
    assert keys(look_up(sample, pasted)) != []


def test_pictures_of_little_else_share_their_bar_all_the_same() -> None:
    """A few cells on black: no two pictures have texture at the same place but in the bar."""
    y, x = np.mgrid[:SIDE, :SIDE]

    def cells(number: int) -> Picture:
        rng = np.random.default_rng(number)
        picture = np.zeros((SIDE, SIDE), np.uint8)
        for row, column in rng.integers(20, SIDE - BAR_PX - 20, (6, 2)):
            picture[(y - row) ** 2 + (x - column) ** 2 < 10**2] = 180
        return with_bar(picture)

    found = look_up(cells(9), [cells(number) for number in range(N_KNOWN)])
    assert keys(found) == []
    assert found.left_out_px > 0
    assert len(found.features) < 60


def test_further_pictures_tell_furniture_where_few_are_compared() -> None:
    known = bars()[:1]
    more = [lambda z=z: bars()[z] for z in range(1, N_KNOWN)]
    sample = with_bar(tissue(6))
    features = [find_features(each) for each in known]
    assert PictureIndex(features, known.__getitem__).find(sample, find_features(sample)).sightings
    assert not PictureIndex(features, known.__getitem__, more).find(sample, find_features(sample)).sightings
