"""The features of a picture, and which of two pictures' features are alike.

Features are SIFT (Lowe 2004) in its square-root form (Arandjelovic and Zisserman 2012, "Three things everyone should
know to improve object retrieval"): they survive rotation, scale, deformation and gain. Of a mirror image and of an
inverted picture the same features follow by reordering the numbers of each descriptor, so that a picture is looked at
once. Descriptors are rounded to whole numbers: their products are exact, in whatever order they are added up.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from augment.gray import gray_percentiles
from pipeline.audit.search.large_pictures import few_at_a_time

SAMPLE_KEYPOINTS, SLICE_KEYPOINTS = 1000, 2000
_DESCRIPTOR_LENGTH = 255.0
_MIN_SIDE = 256  # pixels; from here on, features are looked for at half the resolution
_OCTAVE_SHARES = (0.4, 0.3, 0.2, 0.1)  # of the features kept, from fine to coarse, so that other scales find partners
_FINEST_PX = 2.4
_MIN_RANGE8 = 64.0  # gray levels of an 8-bit picture: fewer are not spread further, or a camera's noise would count
_CELLS = 8  # along each side of a picture
_MAX_RATIO = 0.85  # of distances, best to second best (Lowe 2004); geometry sorts out the rest


class Variant(NamedTuple):
    """How a picture may have been changed before it was turned: mirrored left to right, gray levels inverted."""

    mirrored: bool = False
    inverted: bool = False


VARIANTS = tuple(Variant(mirrored, inverted) for inverted in (False, True) for mirrored in (False, True))


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """The keypoints of a picture, ordered so that the first of them are a fair choice of all scales.

    Attributes:
        points: (n, 2) float32, x and y in pixels of the picture at full resolution.
        angles: (n,) float32, direction in radians, clockwise as displayed from the x axis.
        sizes: (n,) float32, diameter in pixels of the picture at full resolution.
        descriptors: (n, 128) uint8, each row about 255 long.
        shape: (height, width) of the picture.
    """

    points: NDArray[np.float32]
    angles: NDArray[np.float32]
    sizes: NDArray[np.float32]
    descriptors: NDArray[np.uint8]
    shape: tuple[int, int]

    def __len__(self) -> int:
        return len(self.points)

    @property
    def n_cells(self) -> int:
        """In how many of 8 x 8 equal cells of the picture some of them lie."""
        cells = np.floor(self.points * (_CELLS / np.array(self.shape[::-1]))).clip(0, _CELLS - 1)
        return len(np.unique(cells, axis=0))

    def strongest(self, most: int) -> "Features":
        """Return the first of them."""
        return self._only(slice(most))

    def outside(self, left_out: NDArray[np.bool_], step: int) -> "Features":
        """Return those that are not in a part (y, x), every step-th pixel of the picture."""
        column, row = np.clip(np.rint(self.points).astype(np.intp) // step, 0, np.array(left_out.shape[::-1]) - 1).T
        return self._only(~left_out[row, column])

    def _only(self, kept: slice | NDArray[np.bool_]) -> "Features":
        return Features(self.points[kept], self.angles[kept], self.sizes[kept], self.descriptors[kept], self.shape)

    def seen_as(self, variant: Variant) -> "Features":
        """Return the features of the picture's mirror image, or of the picture inverted, or both."""
        points, angles = self.points, self.angles
        if variant.mirrored:
            points = points * np.array((-1, 1), np.float32) + np.array((self.shape[1] - 1, 0), np.float32)
            angles = np.float32(np.pi) - angles
        if variant.inverted:
            angles = angles + np.float32(np.pi)
        return Features(points, angles, self.sizes, self.descriptors[:, _reordering(variant)], self.shape)


@cache
def _reordering(variant: Variant) -> NDArray[np.intp]:
    """Return where each number of a descriptor comes from; rows are across the direction, columns along it."""
    order = np.arange(128).reshape(4, 4, 8)
    if variant.mirrored:
        order = order[::-1, :, -np.arange(8) % 8]
    if variant.inverted:
        order = order[::-1, ::-1]
    return order.ravel()


