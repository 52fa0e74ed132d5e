"""The search for pictures that show the same: votes of features, geometry, and agreement of the pixels.

Three steps, each surer and slower than the one before:
1. Votes. Each of a sample's strongest features votes for the picture that holds the nearest feature to it, with the
   turn and the scale between the two. Chance votes differ in these, so that a few that agree are worth a look (Jegou et
   al. 2008, "Hamming embedding and weak geometric consistency").
2. Geometry. Matches must support each other, wherever they are: see `pipeline.audit.search.registration`.
3. Pixels. Along the field that the matches carry, the pictures must correlate in windows of a certain area.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.audit.search.features import VARIANTS, Features, Variant, mirror
from pipeline.audit.search.likeness import Agreement, compare
from pipeline.audit.search.registration import MIN_GROUP, Match, Warp, fit_warp, match_features

FOUND_INLIERS = 16
FOUND_AREA_PX = 2000
FOUND_SHARE, FOUND_SHARE_PX = 0.22, 1000  # of what both show: where so much agrees, fewer features need to
_MAX_CANDIDATES = 8
_MIN_VOTES = 3
_BLOCK = 1 << 13  # features of the index that are compared at once; each thread has a table of them
_INDEX_SIZE, _MIN_VOTERS, _MAX_VOTERS = 80_000, 100, 1000  # features of all pictures together, and of each of them
_PRODUCTS, _MAX_QUERY = 20_000_000, 400  # for each variant of a sample: so many pairs of features are compared
_TURNS, _SCALES, _SCALE_STEP, _MAX_LOG2 = 12, 14, 0.5, 3.5


class Candidate(NamedTuple):
    """A picture of the index that a sample may show, and how the sample is to be changed before."""

    key: int
    variant: Variant


@dataclass(frozen=True, slots=True, eq=False)
class Sighting:
    """A picture that a sample shows, or shows a part of.

    Attributes:
        candidate: which picture, and whether mirrored or inverted.
        group: the matches that support each other; points of a mirrored sample are those of its mirror image.
        warp: the field from the (mirrored) sample to the picture.
        agreement: of the pixels.
        ncc: correlation of all that both show.
    """

    candidate: Candidate
    group: Match
    warp: Warp
    agreement: Agreement
    ncc: float

    @property
    def is_certain(self) -> bool:
        """Whether so many features and so large an area agree that no chance does it.

        Measured on ISBI 2012, 384 px: pictures of other tissue have no group of five. The next section of the stack, 50
        nm away, has groups of up to 13, and up to 10 % of the area agrees.
        """
        area = self.agreement.area_px
        if self.group.inliers >= FOUND_INLIERS and area >= FOUND_AREA_PX:
            return True
        return area >= max(FOUND_SHARE_PX, FOUND_SHARE * self.agreement.inside_px)


class PictureIndex:
    """Pictures in which the ones that others show are looked up, from any thread.

    Args:
        features: of each picture.
        image: reads picture k (Y, X).
    """

    def __init__(self, features: Sequence[Features], image: Callable[[int], NDArray[Any]]) -> None:
        self._features = features
        self._image = image
        voters = [each.strongest(_clip(_INDEX_SIZE // max(len(features), 1), _MAX_VOTERS)) for each in features]
        self._owner = np.repeat(np.arange(len(voters)), [len(each) for each in voters])
        self._descriptors = np.concatenate([*(each.descriptors for each in voters), np.zeros((0, 128), np.uint8)])
        self._angles = np.concatenate([*(each.angles for each in voters), np.zeros(0, np.float32)])
        self._log2 = np.log2(np.concatenate([*(each.sizes for each in voters), np.zeros(0, np.float32)]))

    def find(self, image: NDArray[Any], features: Features) -> list[Sighting]:
        """Return the pictures that a sample (Y, X) certainly shows, the one with the largest area first."""
        sightings = [each for each in self._look_at(image, features) if each.is_certain]
        return sorted(sightings, key=lambda each: (-each.agreement.area_px, each.candidate))

    def _look_at(self, image: NDArray[Any], features: Features) -> Iterator[Sighting]:
        for candidate in self.vote(features):
            own, other = features.seen_as(candidate.variant), self._features[candidate.key]
            group = match_features(own, other)
            if len(group.sample_points) < MIN_GROUP:
                continue
            warp = fit_warp(own, other, group)
            sample = mirror(image, candidate.variant.mirrored)
            agreement, ncc = compare(sample, self._image(candidate.key), warp, inverted=candidate.variant.inverted)
            yield Sighting(candidate, group, warp, agreement, ncc)

    def vote(self, features: Features) -> list[Candidate]:
        """Return the candidates with most votes that agree on a turn and a scale."""
        if not len(self._descriptors):
            return []
        query = features.strongest(_clip(_PRODUCTS // len(self._descriptors), _MAX_QUERY))
        votes = []
        for variant in VARIANTS if len(query) else ():
            counts = self._count(query.seen_as(variant))
            best = np.argsort(-counts, kind="stable")[:_MAX_CANDIDATES]
            votes += [(-int(counts[key]), Candidate(int(key), variant)) for key in best if counts[key] >= _MIN_VOTES]
        return [candidate for _, candidate in sorted(votes)[:_MAX_CANDIDATES]]

    def _count(self, query: Features) -> NDArray[np.intp]:
        """Return, for each picture, the most votes that agree within two steps of turn and of scale."""
        nearest = self._nearest(query.descriptors.astype(np.float32))
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

    def _nearest(self, own: NDArray[np.float32]) -> NDArray[np.intp]:
        """Return the nearest feature of the index for each of a sample's."""
        nearest = np.zeros(len(own), np.intp)
        shortest = np.full(len(own), np.inf, np.float32)
        rows = np.arange(len(own))
        for start in range(0, len(self._descriptors), _BLOCK):
            block = self._descriptors[start : start + _BLOCK].astype(np.float32)
            distance = np.square(block).sum(axis=1) - 2.0 * (own @ block.T)  # less the feature's own length; exact
            best = distance.argmin(axis=1)
            closer = distance[rows, best] < shortest
            nearest[closer] = best[closer] + start
            shortest[closer] = distance[rows, best][closer]
        return nearest


def _clip(number: int, most: int) -> int:
    return min(max(number, _MIN_VOTERS), most)
