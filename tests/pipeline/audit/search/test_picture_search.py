"""The search finds what a picture shares with another, however it was changed, and nothing where nothing is shared."""

from collections.abc import Callable
from functools import cache
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from augment.draw import draw_recipe
from augment.ranges import AugmentRanges
from augment.renderer import render
from augment.seeding import Stream
from pipeline.audit.search.features import VARIANTS, Variant, distances, find_features, mirror
from pipeline.audit.search.picture_search import PictureIndex
from pipeline.audit.search.sighting import Sighting
from pipeline.source.phantom import make_phantom

Picture = NDArray[np.uint8]
SIDE = 320


@cache
def tissue() -> Picture:
    return make_phantom((8, 420, 420), seed=3)[0]


@cache
def index() -> PictureIndex:
    """Return an index of crops of slices 0 to 3."""
    pictures = [view(z) for z in range(4)]
    return PictureIndex([find_features(each) for each in pictures], pictures.__getitem__)


@cache
def view(z: int, *, number: int = 0, sigma: float = 5.0, grid: int = 3) -> Picture:
    """Return a crop of a slice, turned and bent."""
    ranges = AugmentRanges(flip=True, grid_points=grid, sigma_px=sigma)
    recipe = draw_recipe(ranges, Stream(5, (z, number)), window=(SIDE, SIDE), slice_size=tissue()[z].shape)
    return np.asarray(render(tissue()[z], np.zeros_like(tissue()[z]), recipe).image)


def look_up(picture: Picture) -> list[Sighting]:
    return index().find(picture, find_features(picture)).sightings


def resized(picture: Picture, factor: float) -> Picture:
    return np.asarray(cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA), np.uint8)


def shaded(picture: Picture) -> Picture:
    return np.clip(picture * np.linspace(0.3, 1.6, SIDE), 0, 255).astype(np.uint8)


def erased(picture: Picture) -> Picture:
    return np.where(np.arange(SIDE) < SIDE // 2, picture, np.uint8(128))


CHANGES: dict[str, Callable[[], Any]] = {
    "turned and bent": lambda: view(2, number=1),
    "bent on a fine grid": lambda: view(2, number=1, sigma=8.0, grid=8),
    "half as large": lambda: resized(view(2, number=1), 0.5),
    "twice as large": lambda: resized(view(2, number=1)[:200, :200], 2.0),
    "inverted": lambda: 255 - view(2, number=1),
    "shaded": lambda: shaded(view(2, number=1)),
    "half of it erased": lambda: erased(view(2, number=1)),
    "a small crop": lambda: np.ascontiguousarray(view(2)[100:196, 100:196]),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_picture_is_found_however_it_was_changed(change: str) -> None:
    assert look_up(CHANGES[change]())[0].candidate.key == 2


def test_a_patch_of_another_picture_is_found() -> None:
    picture = view(6).copy()
    picture[20:130, 150:260] = view(1)[60:170, 40:150]
    assert [each.candidate for each in look_up(picture)] == [(1, Variant())]


def test_a_picture_made_of_two_shows_both() -> None:
    half = np.arange(SIDE) < SIDE // 2
    both = np.where(half, view(0), view(3))
    assert {each.candidate.key for each in look_up(both)} == {0, 3}


@pytest.mark.parametrize("z", [5, 6, 7])
def test_other_tissue_is_not_found(z: int) -> None:
    assert look_up(view(z)) == []


@pytest.mark.parametrize("picture", [np.zeros((300, 300), np.uint8), np.full((8, 8), 7, np.uint8)])
def test_a_picture_that_shows_nothing_is_not_found(picture: Picture) -> None:
    assert look_up(picture) == []


@pytest.mark.parametrize("variant", VARIANTS)
def test_features_of_a_mirrored_or_inverted_picture_follow_from_its_own(variant: Variant) -> None:
    """Otherwise each picture would have to be looked at four times."""
    image = tissue()[0][:255, :251]
    changed = mirror(255 - image if variant.inverted else image, variant.mirrored)
    own, other = find_features(image).seen_as(variant), find_features(changed)
    distance = distances(own, other)
    same = distance.min(axis=1) < 900
    assert same.mean() > 0.8
    partners = distance.argmin(axis=1)[same]
    assert np.median(np.hypot(*(own.points[same] - other.points[partners]).T)) < 1.5
    turn = own.angles[same] - other.angles[partners]
    assert np.median(np.abs(np.angle(np.exp(1j * turn)))) < 0.05