def mirror(image: NDArray[Any], mirrored: bool) -> NDArray[Any]:
    """Return a picture as it is, or mirrored left to right."""
    return np.ascontiguousarray(image[:, ::-1]) if mirrored else image


def shrinkage(image: NDArray[Any]) -> int:
    """Return by how much a picture is shrunk before it is looked at: large ones are faster and less noisy so."""
    return 2 if min(image.shape) >= _MIN_SIDE else 1


@few_at_a_time
def find_features(image: NDArray[Any], *, most: int = SAMPLE_KEYPOINTS) -> Features:
    """Return the keypoints of a picture (Y, X) of any gray dtype, at most so many."""
    gray, scale, shape = to_gray8(image), shrinkage(image), (image.shape[0], image.shape[1])
    if scale > 1:
        gray = cv2.resize(gray, (gray.shape[1] // scale, gray.shape[0] // scale), interpolation=cv2.INTER_AREA)
    sift = cv2.SIFT_create()  # type: ignore[attr-defined]  # missing in OpenCV's types
    keypoints, raw = sift.detectAndCompute(gray, None)
    if raw is None:
        none = np.zeros(0, np.float32)
        return Features(np.zeros((0, 2), np.float32), none, none, np.zeros((0, 128), np.uint8), shape)
    sizes = np.array([point.size for point in keypoints], np.float32)
    order = _fair_order(sizes, np.array([point.response for point in keypoints]))[:most]
    points = np.array([keypoints[k].pt for k in order], np.float32)
    angles = np.radians(np.array([keypoints[k].angle for k in order], np.float32))
    share = raw[order] / np.maximum(raw[order].sum(axis=1, keepdims=True), 1.0)
    descriptors = np.rint(np.sqrt(share) * _DESCRIPTOR_LENGTH).astype(np.uint8)
    points = (points + np.float32(0.5)) * np.float32(scale) - np.float32(0.5)
    return Features(points, angles, sizes[order] * np.float32(scale), descriptors, shape)


def _fair_order(sizes: NDArray[np.float32], responses: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return an order of keypoints of which every beginning holds the strongest of each octave, by its share."""
    octave = np.clip(np.floor(np.log2(sizes / _FINEST_PX)), 0, len(_OCTAVE_SHARES) - 1).astype(np.intp)
    turn = np.empty(len(sizes))
    for number, share in enumerate(_OCTAVE_SHARES):
        own = np.flatnonzero(octave == number)
        turn[own[np.argsort(-responses[own], kind="stable")]] = np.arange(1, len(own) + 1) / share
    return np.argsort(turn, kind="stable")


def distances(sample: Features, other: Features) -> NDArray[np.float32]:
    """Return (n, m) squared distances of descriptors; exact, because all are whole numbers below 2**24."""
    here, there = sample.descriptors.astype(np.float32), other.descriptors.astype(np.float32)
    squares = np.square(here).sum(axis=1)[:, None] + np.square(there).sum(axis=1)
    return np.asarray(squares - 2.0 * (here @ there.T), np.float32)


def pair_features(sample: Features, other: Features) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return which features of the sample are much nearer to one of the other's than to any second one."""
    distance = distances(sample, other)
    rows = np.arange(len(distance))
    best = distance.argmin(axis=1)
    first = distance[rows, best].copy()
    distance[rows, best] = np.inf
    clear = first < _MAX_RATIO * _MAX_RATIO * distance.min(axis=1)
    return rows[clear], best[clear]


def to_gray8(image: NDArray[Any]) -> NDArray[np.uint8]:
    """Return a picture (Y, X) in 8 bits, spread between its own dark and bright ends, so that dim ones count, too."""
    low, high = gray_percentiles(image)
    least = _MIN_RANGE8 if image.dtype == np.uint8 else 1e-12
    spread = (image.astype(np.float32) - np.float32(low)) * np.float32(255.0 / max(high - low, least))
    return np.ascontiguousarray(np.clip(spread, 0.0, 255.0).astype(np.uint8))
