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
_COMPARABLE_CELLS = 10  # of 64: what lies in fewer, such as a line of text, says nothing of the rest
_MANY_FEATURES = 250  # with fewer, small parts that are shared may be missed

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
        sparse: samples that show little, though enough to be compared.
    """

    siblings: list[Sibling]
    poor: list[AuditedSample]
    with_furniture: list[AuditedSample]
    sparse: list[AuditedSample]


NOTHING_COMPARED = Compared([], [], [], [])


def find_siblings(audited: AuditedSamples, workers: Workers) -> Compared:
    """Return what samples of different splits share, and what could not be compared."""
    features = workers.map("learning samples", lambda sample: learn_picture(sample.plane()), audited.samples)
    learnt = list(zip(audited.samples, features, strict=True))
    siblings: list[Sibling] = []
    shown = dict(learnt)
    readers = [sample.plane for sample in audited.samples]
    with_furniture: dict[AuditedSample, None] = {}
    for earlier, later in audited.pairs():
        known = [(sample, own) for sample, own in learnt if sample.split == earlier]
        index = PictureIndex([own for _, own in known], _cached(sample.plane for sample, _ in known), readers)
        others = [(sample, own) for sample, own in learnt if sample.split == later]
        looked = workers.map(f"comparing {later} with {earlier}", partial(_look_up, index), others)
        for (sample, _), found in zip(others, looked, strict=True):
            shown[sample] = min(shown[sample], found.features, key=len)
            with_furniture |= {sample: None} if found.left_out_px else {}
            siblings += [Sibling(sample, known[each.candidate.key][0], each.measures) for each in found.sightings]
    poor = [sample for sample, own in shown.items() if not _is_comparable(own)]
    sparse = [sample for sample, own in shown.items() if _is_comparable(own) and len(own) < _MANY_FEATURES]
    return Compared(siblings, poor, list(with_furniture), sparse)


def _is_comparable(features: Features) -> bool:
    return len(features) >= COMPARABLE_FEATURES and features.n_cells >= _COMPARABLE_CELLS


def _look_up(index: PictureIndex, looked_up: tuple[AuditedSample, Features]) -> Found:
    sample, features = looked_up
    return index.find(sample.plane(), features)


def _cached(images: Iterable[Callable[[], NDArray[Any]]]) -> Callable[[int], NDArray[Any]]:
    """Return what reads image k; the last few are kept."""
    readers = list(images)
    return lru_cache(maxsize=_MAX_CACHED)(lambda key: readers[key]())
