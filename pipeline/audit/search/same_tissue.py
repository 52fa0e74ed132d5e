"""Samples of two splits that show the same tissue: siblings."""

from collections.abc import Callable, Iterable
from functools import lru_cache, partial
from typing import Any, NamedTuple

from numpy.typing import NDArray

from pipeline.audit.report import Measures
from pipeline.audit.samples.audited_samples import AuditedSample, AuditedSamples, Workers
from pipeline.audit.search.features import Features
from pipeline.audit.search.picture_search import Found, PictureIndex, learn_picture

COMPARABLE_FEATURES = 60  # of these, a quarter must agree for a finding; with fewer, none agreeing proves nothing

_MAX_CACHED = 32  # pictures


class Sibling(NamedTuple):
    """A sample, one of an earlier split that shows the same tissue, and the numbers that support it."""

    sample: AuditedSample
    other: AuditedSample
    measures: Measures


class Compared(NamedTuple):
    """What came of comparing the samples of different splits.

    Attributes:
        siblings: in earlier splits; of each sample the one that shares most first.
        poor: samples with too few features.
        with_furniture: samples of which a part was left out.
    """

    siblings: list[Sibling]
    poor: list[AuditedSample]
    with_furniture: list[AuditedSample]


def find_siblings(audited: AuditedSamples, workers: Workers) -> Compared:
    """Return what samples of different splits share, and what could not be compared."""
    features = workers.map("learning samples", lambda sample: learn_picture(sample.image()), audited.samples)
    learnt = list(zip(audited.samples, features, strict=True))
    siblings: list[Sibling] = []
    n_features = {sample: len(own) for sample, own in learnt}
    with_furniture: dict[AuditedSample, None] = {}
    for earlier, later in audited.pairs():
        known = [(sample, own) for sample, own in learnt if sample.split == earlier]
        index = PictureIndex([own for _, own in known], _cached(sample.image for sample, _ in known))
        others = [(sample, own) for sample, own in learnt if sample.split == later]
        looked = workers.map(f"comparing {later} with {earlier}", partial(_look_up, index), others)
        for (sample, _), found in zip(others, looked, strict=True):
            n_features[sample] = min(n_features[sample], found.n_features)
            with_furniture |= {sample: None} if found.left_out_px else {}
            siblings += [Sibling(sample, known[each.candidate.key][0], each.measures) for each in found.sightings]
    poor = [sample for sample, n in n_features.items() if n < COMPARABLE_FEATURES]
    return Compared(siblings, poor, list(with_furniture))


def _look_up(index: PictureIndex, looked_up: tuple[AuditedSample, Features]) -> Found:
    sample, features = looked_up
    return index.find(sample.image(), features)


def _cached(images: Iterable[Callable[[], NDArray[Any]]]) -> Callable[[int], NDArray[Any]]:
    """Return what reads image k; the last few are kept."""
    readers = list(images)
    return lru_cache(maxsize=_MAX_CACHED)(lambda key: readers[key]())
