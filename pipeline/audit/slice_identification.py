"""Which slice of the source a sample shows, by its pixels alone, and whether its label was deformed with it.

Three steps, each of them surer and slower than the one before:
1. Votes. Features of the sample are paired with those of every slice, wherever in it they are; the slices that share
   most are candidates. That is cheap, and texture that looks alike everywhere votes for wrong slices, too.
2. Geometry. In a candidate, only features count that agree on one rotation, scale and shift. By chance hardly any do.
3. Correlation. Sections next to each other share structures, so a neighbour may have the better geometry. The slice is
   warped onto the sample, pixel by pixel, and so are its neighbours: the right one correlates far better.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple

from numpy.typing import NDArray

from pipeline.audit.registration import (
    FULL_KEYPOINTS,
    NO_MATCH,
    SLICE_KEYPOINTS,
    Features,
    Match,
    correlate,
    find_features,
    fit_warp,
    label_agreement,
    match_features,
    mirror,
    pair_features,
)
from pipeline.audit.report import Measures
from pipeline.plan.split import SliceAddress
from pipeline.source.stacks import Slices

FOUND_INLIERS = 15
RUNNER_UP_FACTOR = 5
CONFIRMED_NCC = 0.60  # measured: 0.74 and more for the right slice, 0.43 and less for its neighbours
NCC_MARGIN = 0.20
LABEL_F1 = 0.60  # measured: 0.72 and more for the right label, 0.48 and less for a neighbour's

_DOUBTFUL_INLIERS = 6  # from here on, a look at full resolution is worth its time
_VOTING_KEYPOINTS, _VOTING_SLICE_KEYPOINTS, _MAX_CANDIDATES = 150, 500, 6
_DIGITS = {"angle_deg": 1, "scale": 3, "ncc": 4, "ncc_neighbour": 4, "f1": 4}


class Candidate(NamedTuple):
    """A slice that a sample may show, or its mirror image (left to right)."""

    address: SliceAddress
    mirrored: bool


@dataclass(frozen=True, slots=True, eq=False)
class Located:
    """The best place for a sample, certain or not.

    Attributes:
        candidate: which slice, and whether mirrored.
        match: where in it; points of a mirrored slice are those of its mirror image.
        features: of the sample, and of the slice: those that the match is made of.
        runner_up: inliers in the best candidate that is not this slice, a neighbour or a copy of it.
    """

    candidate: Candidate
    match: Match
    features: tuple[Features, Features]
    runner_up: int

    @property
    def is_certain(self) -> bool:
        """Whether so many features agree here, and so few elsewhere, that no chance does it."""
        return self.match.inliers >= max(FOUND_INLIERS, RUNNER_UP_FACTOR * self.runner_up)


@dataclass(frozen=True, slots=True)
class Identification:
    """What the pixels of one sample show.

    Attributes:
        inliers: features that agree on the place; 0 where none do.
        runner_up: the same in the best other slice.
        angle_deg: recovered rotation, counter-clockwise as displayed, 0 to 360; a mirror image was turned first.
        scale: recovered magnification.
        mirrored: whether it is a mirror image.
        found: the slice that it shows; None where none was found.
        likely: slices that it may as well show, because neighbours look alike; `found` among them.
        twins: slices that are the same as `found`, because the source holds it more than once.
        ncc: correlation with the slice, warped onto the sample; None where none was found to compare with.
        ncc_neighbour: the same with the better of the slice's two neighbours; None where it has none.
        f1: how well the slice's label, warped the same way, fits; None where there is too little of it to compare.
    """

    inliers: int
    runner_up: int
    angle_deg: float
    scale: float
    mirrored: bool
    found: SliceAddress | None = None
    likely: frozenset[SliceAddress] = frozenset()
    twins: frozenset[SliceAddress] = frozenset()
    ncc: float | None = None
    ncc_neighbour: float | None = None
    f1: float | None = None

    @property
    def measures(self) -> Measures:
        """The numbers that support a finding."""
        values = {name: (getattr(self, name), digits) for name, digits in _DIGITS.items()}
        rounded = {name: value if value is None else round(value, digits) for name, (value, digits) in values.items()}
        return {"inliers": self.inliers, "runner_up": self.runner_up, "mirrored": self.mirrored, **rounded}


class SliceIdentifier:
    """Identifies which slice of some stacks a sample shows.

    Every slice must have been learnt before a sample is identified. All methods but `join` may be called from several
    threads.

    Args:
        images: the stacks, each (Z, Y, X).
        labels: their labels, if there are any.
        independent: whether slices have no neighbours.
        gap: slices at most so far apart may look alike, and do not make each other uncertain.
    """

    def __init__(
        self, images: Sequence[Slices], labels: Sequence[Slices] | None, *, independent: bool, gap: int
    ) -> None:
        self.addresses = [SliceAddress(stack, z) for stack, part in enumerate(images) for z in range(len(part))]
        self.independent = independent
        self.gap = gap
        self._images = images
        self._labels = labels
        self._twins: dict[SliceAddress, frozenset[SliceAddress]] = dict.fromkeys(self.addresses, frozenset())
        self._features: dict[Candidate, Features] = {}
        self._full = lru_cache(maxsize=8)(self._full_features)

    def learn(self, address: SliceAddress) -> None:
        """Find the features of one slice and of its mirror image."""
        for mirrored in (False, True):
            image = mirror(self.image(address), mirrored)
            self._features[Candidate(address, mirrored)] = find_features(image, most=SLICE_KEYPOINTS)

    def features(self, address: SliceAddress, *, mirrored: bool) -> Features:
        """Return the features of a slice that was learnt."""
        return self._features[Candidate(address, mirrored)]

    def join(self, pairs: Iterable[tuple[SliceAddress, SliceAddress]]) -> None:
        """Take the two slices of each pair for the same one, so that neither hides what shows the other."""
        for one, other in pairs:
            group = {one, other, *self._twins[one], *self._twins[other]}
            for address in group:
                self._twins[address] = frozenset(group - {address})

    def image(self, address: SliceAddress) -> NDArray[Any]:
        """Return a slice (Y, X)."""
        return self._images[address.stack][address.z]

    def label(self, address: SliceAddress) -> NDArray[Any] | None:
        """Return a slice's label (Y, X), if it has one."""
        return None if self._labels is None else self._labels[address.stack][address.z]

    def are_neighbours(self, one: SliceAddress, other: SliceAddress) -> bool:
        """Return whether two slices are the same or so near that sections look alike."""
        reach = 0 if self.independent else max(self.gap, 1)
        return one.stack == other.stack and abs(one.z - other.z) <= reach

    def identify(self, image: NDArray[Any], label: NDArray[Any] | None = None) -> Identification:
        """Return what a sample (Y, X) shows, and how well its label fits, if it has one."""
        located = self._locate(image)
        mirrored = located.candidate.mirrored
        angle_deg = located.match.angle_deg
        seen = Identification(
            inliers=located.match.inliers,
            runner_up=located.runner_up,
            angle_deg=(360.0 - angle_deg) % 360.0 if mirrored else angle_deg,  # recipes turn before they mirror
            scale=1.0 / located.match.scale,
            mirrored=mirrored,
        )
        if not located.is_certain:
            return seen
        where = fit_warp(*located.features, located.match).pixel_map(image.shape)
        centre = located.candidate.address
        steps = (0,) if self.independent else (0, -1, 1)
        nearby = (SliceAddress(centre.stack, centre.z + step) for step in steps)
        ncc = {
            address: correlate(image, mirror(self.image(address), mirrored), where)
            for address in nearby
            if address in self._twins
        }
        best = max(ncc, key=lambda address: (ncc[address], -address.z))
        if ncc[best] < CONFIRMED_NCC:
            return replace(seen, ncc=ncc[best])
        likely = [address for address, value in ncc.items() if value > ncc[best] - NCC_MARGIN]
        own = self.label(best)
        f1 = None if label is None or own is None else label_agreement(label, mirror(own, mirrored), where)
        return replace(
            seen,
            found=best,
            likely=frozenset(likely).union(*(self._twins[address] for address in likely)),
            twins=self._twins[best],
            ncc=ncc[best],
            ncc_neighbour=max((value for address, value in ncc.items() if address != best), default=None),
            f1=f1,
        )

    def _locate(self, image: NDArray[Any]) -> Located:
        """Return the best place for a sample by its features, at full resolution where half of it leaves a doubt."""
        features = find_features(image)
        candidates = self._vote(features)
        located = self._compare(features, {each: self._features[each] for each in candidates})
        if located.is_certain or located.match.inliers < _DOUBTFUL_INLIERS:
            return located
        full = find_features(image, most=FULL_KEYPOINTS, half=False)
        closer = self._compare(full, {each: self._full(each) for each in candidates})
        return closer if closer.is_certain else located

    def _vote(self, features: Features) -> list[Candidate]:
        """Return the candidates that share most features with the sample, wherever in them those are."""
        if len(self._features) <= _MAX_CANDIDATES:
            return list(self._features)
        voters = features.strongest(_VOTING_KEYPOINTS)
        if not len(voters):
            return []
        shared = {
            candidate: len(pair_features(voters, own.strongest(_VOTING_SLICE_KEYPOINTS))[0])
            for candidate, own in self._features.items()
            if len(own) > 1
        }
        return sorted(shared, key=lambda each: (-shared[each], *_place(each)))[:_MAX_CANDIDATES]

    def _compare(self, features: Features, candidates: dict[Candidate, Features]) -> Located:
        """Return the candidate in which most of the features agree on one place."""
        found = {candidate: match_features(features, own) for candidate, own in candidates.items()}
        ranked = sorted(found, key=lambda each: (-found[each].inliers, *_place(each)))
        if not ranked:
            return Located(Candidate(SliceAddress(0, 0), mirrored=False), NO_MATCH, (features, features), 0)
        best, *others = ranked
        rivals = (found[other].inliers for other in others if not self._are_alike(other.address, best.address))
        return Located(best, found[best], (features, candidates[best]), max(rivals, default=0))

    def _are_alike(self, one: SliceAddress, other: SliceAddress) -> bool:
        """Return whether a slice is the other, a neighbour of it, or a neighbour of a slice that is the same."""
        return any(self.are_neighbours(one, each) for each in (other, *self._twins[other]))

    def _full_features(self, candidate: Candidate) -> Features:
        image = mirror(self.image(candidate.address), candidate.mirrored)
        return find_features(image, most=FULL_KEYPOINTS, half=False)


def _place(candidate: Candidate) -> tuple[int, int, bool]:
    """Return what candidates of equal merit are ordered by, whichever thread was first."""
    return candidate.address.stack, candidate.address.z, candidate.mirrored
