"""Which slices of the source a sample shows, by its pixels alone, and whether its label was deformed with it.

The slices are looked up as any pictures are (see `pipeline.audit.search.picture_search`). Sections next to each other
share structures, so the neighbours of a slice that was found are correlated with the sample, too, along the same field:
the right one correlates far better. A sample that was put together from several slices shows all of them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augment.gray import as_plane
from pipeline.audit.report import Measures
from pipeline.audit.search.features import SLICE_KEYPOINTS, Features, mirror, shrinkage
from pipeline.audit.search.likeness import AGREEING_NCC, compare, label_agreement
from pipeline.audit.search.picture_search import PictureIndex, learn_picture
from pipeline.audit.search.sighting import FOUND_AREA_PX, Sighting
from pipeline.plan.split import SliceAddress
from pipeline.source.stacks import Slices

NCC_MARGIN = 0.20
LABEL_F1 = 0.60  # measured: 0.72 and more for the right label, 0.48 and less for a neighbour's

_DIGITS = {"angle_deg": 1, "scale": 3, "ncc": 4, "ncc_neighbour": 4, "f1": 4}


@dataclass(frozen=True, slots=True)
class Identification:
    """What the pixels of one sample show.

    Attributes:
        inliers: features that agree on the place; 0 where none do.
        angle_deg: recovered rotation, counter-clockwise as displayed, 0 to 360; a mirror image was turned first.
        scale: recovered magnification.
        mirrored: whether it is a mirror image.
        inverted: whether its gray levels are inverted.
        area_px: pixels of the sample around which it and the slice agree.
        found: the slice that it shows most of; None where none was found.
        others: more slices that it shows a part of.
        likely: slices that it may as well show, because neighbours look alike; `found` among them.
        twins: slices that are the same as `found`, because the source holds it more than once.
        ncc: mean correlation with the slice, warped onto the sample, in the windows that agree; None where none was
            found.
        ncc_neighbour: the same, in the same windows, with the better of its two neighbours; None where it has none.
        f1: how well the slice's label, warped the same way, fits; None where there is too little of it to compare.
    """

    inliers: int
    angle_deg: float
    scale: float
    mirrored: bool
    inverted: bool = False
    area_px: int = 0
    found: SliceAddress | None = None
    others: frozenset[SliceAddress] = frozenset()
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
        seen = {"inliers": self.inliers, "area_px": self.area_px}
        return {**seen, "mirrored": self.mirrored, "inverted": self.inverted, **rounded}

    @property
    def shown(self) -> list[SliceAddress]:
        """All slices that it shows, in the order of the stacks."""
        found = self.others if self.found is None else self.others | {self.found}
        return sorted(found, key=lambda address: (address.stack, address.z))


class SliceIdentifier:
    """Identifies which slice of some stacks a sample shows.

    Every slice must have been learnt before a sample is identified. All methods but `join` and `leave_out` may be
    called from several threads.

    Args:
        images: the stacks, each (Z, Y, X), or (Z, Y, X, C) of several channels.
        labels: their labels, if there are any.
        independent: whether slices have no neighbours.
        gap: slices at most so far apart may look alike, and do not make each other uncertain.
        ignore: the value of label pixels that mean nothing, of slices and samples.
    """

    def __init__(
        self,
        images: Sequence[Slices],
        labels: Sequence[Slices] | None,
        *,
        independent: bool,
        gap: int,
        ignore: int | None = None,
    ) -> None:
        self.addresses = [SliceAddress(stack, z) for stack, part in enumerate(images) for z in range(len(part))]
        self.independent = independent
        self.gap = gap
        self._images = images
        self._labels, self._ignore = labels, ignore
        self._twins: dict[SliceAddress, frozenset[SliceAddress]] = dict.fromkeys(self.addresses, frozenset())
        self._features: dict[SliceAddress, Features] = {}
        self._left_out: dict[SliceAddress, NDArray[np.bool_]] = {}
        self._index: PictureIndex | None = None

    def learn(self, address: SliceAddress) -> None:
        """Find the features of one slice."""
        self._features[address] = learn_picture(self.image(address), most=SLICE_KEYPOINTS)

    def features(self, address: SliceAddress) -> Features:
        """Return the features of a slice that was learnt."""
        return self._features[address]

    def leave_out(self, address: SliceAddress, furniture: NDArray[np.bool_]) -> None:
        """Leave a part (y, x), every step-th pixel of a slice, of `shrinkage`, out of all that is compared."""
        self._left_out[address] = furniture
        self._features[address] = self._features[address].outside(furniture, shrinkage(self.image(address)))

    def left_out(self, address: SliceAddress) -> NDArray[np.bool_] | None:
        """Return what was left out of a slice, if anything was."""
        return self._left_out.get(address)

    def join(self, pairs: Iterable[tuple[SliceAddress, SliceAddress]]) -> None:
        """Take the two slices of each pair for the same one, so that neither hides what shows the other."""
        for one, other in pairs:
            group = {one, other, *self._twins[one], *self._twins[other]}
            for address in group:
                self._twins[address] = frozenset(group - {address})

    def twins(self, address: SliceAddress) -> frozenset[SliceAddress]:
        """Return the other slices that were joined with a slice."""
        return self._twins.get(address, frozenset())

    def image(self, address: SliceAddress) -> NDArray[Any]:
        """Return a slice as (Y, X), whatever channels it has."""
        return as_plane(self.picture(address))

    def picture(self, address: SliceAddress) -> NDArray[Any]:
        """Return a slice as it is, (Y, X) or (Y, X, C)."""
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
        return self._identification(image, label, self._slices().find(image, learn_picture(image)).sightings)

    def check(self, image: NDArray[Any], expected: SliceAddress) -> Identification:
        """Return what a sample (Y, X) shows; other slices are looked at only if it does not show the expected one."""
        slices, features = self._slices(), learn_picture(image)
        sightings = slices.find_in(self.addresses.index(expected), image, features)
        return self._identification(image, None, sightings or slices.find(image, features).sightings)

    def _slices(self) -> PictureIndex:
        if self._index is None:  # several threads may make it; each is the same
            features = [self._features[address] for address in self.addresses]
            self._index = PictureIndex(features, lambda key: self.image(self.addresses[key]))
        return self._index

    def _identification(
        self, image: NDArray[Any], label: NDArray[Any] | None, sightings: Sequence[Sighting]
    ) -> Identification:
        if not sightings:
            return Identification(0, 0.0, 1.0, mirrored=False)
        first = sightings[0]
        mirrored, inverted = first.candidate.variant
        sample = mirror(image, mirrored)
        centre = self.addresses[first.candidate.key]
        agreeing = first.agreement.ncc >= AGREEING_NCC
        ncc = {centre: float(first.agreement.ncc[agreeing].mean())}
        for step in () if self.independent else (-1, 1):
            address = SliceAddress(centre.stack, centre.z + step)
            if address in self._twins:
                beside, _ = compare(sample, self.image(address), first.warp, inverted=inverted)
                ncc[address] = float(beside.ncc[agreeing].mean())
        best = max(ncc, key=lambda address: (ncc[address], -address.z))
        likely = [address for address, value in ncc.items() if value > ncc[best] - NCC_MARGIN]
        own = self.label(best)
        f1 = None
        if label is not None and own is not None:
            where = first.warp.pixel_map(image.shape, first.agreement.step)
            f1 = label_agreement(mirror(label, mirrored), own, where, first.agreement.step, self._ignore)
        return Identification(
            inliers=first.group.inliers,
            angle_deg=first.group.angle_deg,
            scale=1.0 / first.group.scale,
            mirrored=mirrored,
            inverted=inverted,
            area_px=first.agreement.area_px,
            found=best,
            others=frozenset(self._others(best, sightings)),
            likely=frozenset(likely).union(*(self._twins[address] for address in likely)),
            twins=self._twins[best],
            ncc=ncc[best],
            ncc_neighbour=max((value for address, value in ncc.items() if address != best), default=None),
            f1=f1,
        )

    def _others(self, best: SliceAddress, sightings: Sequence[Sighting]) -> Iterable[SliceAddress]:
        """Yield the slices, not alike to the best, that explain pixels which no larger sighting does."""
        explained = np.zeros_like(sightings[0].agreement.inside)
        for sighting in sightings:
            agrees = mirror(sighting.agreement.ncc >= AGREEING_NCC, sighting.candidate.variant.mirrored)
            new = int((agrees & ~explained).sum()) * sighting.agreement.step**2
            address = self.addresses[sighting.candidate.key]
            if new >= FOUND_AREA_PX and not any(
                self.are_neighbours(address, each) for each in (best, *self._twins[best])
            ):
                yield address
            explained |= agrees
