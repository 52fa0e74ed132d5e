"""Whether two pictures show the same place: matched features that agree on one rotation, scale and shift."""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.audit.features import Features

RATIO = 0.8  # of distances, best to second best (Lowe 2004)
RANSAC_PX = 8.0
LOWEST_SCALE, HIGHEST_SCALE = 0.7, 1.4
_FEWEST_MATCHES = 4


@dataclass(frozen=True, slots=True, eq=False)
class Match:
    """Where one picture lies in another.

    Attributes:
        sample_points: (n, 2) x and y of the agreeing keypoints in the sample, in pixels.
        other_points: (n, 2) of their partners.
        transform: (2, 3) from sample to other, the partial affine map that they agree on.
    """

    sample_points: NDArray[np.float32]
    other_points: NDArray[np.float32]
    transform: NDArray[np.float64]

    @property
    def inliers(self) -> int:
        """Agreeing matches, every place counted once."""
        return min(_n_places(self.sample_points), _n_places(self.other_points))

    @property
    def scale(self) -> float:
        """Pixels of the other picture for one of the sample."""
        return float(math.hypot(self.transform[0, 0], self.transform[1, 0]))

    @property
    def angle_deg(self) -> float:
        """By how much the sample is turned counter-clockwise as displayed, 0 to 360."""
        return float(math.degrees(math.atan2(self.transform[1, 0], self.transform[0, 0])) % 360.0)


NO_MATCH = Match(np.zeros((0, 2), np.float32), np.zeros((0, 2), np.float32), np.eye(2, 3))


def match(sample: Features, other: Features) -> Match:
    """Return the matches of a sample's features with another picture's that agree on where it lies."""
    if len(sample) < _FEWEST_MATCHES or len(other) < _FEWEST_MATCHES:
        return NO_MATCH
    return agree(sample, other, *pair_up(sample, other))


def pair_up(sample: Features, other: Features) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return which features of the sample are much nearer to one of the other's than to any second one."""
    # Squared distances, less the sample's own length; exact, because all are whole numbers below 2**24.
    here, there = sample.descriptors.astype(np.float32), other.descriptors.astype(np.float32)
    distance = np.square(there).sum(axis=1) - 2.0 * (here @ there.T)
    rows = np.arange(len(distance))
    best = distance.argmin(axis=1)
    first = distance[rows, best].copy()
    distance[rows, best] = np.inf
    length = np.square(here).sum(axis=1)
    clear = length + first < RATIO * RATIO * (length + distance.min(axis=1))
    return rows[clear], best[clear]


def agree(sample: Features, other: Features, rows: NDArray[np.intp], partners: NDArray[np.intp]) -> Match:
    """Return those of the paired features that agree on one rotation, scale and shift."""
    if len(rows) < _FEWEST_MATCHES:
        return NO_MATCH
    here, there = sample.points[rows], other.points[partners]
    cv2.setRNGSeed(0)
    transform, kept = cv2.estimateAffinePartial2D(here, there, method=cv2.RANSAC, ransacReprojThreshold=2 * RANSAC_PX)
    if transform is None:
        return NO_MATCH
    inside = kept.ravel() > 0
    found = Match(here[inside], there[inside], np.asarray(transform, np.float64))
    return found if LOWEST_SCALE <= found.scale <= HIGHEST_SCALE else NO_MATCH


def _n_places(points: NDArray[np.float32]) -> int:
    return len(np.unique(np.rint(points / 2), axis=0))
