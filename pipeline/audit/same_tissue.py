"""Pictures that show the same tissue: samples of two splits (siblings), and slices that are in a source twice."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.audit.audited_samples import AuditedSample, AuditedSamples, Workers
from pipeline.audit.registration import (
    NO_MATCH,
    Features,
    Match,
    correlate,
    find_features,
    fit_warp,
    match_features,
    mirror,
    pair_features,
)
from pipeline.audit.report import Measures
from pipeline.audit.slice_identification import CONFIRMED_NCC, FOUND_INLIERS, SliceIdentifier
from pipeline.plan.split import SliceAddress
from pipeline.shards.digest import array_digest

COMPARABLE_FEATURES = 60  # of these, a quarter must agree for a finding; with fewer, none agreeing proves nothing

_VOTERS = 100  # strongest features of a sample that take part in the vote
_MAX_CANDIDATES = 8  # samples with most votes, whose geometry is then compared
_BLOCK = 1 << 15  # features of the index that are compared at once
_MIN_VOTES = 3
_QUICK_KEYPOINTS, _MIN_SHARED = 150, 12  # of two slices: what is paired at first, and how many of that must pair


class Sibling(NamedTuple):
    """A sample, one of an earlier split that shows the same tissue, and the numbers that support it."""

    sample: AuditedSample
    other: AuditedSample
    measures: Measures


class Repeat(NamedTuple):
    """Two slices of a source that show the same tissue, and the numbers that support it."""

    one: SliceAddress
    other: SliceAddress
    measures: Measures


@dataclass(frozen=True, slots=True, eq=False)
class _Learnt:
    """A sample with its features and those of its mirror image; those of the first split need no mirror image."""

    sample: AuditedSample
    features: Features
    mirrored: Features


def find_siblings(audited: AuditedSamples, workers: Workers) -> tuple[list[Sibling], list[str]]:
    """Return the siblings, one for each sample that has any, and the names of samples with too few features."""
    if not audited.samples:
        return [], []
    first = audited.samples[0].split

    def learn(sample: AuditedSample) -> _Learnt:
        image = sample.image()
        features = find_features(image)
        mirrored = features if sample.split == first else find_features(mirror(image, mirrored=True))
        return _Learnt(sample, features, mirrored)

    learnt = workers.map("learning samples", learn, audited.samples)
    siblings: list[Sibling] = []
    for earlier, later in audited.pairs():
        index = _SiblingIndex([each for each in learnt if each.sample.split == earlier])
        others = [each for each in learnt if each.sample.split == later]
        found = workers.map(f"comparing {later} with {earlier}", index.find, others)
        siblings += [sibling for sibling in found if sibling]
    return siblings, [each.sample.name for each in learnt if len(each.features) < COMPARABLE_FEATURES]


class _SiblingIndex:
    """Samples of one split, in which those of another are looked up: votes first, because there may be thousands."""

    def __init__(self, learnt: Sequence[_Learnt]) -> None:
        self._learnt = learnt
        voters = [each.features.strongest(_VOTERS).descriptors for each in learnt]
        self._owner = np.repeat(np.arange(len(voters)), [len(each) for each in voters])
        self._descriptors = np.concatenate([*voters, np.zeros((0, 128), np.uint8)])

    def find(self, looked_up: _Learnt) -> Sibling | None:
        """Return the sample of the index that shares most with another, or with its mirror image, if it is enough."""
        found = [
            (key, mirrored, match_features(own, self._learnt[key].features))
            for mirrored, own in ((False, looked_up.features), (True, looked_up.mirrored))
            for key in self._vote(own)
        ]
        key, mirrored, best = max(found, key=lambda each: each[2].inliers, default=(0, False, NO_MATCH))
        if best.inliers < FOUND_INLIERS:
            return None
        return Sibling(looked_up.sample, self._learnt[key].sample, _measures(best, mirrored=mirrored))

    def _vote(self, features: Features) -> list[int]:
        """Return the samples that own the nearest neighbours of most of the strongest features."""
        own = features.strongest(_VOTERS).descriptors.astype(np.float32)
        if not len(own) or not len(self._descriptors):
            return []
        votes = np.bincount(self._owner[self._nearest(own)], minlength=len(self._learnt))
        ranked = np.argsort(-votes, kind="stable")[:_MAX_CANDIDATES]
        return [int(key) for key in ranked if votes[key] >= _MIN_VOTES]

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


def find_repeats(slices: SliceIdentifier, workers: Workers) -> list[Repeat]:
    """Return the pairs of slices, all of them learnt, that show the same tissue.

    Neighbours within the gap look alike where sections are thin; of those, only exact copies count.
    """
    exact = _exact_copies(slices)
    known = {frozenset((each.one, each.other)) for each in exact}

    def compare(number: int) -> list[Repeat]:
        own = slices.addresses[number]
        repeats = []
        for other in slices.addresses[:number]:
            if slices.are_neighbours(other, own) or frozenset((other, own)) in known:
                continue
            if (measures := _same_tissue(slices, own, other)) is not None:
                repeats.append(Repeat(other, own, measures))
        return repeats

    compared = workers.map("comparing slices", compare, range(len(slices.addresses)))
    return [*exact, *(repeat for repeats in compared for repeat in repeats)]


def _exact_copies(slices: SliceIdentifier) -> list[Repeat]:
    """Return slices that are the same pixels, turned by quarters or mirrored; slices of one gray level do not count."""
    first: dict[str, SliceAddress] = {}
    copies = []
    for address in slices.addresses:
        image = slices.image(address)
        if image.min() == image.max():
            continue
        turned = (np.rot90(mirror(image, mirrored), quarter) for mirrored in (False, True) for quarter in range(4))
        digests = [array_digest(np.ascontiguousarray(each)) for each in turned]
        if known := next((first[digest] for digest in digests if digest in first), None):
            copies.append(Repeat(known, address, {"exact": True}))
        else:
            first[digests[0]] = address
    return copies


def _same_tissue(slices: SliceIdentifier, one: SliceAddress, other: SliceAddress) -> Measures | None:
    """Return the numbers that show that two slices are the same, or None."""
    own = slices.features(one, mirrored=False)
    for mirrored in (False, True):
        known = slices.features(other, mirrored=mirrored)
        if len(own) < 2 or len(known) < 2:
            continue
        if len(pair_features(own.strongest(_QUICK_KEYPOINTS), known)[0]) < _MIN_SHARED:
            continue
        found = match_features(own, known)
        if found.inliers < FOUND_INLIERS:
            continue
        image = slices.image(one)
        where = fit_warp(own, known, found).pixel_map(image.shape)
        ncc = correlate(image, mirror(slices.image(other), mirrored), where)
        if ncc >= CONFIRMED_NCC:
            return {**_measures(found, mirrored=mirrored), "ncc": round(ncc, 4)}
    return None


def _measures(match: Match, *, mirrored: bool) -> Measures:
    return {
        "inliers": match.inliers,
        "angle_deg": round(match.angle_deg, 1),
        "scale": round(1.0 / match.scale, 3),
        "mirrored": mirrored,
    }
