"""Slices that are in a source twice: by their digests in all eight orientations, and by their features."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pipeline.audit.identify import FOUND_INLIERS, Place, mirror
from pipeline.audit.matching import match, pair_up
from pipeline.audit.sightings import CONFIRMED_NCC, SourceEye
from pipeline.audit.warp import correlation, fit_warp
from pipeline.plan.split import SliceAddress
from pipeline.shards.digest import array_digest

Measures: TypeAlias = Mapping[str, float | int | bool | None]
Repeat: TypeAlias = tuple[SliceAddress, SliceAddress, Measures]
Run: TypeAlias = Callable[[str, Callable[[Any], Any], Sequence[Any]], list[Any]]

_QUICK_KEYPOINTS, _FEWEST_SHARED = 150, 12


def find_repeats(eye: SourceEye, *, independent: bool, gap: int, run: Run) -> list[Repeat]:
    """Return the pairs of slices that show the same tissue.

    Neighbours within the gap look alike where sections are thin; of those, only exact copies count.

    Args:
        eye: what knows the slices.
        independent: slices have no neighbours.
        gap: slices of one stack further apart than this are no neighbours.
        run: does the same to many things, in order.
    """
    exact = _exact_copies(eye)
    told = {frozenset(pair[:2]) for pair in exact}

    def compare(number: int) -> list[Repeat]:
        found = []
        for other in range(number):
            pair = eye.addresses[other], eye.addresses[number]
            near = not independent and pair[0].stack == pair[1].stack and abs(pair[0].z - pair[1].z) <= max(gap, 1)
            if near or frozenset(pair) in told:
                continue
            if (measures := _same_tissue(eye, number, other)) is not None:
                found.append((*pair, measures))
        return found

    compared = run("comparing slices", compare, range(len(eye.addresses)))
    return [*exact, *(repeat for repeats in compared for repeat in repeats)]


def _exact_copies(eye: SourceEye) -> list[Repeat]:
    """Return slices that are the same pixels, turned by quarters or mirrored; slices of one gray level do not count."""
    first: dict[str, tuple[SliceAddress, str]] = {}
    found: list[Repeat] = []
    for address in eye.addresses:
        image = eye.image(address)
        if image.min() == image.max():
            continue
        own = {array_digest(turned): name for name, turned in _orientations(image)}
        known = next((first[digest] for digest in own if digest in first), None)
        if known:
            found.append((known[0], address, {"exact": True}))
        else:
            first[array_digest(np.ascontiguousarray(image))] = (address, "")
    return found


def _orientations(image: NDArray[Any]) -> list[tuple[str, NDArray[Any]]]:
    return [
        (
            f"{90 * quarter}{' mirrored' * mirrored}",
            np.ascontiguousarray(np.rot90(mirror(image, bool(mirrored)), quarter)),
        )
        for mirrored in (0, 1)
        for quarter in range(4)
    ]


def _same_tissue(eye: SourceEye, number: int, other: int) -> Measures | None:
    own = eye.index.features(Place(number, mirrored=False))
    for mirrored in (False, True):
        known = eye.index.features(Place(other, mirrored))
        if len(own) < 2 or len(known) < 2:
            continue
        if len(pair_up(own.strongest(_QUICK_KEYPOINTS), known)[0]) < _FEWEST_SHARED:
            continue
        found = match(own, known)
        if found.inliers < FOUND_INLIERS:
            continue
        image = eye.image(eye.addresses[number])
        where = fit_warp(own, known, found).pixel_map((image.shape[0], image.shape[1]))
        ncc = correlation(image, mirror(eye.image(eye.addresses[other]), mirrored), where)
        if ncc >= CONFIRMED_NCC:
            return {
                "inliers": found.inliers,
                "ncc": round(ncc, 4),
                "angle_deg": round(found.angle_deg, 1),
                "scale": round(1.0 / found.scale, 3),
                "mirrored": mirrored,
            }
    return None
