"""The search for pictures that show the same: votes of features, geometry, and agreement of the pixels.

Three steps, each surer and slower than the one before:
1. Votes. Each of a sample's strongest features votes for the picture that holds the nearest feature to it, with the
   turn and the scale between the two. Chance votes differ in these, so that a few that agree are worth a look (Jegou et
   al. 2008, "Hamming embedding and weak geometric consistency").
2. Geometry. Matches must support each other, wherever they are: see `pipeline.audit.search.registration`.
3. Pixels. Along the field that the matches carry, the pictures must correlate in windows of a certain area.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.audit.search.features import (
    SAMPLE_KEYPOINTS,
    VARIANTS,
    Features,
    find_features,
    mirror,
    shrinkage,
    to_gray8,
)
from pipeline.audit.search.furniture import find_furniture, turned_into_place
from pipeline.audit.search.likeness import compare
from pipeline.audit.search.periodicity import is_periodic
from pipeline.audit.search.registration import MIN_GROUP, fit_warp, match_features
from pipeline.audit.search.sighting import Candidate, Sighting

_MAX_CANDIDATES = 8
_MIN_VOTES = 3
_MORE = 8  # pictures, beside those found, that are looked at for furniture
_ROUNDS = 3  # of looking for furniture, each without what was found before
_BLOCK = 1 << 12  # features of the index that are compared at once; each thread has a table of them
_INDEX_SIZE, _MIN_VOTERS, _MAX_VOTERS = 80_000, 80, 1000  # features of all pictures together, and of each of them
_QUERY, _QUERY_OF_MANY, _MANY = 400, 100, 60_000  # a sample's features that vote, fewer where the index holds many
_TURNS, _SCALES, _SCALE_STEP, _MAX_LOG2 = 12, 14, 0.5, 3.5


class Found(NamedTuple):
    """What a search has found.

    Attributes:
        sightings: what the sample certainly shows, the one with the largest area first.
        features: of the sample, that could agree.
        left_out_px: pixels of furniture, which were left out.
    """

    sightings: list[Sighting]
    features: Features
    left_out_px: int


def learn_picture(image: NDArray[Any], *, most: int = SAMPLE_KEYPOINTS) -> Features:
    """Return the features of a picture (Y, X) by which it can be told from others; a periodic pattern has none."""
    features = find_features(image, most=most)
    return features.strongest(0) if is_periodic(to_gray8(image)) else features


class PictureIndex:
    """Pictures in which the ones that others show are looked up, from any thread.

    Args:
        features: of each picture.
        image: reads picture k (Y, X).
        more: reads further pictures, a few of which are looked at to tell furniture.
    """

    def __init__(
        self,
        features: Sequence[Features],
        image: Callable[[int], NDArray[Any]],
        more: Sequence[Callable[[], NDArray[Any]]] = (),
    ) -> None:
        self._features = features
        self._image = image
        self._more = more
        voters = [each.strongest(_clip(_INDEX_SIZE // max(len(features), 1), _MAX_VOTERS)) for each in features]
        self._owner = np.repeat(np.arange(len(voters)), [len(each) for each in voters])
        descriptors = np.concatenate([*(each.descriptors for each in voters), np.zeros((0, 128), np.uint8)])
        self._holds_many = len(descriptors) > _MANY
        self._voters = _with_column(_pooled(descriptors) if self._holds_many else descriptors)
        self._voters[:, -1] = np.square(self._voters[:, :-1]).sum(axis=1) * np.float32(-0.5)
        self._angles = np.concatenate([*(each.angles for each in voters), np.zeros(0, np.float32)])
        self._log2 = np.log2(np.concatenate([*(each.sizes for each in voters), np.zeros(0, np.float32)]))

    def find(self, image: NDArray[Any], features: Features) -> Found:
        """Return the pictures that a sample (Y, X) certainly shows, when furniture is left out of it."""
        left_out = _nothing_of(image)
        sightings = self._look_at(image, features, left_out, self.vote(features))
        for _ in range(_ROUNDS):
            furniture = self._furniture(image, sightings)
            if furniture is None:
                break
            left_out |= furniture
            features = features.outside(left_out, shrinkage(image))
            sightings = self._look_at(image, features, left_out, self.vote(features))
        certain = [each for each in sightings if each.is_certain]
        ordered = sorted(certain, key=lambda each: (-each.agreement.area_px, each.candidate))
        return Found(ordered, features, int(left_out.sum()) * shrinkage(image) ** 2)

    def find_in(self, key: int, image: NDArray[Any], features: Features) -> list[Sighting]:
        """Return how a sample (Y, X) certainly shows picture `key`; no other is looked at."""
        candidates = [Candidate(key, variant) for variant in VARIANTS]
        return [each for each in self._look_at(image, features, _nothing_of(image), candidates) if each.is_certain]

    def _furniture(self, image: NDArray[Any], sightings: Sequence[Sighting]) -> NDArray[np.bool_] | None:
        """Return which part of a sample is furniture, where something was certainly found at its own place."""
        in_place = [(each, other) for each in sightings if (other := self._turned_into_place(image, each)) is not None]
        if not any(sighting.is_certain for sighting, _ in in_place):
            return None
        known = {sighting.candidate.key for sighting, _ in in_place}
        own = [self._image(key) for key in _some(len(self._features)) if key not in known]
        strange = [self._more[key]() for key in _some(len(self._more))]
        more = [other for other in (*own, *strange) if other.shape == image.shape]
        return find_furniture(image, [*(other for _, other in in_place), *more])

    def _turned_into_place(self, image: NDArray[Any], sighting: Sighting) -> NDArray[Any] | None:
        """Return the picture so turned and mirrored that it shows its part at the sample's place; None if it cannot."""
        mirrored, inverted = sighting.candidate.variant
        if inverted:
            return None
        other = turned_into_place(sighting.group, image.shape, self._image(sighting.candidate.key))
        return None if other is None else mirror(other, mirrored)

    def _look_at(
        self, image: NDArray[Any], features: Features, left_out: NDArray[np.bool_], candidates: Sequence[Candidate]
    ) -> list[Sighting]:
        sightings = []
        for candidate in candidates:
            own, other = features.seen_as(candidate.variant), self._features[candidate.key]
            group = match_features(own, other)
            if len(group.sample_points) < MIN_GROUP:
                continue
            warp = fit_warp(own, other, group)
            mirrored, inverted = candidate.variant
            sample, hidden = mirror(image, mirrored), mirror(left_out, mirrored)
            agreement, ncc = compare(sample, self._image(candidate.key), warp, inverted=inverted, left_out=hidden)
            sightings.append(Sighting(candidate, group, warp, agreement, ncc))
        return sightings

    def vote(self, features: Features) -> list[Candidate]:
        """Return the candidates with most votes that agree on a turn and a scale."""
        if not len(self._voters):
            return []
        query = features.strongest(_QUERY_OF_MANY if self._holds_many else _QUERY)
        if not len(query):
            return []
        seen = [query.seen_as(variant) for variant in VARIANTS]
        own = np.concatenate([each.descriptors for each in seen])
        nearest = self._nearest(_pooled(own) if self._holds_many else own)
        votes = []
        for variant, each, own in zip(VARIANTS, seen, np.split(nearest, len(VARIANTS)), strict=True):
            counts = self._count(each, own)
            best = np.argsort(-counts, kind="stable")[:_MAX_CANDIDATES]
            votes += [(-int(counts[key]), Candidate(int(key), variant)) for key in best if counts[key] >= _MIN_VOTES]
        return [candidate for _, candidate in sorted(votes)[:_MAX_CANDIDATES]]

    def _count(self, query: Features, nearest: NDArray[np.intp]) -> NDArray[np.intp]:
        """Return, for each picture, the most votes that agree within two steps of turn and of scale."""
        turn = np.floor((self._angles[nearest] - query.angles) * (_TURNS / (2 * np.pi))).astype(np.intp) % _TURNS
        log2 = self._log2[nearest] - np.log2(query.sizes)
        scale = np.clip(np.floor((log2 + _MAX_LOG2) / _SCALE_STEP), 0, _SCALES - 1).astype(np.intp)
        owners, row = np.unique(self._owner[nearest], return_inverse=True)
        table = np.zeros((len(owners), _TURNS, _SCALES + 1), np.intp)
        np.add.at(table, (row, turn, scale), 1)
        table += np.roll(table, 1, axis=1)
        counts = np.zeros(len(self._features), np.intp)
        counts[owners] = (table[..., :-1] + table[..., 1:]).max(axis=(1, 2))
        return counts

    def _nearest(self, descriptors: NDArray[np.uint8 | np.uint16]) -> NDArray[np.intp]:
        """Return the nearest feature of the index for each of a sample's.

        It has the highest product, less half of its own square, which the last column adds; both are exact.
        """
        own = _with_column(descriptors)
        nearest = np.zeros(len(own), np.intp)
        highest = np.full(len(own), -np.inf, np.float32)
        rows = np.arange(len(own))
        for start in range(0, len(self._voters), _BLOCK):
            likeness = own @ self._voters[start : start + _BLOCK].T
            best = likeness.argmax(axis=1)
            closer = likeness[rows, best] > highest
            nearest[closer] = best[closer] + start
            highest[closer] = likeness[rows, best][closer]
        return nearest


def _with_column(descriptors: NDArray[np.uint8 | np.uint16]) -> NDArray[np.float32]:
    """Return (n, d + 1), descriptors and a column of 1."""
    return np.pad(descriptors.astype(np.float32), ((0, 0), (0, 1)), constant_values=1.0)


def _pooled(descriptors: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """Return (n, 32), the sums of 2 x 2 of a descriptor's 4 x 4 cells: a quarter of the work, good enough to vote."""
    cells: NDArray[np.uint16] = descriptors.reshape(-1, 2, 2, 2, 2, 8).sum(axis=(2, 4), dtype=np.uint16)
    return cells.reshape(-1, 32)


def _some(n: int) -> list[int]:
    """Return a few of n numbers, evenly chosen: many pictures may share what one shows, but too little to be found."""
    return sorted({round(position) for position in np.linspace(0, n - 1, min(n, _MORE))})


def _nothing_of(image: NDArray[Any]) -> NDArray[np.bool_]:
    """Return an empty part (y, x) of a picture, every step-th pixel."""
    return np.zeros([math.ceil(side / shrinkage(image)) for side in image.shape], np.bool_)


def _clip(number: int, most: int) -> int:
    return min(max(number, _MIN_VOTERS), most)
