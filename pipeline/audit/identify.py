"""Which slice of the source a picture shows, told from its pixels alone."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.audit.features import SLICE_KEYPOINTS, Features, find_features
from pipeline.audit.matching import NO_MATCH, Match, match, pair_up

FOUND_INLIERS = 15
DOUBTFUL_INLIERS = 6  # from here on, a look at full resolution is worth its time
RUNNER_UP_FACTOR = 5
_QUICK_KEYPOINTS, _QUICK_SLICE_KEYPOINTS, _CANDIDATES = 150, 500, 6
_FULL_KEYPOINTS = 2000


class Picture(Protocol):
    """Anything that holds pixels."""

    def __call__(self) -> NDArray[Any]:
        """Return (Y, X)."""


@dataclass(frozen=True, slots=True)
class Place:
    """A picture that a sample may show, or its mirror image.

    Attributes:
        key: which picture.
        mirrored: whether it was mirrored left to right.
    """

    key: int
    mirrored: bool


@dataclass(frozen=True, slots=True, eq=False)
class Sighting:
    """The place that a sample was found in.

    Attributes:
        place: which picture, and whether mirrored.
        match: where in it; points of a mirrored picture are those of its mirror image.
        features: of the sample, and of the picture in that place: those that the match is made of.
        runner_up: inliers in the best place that is neither this one nor a neighbour of it.
    """

    place: Place
    match: Match
    features: tuple[Features, Features]
    runner_up: int

    @property
    def is_certain(self) -> bool:
        """Whether so many features agree here, and so few elsewhere, that no chance does it."""
        return self.match.inliers >= max(FOUND_INLIERS, RUNNER_UP_FACTOR * self.runner_up)


@dataclass(eq=False)
class PictureIndex:
    """Pictures that samples are looked up in.

    Attributes:
        pictures: what reads each of them.
        neighbours: for each, those that look alike by nature and do not count as runners-up, itself included.
    """

    pictures: Sequence[Picture]
    neighbours: list[frozenset[int]]
    _features: dict[Place, Features] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._full = lru_cache(maxsize=8)(self._full_features)

    def add(self, key: int) -> None:
        """Look at one picture; pictures may be added in any order, and from several threads."""
        image = self.pictures[key]()
        for mirrored in (False, True):
            self._features[Place(key, mirrored)] = find_features(mirror(image, mirrored), most=SLICE_KEYPOINTS)

    def find(self, image: NDArray[Any]) -> Sighting:
        """Return the best place for a picture (Y, X), certain or not."""
        features = find_features(image)
        places = self._candidates(features, self._features)
        sighting = self._look(features, {place: self._features[place] for place in places})
        if sighting.is_certain or sighting.match.inliers < DOUBTFUL_INLIERS:
            return sighting
        full = find_features(image, most=_FULL_KEYPOINTS, half=False)
        closer = self._look(full, {place: self._full(place) for place in places})
        return closer if closer.is_certain else sighting

    def features(self, place: Place) -> Features:
        """Return the features of a picture that was added."""
        return self._features[place]

    def _look(self, features: Features, places: dict[Place, Features]) -> Sighting:
        found = [(place, match(features, known)) for place, known in places.items()]
        found.sort(key=lambda each: (-each[1].inliers, each[0].key, each[0].mirrored))
        place, best = found[0] if found else (Place(0, mirrored=False), NO_MATCH)
        others = [each.inliers for other, each in found if other.key not in self.neighbours[place.key]]
        return Sighting(place, best, (features, places.get(place, features)), max(others, default=0))

    def _candidates(self, features: Features, places: dict[Place, Features]) -> list[Place]:
        """Return the places that share most features with the sample, wherever in it they are."""
        if len(places) <= _CANDIDATES:
            return list(places)
        quick = features.strongest(_QUICK_KEYPOINTS)
        if not len(quick):
            return []
        shared = {
            place: len(pair_up(quick, known.strongest(_QUICK_SLICE_KEYPOINTS))[0])
            for place, known in places.items()
            if len(known) > 1
        }
        return sorted(shared, key=lambda place: (-shared[place], place.key, place.mirrored))[:_CANDIDATES]

    def _full_features(self, place: Place) -> Features:
        image = mirror(self.pictures[place.key](), place.mirrored)
        return find_features(image, most=_FULL_KEYPOINTS, half=False)


def mirror(image: NDArray[Any], mirrored: bool) -> NDArray[Any]:  # as a picture is called
    """Return a picture as it is, or mirrored left to right."""
    return np.ascontiguousarray(image[:, ::-1]) if mirrored else image
