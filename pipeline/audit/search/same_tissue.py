"""Pictures that show the same tissue: samples of two splits (siblings), and slices that are in a source twice."""

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.audit.report import Measures
from pipeline.audit.samples.audited_samples import AuditedSample, AuditedSamples, Workers
from pipeline.audit.search.features import VARIANTS, Features, find_features, mirror, pair_features
from pipeline.audit.search.likeness import compare
from pipeline.audit.search.picture_search import Candidate, PictureIndex, Sighting
from pipeline.audit.search.registration import fit_warp, match_features
from pipeline.audit.search.slice_identification import SliceIdentifier
from pipeline.plan.split import SliceAddress
from pipeline.shards.digest import array_digest

COMPARABLE_FEATURES = 60  # of these, a quarter must agree for a finding; with fewer, none agreeing proves nothing

_MAX_CACHED = 32  # pictures
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


def find_siblings(audited: AuditedSamples, workers: Workers) -> tuple[list[Sibling], list[AuditedSample]]:
    """Return the siblings in earlier splits, the best of each sample first, and the samples with too few features."""
    features = workers.map("learning samples", lambda sample: find_features(sample.image()), audited.samples)
    learnt = list(zip(audited.samples, features, strict=True))
    siblings: list[Sibling] = []
    for earlier, later in audited.pairs():
        known = [(sample, own) for sample, own in learnt if sample.split == earlier]
        index = PictureIndex([own for _, own in known], _cached(sample.image for sample, _ in known))
        look = partial(_look_up, [sample for sample, _ in known], index)
        others = [(sample, own) for sample, own in learnt if sample.split == later]
        found = workers.map(f"comparing {later} with {earlier}", look, others)
        siblings += [sibling for of_one in found for sibling in of_one]
    return siblings, [sample for sample, own in learnt if len(own) < COMPARABLE_FEATURES]


def _look_up(
    known: Sequence[AuditedSample], index: PictureIndex, looked_up: tuple[AuditedSample, Features]
) -> list[Sibling]:
    """Return the samples of the index that share enough with another, the one that shares most first."""
    sample, features = looked_up
    sightings = index.find(sample.image(), features)
    return [Sibling(sample, known[each.candidate.key], measures_of(each)) for each in sightings]


def _cached(images: Iterable[Callable[[], NDArray[Any]]]) -> Callable[[int], NDArray[Any]]:
    """Return what reads image k; the last few are kept."""
    readers = list(images)
    return lru_cache(maxsize=_MAX_CACHED)(lambda key: readers[key]())


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
    known = slices.features(other)
    for variant in VARIANTS:
        own = slices.features(one).seen_as(variant)
        if min(len(own), len(known)) < _MIN_SHARED:
            continue
        if len(pair_features(own.strongest(_QUICK_KEYPOINTS), known)[0]) < _MIN_SHARED:
            continue
        if len((group := match_features(own, known)).sample_points) < _MIN_SHARED:
            continue
        warp = fit_warp(own, known, group)
        sample = mirror(slices.image(one), variant.mirrored)
        agreement, ncc = compare(sample, slices.image(other), warp, inverted=variant.inverted)
        sighting = Sighting(Candidate(0, variant), group, warp, agreement, ncc)
        if sighting.is_certain:
            return measures_of(sighting)
    return None


def measures_of(sighting: Sighting) -> Measures:
    """Return the numbers that support that one picture shows another."""
    group, variant = sighting.group, sighting.candidate.variant
    return {
        "inliers": group.inliers,
        "angle_deg": round(group.angle_deg, 1),
        "scale": round(1.0 / group.scale, 3),
        "mirrored": variant.mirrored,
        "inverted": variant.inverted,
        "area_px": sighting.agreement.area_px,
        "ncc": round(sighting.ncc, 4),
    }
