"""The repair of a split that leaks: what shows the same goes together into one split, until nothing is found."""

import re
from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import replace

from pipeline.audit.pixel_checks import PixelAudit
from pipeline.audit.samples.audited_samples import AuditedSample, AuditedSamples, start_workers
from pipeline.audit.search.same_tissue import find_siblings
from pipeline.audit.search.slice_identification import SliceIdentifier
from pipeline.audit.splits.groups import Groups
from pipeline.audit.splits.regrouping import Join, PlacedFile, Regrouping, regroup
from pipeline.plan.split import SPLITS
from pipeline.shards.progress import Progress, SilentProgress

_SAME_PIXELS = "has the same pixels as"
_SAME_SLICE = "shows the same slice as"
_SAME_TISSUE = "shows the same tissue as"
_SAME_GROUP = "is in the same group as"
_NUMBER = re.compile(r"#\d+$")


def repair_split(
    audited: AuditedSamples,
    pixels: PixelAudit,
    slices: SliceIdentifier | None = None,
    groups: Groups | None = None,
    *,
    jobs: int = -1,
    progress: Progress | None = None,
) -> Regrouping:
    """Return a split of audited files of which the same audit finds no P001, P002, P007 or M006.

    What samples of one split share is not known from their audit, where only those of different splits are compared. So
    the new split is searched in the same way: where a file that moved shows the tissue of one that did not, that one
    moves, too. Samples that cannot be read or compared stay where they are.

    Args:
        audited: samples in folders.
        pixels: what was found in them.
        slices: those that they were looked for in, if any were.
        groups: of the samples, if they were named.
        jobs: threads.
        progress: progress callback.

    Raises:
        DatasetError: a sample cannot be read any more.
        SourceError: a sample cannot be read any more.
    """
    joins = [
        *_of_pixels(audited, pixels),
        *_of_slices(pixels, slices),
        *_joined(_SAME_TISSUE, ((each.other, each.sample) for each in pixels.siblings)),
        *_of_groups(audited, groups),
    ]
    files = list(dict.fromkeys(map(_file_of, audited.samples)))
    repair = regroup(files, joins)
    readable = audited.only(pixels.digests)
    n_moved = 0
    with start_workers(jobs, progress or SilentProgress()) as workers:
        # Every round but the last one moves more files, and always to earlier splits, so that there is a last one.
        while len(repair.moves) > n_moved and not repair.emptied:
            n_moved = len(repair.moves)
            before = _moved(readable, repair)
            siblings = find_siblings(replace(audited, samples=tuple(before)), workers).siblings
            joins += _joined(_SAME_TISSUE, ((before[each.other], before[each.sample]) for each in siblings))
            repair = regroup(files, joins)
    return repair


def _moved(audited: AuditedSamples, repair: Regrouping) -> dict[AuditedSample, AuditedSample]:
    """Return every sample as it is in the repaired split, split by split, and as it was before."""
    placed = repair.placed
    before = {replace(sample, split=placed[_file_of(sample)]): sample for sample in audited.samples}
    return {sample: before[sample] for sample in sorted(before, key=lambda sample: SPLITS.index(sample.split))}


def _file_of(sample: AuditedSample) -> PlacedFile:
    """Return the file of a sample, whose name may end in the number of its page."""
    return PlacedFile(sample.split, _NUMBER.sub("", sample.name))


def _joined(because: str, alike: Iterable[Iterable[AuditedSample]]) -> Iterator[Join]:
    for samples in alike:
        files = tuple(dict.fromkeys(map(_file_of, samples)))
        if len(files) > 1:
            yield Join(because, files)


def _of_pixels(audited: AuditedSamples, pixels: PixelAudit) -> Iterator[Join]:
    """Join samples of the same pixels, unless these are of one gray level, as P001 does."""
    known = ((sample, pixels.digests[sample]) for sample in audited.samples if sample in pixels.digests)
    for samples in _grouped(known):
        joins = list(_joined(_SAME_PIXELS, [samples]))
        if joins and (image := samples[0].image()).min() < image.max():
            yield from joins


def _of_slices(pixels: PixelAudit, slices: SliceIdentifier | None) -> Iterator[Join]:
    """Join samples that show a slice of the source; slices that are the same count as one."""
    if slices is None:
        return
    shown = (
        (sample, frozenset({slice_, *slices.twins(slice_)}))
        for sample, seen in pixels.shown.items()
        for slice_ in seen.shown
    )
    yield from _joined(_SAME_SLICE, _grouped(shown))


def _of_groups(audited: AuditedSamples, groups: Groups | None) -> Iterator[Join]:
    if groups is None:
        return
    named = ((sample, groups.find(sample.name, sample.split)) for sample in audited.samples)
    yield from _joined(_SAME_GROUP, _grouped(named))


def _grouped(keyed: Iterable[tuple[AuditedSample, Hashable]]) -> list[list[AuditedSample]]:
    """Return the samples of each key, in the order in which keys come."""
    grouped: defaultdict[Hashable, list[AuditedSample]] = defaultdict(list)
    for sample, key in keyed:
        grouped[key].append(sample)
    return list(grouped.values())
