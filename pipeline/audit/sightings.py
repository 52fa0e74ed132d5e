"""What the pixels of every sample say: which slice it shows, how surely, and whether the label moved with it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.audit.identify import PictureIndex, Sighting, mirror
from pipeline.audit.warp import correlation, fit_warp, label_agreement
from pipeline.plan.split import SliceAddress
from pipeline.source.stacks import Slices

CONFIRMED_NCC = 0.60  # measured: 0.74 and more for the right slice, 0.43 and less for its neighbours
NCC_MARGIN = 0.20
LABEL_F1 = 0.60  # measured: 0.72 and more for the right label, 0.48 and less for a neighbour's


@dataclass(frozen=True, slots=True)
class SeenSample:
    """One sample, as its pixels show it.

    Attributes:
        found: the slice that it shows; None where none was found.
        likely: slices that it may as well show, because neighbours look alike; `found` among them.
        twins: slices that are the same as `found`, because the source holds it more than once.
        inliers: features that agree on the place; 0 where none do.
        runner_up: the same in the best other slice.
        ncc: correlation with the slice, warped onto the sample; None where none was found to compare with.
        ncc_neighbour: the same with the better of the slice's two neighbours; None where it has none.
        angle_deg: recovered rotation, counter-clockwise as displayed, 0 to 360; a mirror image was turned first.
        scale: recovered magnification.
        mirrored: whether it is a mirror image.
        f1: how well the slice's label, warped the same way, fits; None where there is too little to tell.
    """

    found: SliceAddress | None
    likely: frozenset[SliceAddress]
    twins: frozenset[SliceAddress]
    inliers: int
    runner_up: int
    ncc: float | None
    ncc_neighbour: float | None
    angle_deg: float
    scale: float
    mirrored: bool
    f1: float | None

    @property
    def measures(self) -> dict[str, float | int | bool | None]:
        """The numbers that a finding is supported by."""
        return {
            "inliers": self.inliers,
            "runner_up": self.runner_up,
            "ncc": None if self.ncc is None else round(self.ncc, 4),
            "ncc_neighbour": None if self.ncc_neighbour is None else round(self.ncc_neighbour, 4),
            "angle_deg": round(self.angle_deg, 1),
            "scale": round(self.scale, 3),
            "mirrored": self.mirrored,
            "f1": None if self.f1 is None else round(self.f1, 4),
        }


class SourceEye:
    """Knows the slices of stacks, and tells which of them a sample shows.

    Args:
        images: the stacks, each (Z, Y, X).
        labels: their labels; None where there are none.
        independent: whether slices have no neighbours.
        reach: slices at most so far apart do not count against each other when a sample's place is looked for.
    """

    def __init__(
        self, images: Sequence[Slices], labels: Sequence[Slices] | None, *, independent: bool, reach: int
    ) -> None:
        self.addresses = [SliceAddress(stack, z) for stack, part in enumerate(images) for z in range(len(part))]
        self._images = images
        self._labels = labels
        self._independent = independent
        self._number = {address: key for key, address in enumerate(self.addresses)}
        self._twins: dict[SliceAddress, frozenset[SliceAddress]] = dict.fromkeys(self.addresses, frozenset())
        around = 0 if independent else max(reach, 1)
        self.index = PictureIndex(
            [lambda address=address: self.image(address) for address in self.addresses],
            [
                frozenset(
                    self._number[near]
                    for near in (SliceAddress(address.stack, address.z + d) for d in range(-around, around + 1))
                    if near in self._number
                )
                for address in self.addresses
            ],
        )

    def join(self, pairs: Iterable[tuple[SliceAddress, SliceAddress]]) -> None:
        """Take the two slices of each pair for the same one, so that neither hides what shows the other."""
        for one, other in pairs:
            group = {one, other, *self._twins[one], *self._twins[other]}
            for address in group:
                self._twins[address] = frozenset(group - {address})
        for address, twins in self._twins.items():
            for twin in twins:
                self.index.neighbours[self._number[address]] |= self.index.neighbours[self._number[twin]]

    def image(self, address: SliceAddress) -> NDArray[Any]:
        """Return a slice (Y, X)."""
        return self._images[address.stack][address.z]

    def label(self, address: SliceAddress) -> NDArray[Any] | None:
        """Return a slice's label (Y, X), if it has one."""
        return None if self._labels is None else self._labels[address.stack][address.z]

    def look(self, image: NDArray[Any], label: NDArray[Any] | None = None) -> SeenSample:
        """Return what a sample (Y, X) shows, and how well its label fits, if it has one."""
        sighting = self.index.find(image)
        if not sighting.is_certain:
            return _unseen(sighting)
        where = fit_warp(*sighting.features, sighting.match).pixel_map((image.shape[0], image.shape[1]))
        mirrored = sighting.place.mirrored
        nearby = self._nearby(self.addresses[sighting.place.key])
        ncc = {address: correlation(image, mirror(self.image(address), mirrored), where) for address in nearby}
        best = max(ncc, key=lambda address: (ncc[address], -address.z))
        if ncc[best] < CONFIRMED_NCC:
            return _unseen(sighting, ncc[best])
        others = [value for address, value in ncc.items() if address != best]
        own = self.label(best)
        fit = None if label is None or own is None else label_agreement(label, mirror(own, mirrored), where)
        return SeenSample(
            found=best,
            likely=self._twins[best].union(
                *({address, *self._twins[address]} for address, value in ncc.items() if value > ncc[best] - NCC_MARGIN)
            ),
            twins=self._twins[best],
            inliers=sighting.match.inliers,
            runner_up=sighting.runner_up,
            ncc=ncc[best],
            ncc_neighbour=max(others, default=None),
            angle_deg=_turned(sighting),
            scale=1.0 / sighting.match.scale,
            mirrored=mirrored,
            f1=fit,
        )

    def _nearby(self, address: SliceAddress) -> Sequence[SliceAddress]:
        """Return a slice and its neighbours."""
        steps = (0,) if self._independent else (0, -1, 1)
        near = (SliceAddress(address.stack, address.z + step) for step in steps)
        return [each for each in near if each in self._number]


def _unseen(sighting: Sighting, ncc: float | None = None) -> SeenSample:
    return SeenSample(
        found=None,
        likely=frozenset(),
        twins=frozenset(),
        inliers=sighting.match.inliers,
        runner_up=sighting.runner_up,
        ncc=ncc,
        ncc_neighbour=None,
        angle_deg=_turned(sighting),
        scale=float(np.reciprocal(sighting.match.scale)),
        mirrored=sighting.place.mirrored,
        f1=None,
    )


def _turned(sighting: Sighting) -> float:
    """Return the angle by which the slice was turned before it was mirrored, as recipes count it."""
    angle_deg = sighting.match.angle_deg
    return (360.0 - angle_deg) % 360.0 if sighting.place.mirrored else angle_deg
