"""Slices that are in a source twice: the same pixels, turned or mirrored, or the same tissue."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pipeline.audit.report import Measures
from pipeline.audit.samples.audited_samples import Workers
from pipeline.audit.search.features import VARIANTS, mirror, pair_features
from pipeline.audit.search.furniture import find_furniture, turned_into_place
from pipeline.audit.search.likeness import compare
from pipeline.audit.search.registration import fit_warp, match_features
from pipeline.audit.search.sighting import Candidate, Sighting
from pipeline.audit.search.slice_identification import SliceIdentifier
from pipeline.plan.split import SliceAddress
from pipeline.shards.digest import array_digest

_QUICK_KEYPOINTS, _MIN_SHARED = 150, 12  # of two slices: what is paired at first, and how many of that must pair
_MAX_IN_PLACE = 8  # slices that one is compared with to tell furniture

Pair: TypeAlias = tuple[SliceAddress, SliceAddress]


class Repeat(NamedTuple):
    """Two slices of a source that show the same tissue, and the numbers that support it."""

    one: SliceAddress
    other: SliceAddress
    measures: Measures


def find_repeats(slices: SliceIdentifier, workers: Workers) -> list[Repeat]:
    """Return the pairs of slices, all of them learnt, that show the same tissue, when furniture is left out of them.

    Neighbours within the gap look alike where sections are thin; of those, only exact copies count.
    """
    exact = _exact_copies(slices)
    known = {frozenset((each.one, each.other)) for each in exact}
    pairs = [
        (one, other)
        for number, one in enumerate(slices.addresses)
        for other in slices.addresses[:number]
        if not slices.are_neighbours(other, one) and frozenset((other, one)) not in known
    ]
    alike = _compare(slices, pairs, workers)
    furniture = _find_furniture(slices, alike)
    for address, place in furniture.items():
        slices.leave_out(address, place)
    doubtful = [pair for pair in alike if not furniture.keys().isdisjoint(pair)]
    for pair in doubtful:
        del alike[pair]
    alike |= _compare(slices, doubtful, workers)
    return [*exact, *(Repeat(other, one, alike[one, other].measures) for one, other in pairs if (one, other) in alike)]


def _compare(slices: SliceIdentifier, pairs: Sequence[Pair], workers: Workers) -> dict[Pair, Sighting]:
    """Return the pairs of slices that show the same, and what shows it."""
    if not pairs:
        return {}
    sightings = workers.map("comparing slices", lambda pair: _same_tissue(slices, *pair), pairs)
    return {pair: sighting for pair, sighting in zip(pairs, sightings, strict=True) if sighting}


def _find_furniture(slices: SliceIdentifier, alike: Mapping[Pair, Sighting]) -> dict[SliceAddress, NDArray[np.bool_]]:
    """Return the parts of slices that others show at the same place."""
    in_place: defaultdict[SliceAddress, list[NDArray[Any]]] = defaultdict(list)
    for (one, other), sighting in alike.items():
        mirrored, inverted = sighting.candidate.variant
        sample, known, match = mirror(slices.image(one), mirrored), slices.image(other), sighting.group
        if inverted or (turned := turned_into_place(match, sample.shape, known)) is None:
            continue
        in_place[one].append(mirror(turned, mirrored))
        if (turned := turned_into_place(match.reversed(), known.shape, sample)) is not None:
            in_place[other].append(turned)
    found = {
        address: find_furniture(slices.image(address), others[:_MAX_IN_PLACE]) for address, others in in_place.items()
    }
    return {address: furniture for address, furniture in found.items() if furniture is not None}


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


def _same_tissue(slices: SliceIdentifier, one: SliceAddress, other: SliceAddress) -> Sighting | None:
    """Return what shows that two slices are the same, or None."""
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
        left_out = slices.left_out(one)
        hidden = None if left_out is None else mirror(left_out, variant.mirrored)
        agreement, ncc = compare(sample, slices.image(other), warp, inverted=variant.inverted, left_out=hidden)
        sighting = Sighting(Candidate(0, variant), group, warp, agreement, ncc)
        if sighting.is_certain:
            return sighting
    return None
