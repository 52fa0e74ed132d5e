"""Samples that show the same tissue, found among thousands without a source: a vote of features, then geometry."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.audit.features import Features
from pipeline.audit.identify import FOUND_INLIERS
from pipeline.audit.matching import NO_MATCH, Match, match

COMPARABLE_FEATURES = 60  # of these, a quarter must agree for a finding; with fewer, none agreeing proves nothing

_VOTERS = 100  # strongest features of a sample that take part in the vote
_CANDIDATES = 8  # samples with most votes, whose geometry is then compared
_BLOCK = 1 << 15  # features of the index that are compared at once
_FEWEST_VOTES = 3


@dataclass(frozen=True, slots=True, eq=False)
class Sibling:
    """A sample of the index that shows the same tissue as the one that was looked up.

    Attributes:
        key: its place in the index.
        mirrored: whether the sample looked up is mirrored against it.
        match: where the two agree.
    """

    key: int
    mirrored: bool
    match: Match


class SiblingIndex:
    """Samples in which others are looked up.

    Args:
        features: of every sample, as `find_features` returns them.
    """

    def __init__(self, features: Sequence[Features]) -> None:
        self._features = features
        voters = [each.strongest(_VOTERS).descriptors for each in features]
        self._owner = np.repeat(np.arange(len(voters)), [len(each) for each in voters])
        self._descriptors = np.concatenate([*voters, np.zeros((0, 128), np.uint8)])

    def find(self, features: Features, mirrored: Features) -> Sibling | None:
        """Return the sample that shares most with one, or with its mirror image, if any shares enough.

        Args:
            features: of the sample.
            mirrored: of its mirror image.
        """
        best = Sibling(-1, mirrored=False, match=NO_MATCH)
        for flipped, own in ((False, features), (True, mirrored)):
            for key in self._candidates(own):
                found = match(own, self._features[key])
                if found.inliers > best.match.inliers:
                    best = Sibling(key, flipped, found)
        return best if best.match.inliers >= FOUND_INLIERS else None

    def _candidates(self, features: Features) -> list[int]:
        """Return the samples that own the nearest neighbours of most of the strongest features."""
        own = features.strongest(_VOTERS).descriptors.astype(np.float32)
        if not len(own) or not len(self._descriptors):
            return []
        votes = np.bincount(self._owner[self._nearest(own)], minlength=len(self._features))
        ranked = np.argsort(-votes, kind="stable")[:_CANDIDATES]
        return [int(key) for key in ranked if votes[key] >= _FEWEST_VOTES]

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
