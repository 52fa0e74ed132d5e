"""Audits: of a dataset, and of any samples in folders. Each runs every check that it can, and returns the report."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from pipeline.audit.pixel_checks import PixelAudit, check_pixels
from pipeline.audit.pixel_findings import count_leaking_samples
from pipeline.audit.record_checks import check_records
from pipeline.audit.report import CHECKS, AuditReport, Check, Coverage, Skip, skipped, worst_first
from pipeline.audit.samples.audited_samples import AuditedSamples, DatasetSamples
from pipeline.audit.search.likeness import AGREEING_NCC
from pipeline.audit.search.sighting import FOUND_AREA_PX, FOUND_INLIERS, FOUND_SHARE
from pipeline.audit.search.slice_identification import LABEL_F1, NCC_MARGIN, SliceIdentifier
from pipeline.audit.split_repair import repair_split
from pipeline.audit.splits.groups import NOT_NAMED, NOT_RECORDED, check_groups, read_groups
from pipeline.audit.splits.split_overlap import count_leaking, require_gap
from pipeline.errors import AugpipeError, ConfigError
from pipeline.plan.split import in_order
from pipeline.shards.config import DEFAULT_GAP, require_jobs
from pipeline.shards.dataset import Dataset, open_dataset
from pipeline.shards.manifest import ManifestRow
from pipeline.shards.progress import Progress
from pipeline.shards.record import DatasetRecord
from pipeline.source.stacks import Slices, Source

THRESHOLDS = {
    "inliers": FOUND_INLIERS,
    "area_px": FOUND_AREA_PX,
    "share": FOUND_SHARE,
    "ncc": AGREEING_NCC,
    "ncc_margin": NCC_MARGIN,
    "label_f1": LABEL_F1,
}

_ONLY_MANIFEST = Skip("not applicable", "only the manifest was asked for")
_NO_MANIFEST = Skip("not applicable", "there is no manifest")
_NO_SOURCE = Skip("not applicable", "no source was named")


def audit_dataset(
    dataset: Dataset | Path | str,
    *,
    source_folder: Path | None = None,
    gap: int = DEFAULT_GAP,
    manifest_only: bool = False,
    allow_unknown: bool = False,
    jobs: int = -1,
    progress: Progress | None = None,
    pictures: Path | None = None,
    on_row: Callable[[ManifestRow], None] | None = None,
) -> AuditReport:
    """Return what the records and the pixels of one of our datasets prove.

    Args:
        dataset: its folder, or the dataset, opened.
        source_folder: where the stacks are that it was made from, if not where build-info.json remembers them.
        gap: slices of two splits must be further apart than this.
        manifest_only: look at no pixels; then no row of the manifest is kept in memory.
        allow_unknown: samples whose slice is not found are warnings.
        jobs: threads; decides the time taken, nothing else.
        progress: progress callback.
        pictures: folder to draw the worst findings in; made if there are any.
        on_row: called with every row of the manifest, which is read once.

    Raises:
        ConfigError: the gap is not a number of slices, or pictures would lie in the dataset.
        DatasetError: there is no dataset that could be audited, or the source named is not the one it was made from.
        StorageError: a picture cannot be written.
    """
    require_gap(gap)
    require_jobs(jobs)
    dataset = open_dataset(dataset)
    if pictures and pictures.resolve().is_relative_to(dataset.folder.resolve()):
        raise ConfigError(f"{pictures}: lies in the dataset, which must not change; name another --pictures folder")
    source, missing = (None, _ONLY_MANIFEST) if manifest_only else _find_source(dataset, source_folder)
    samples = DatasetSamples(dataset)
    callbacks = [callback for callback in (None if manifest_only else samples.add, on_row) if callback]
    records = check_records(dataset, gap=gap, jobs=jobs, source=source, on_row=callbacks)
    slices = _slices_of(source, dataset.record, gap=gap) if source else None
    unread, audited = records.unread or samples.unread, samples.gathered()
    if manifest_only:
        pixels = PixelAudit([], skipped(missing, "P", "S"), Coverage(0))
    elif unread:
        pixels = PixelAudit([], skipped(Skip("not run", unread), "P", "S"), Coverage(0))
    else:
        pixels = check_pixels(
            audited,
            slices,
            missing,
            proven=records.proven,
            allow_unknown=allow_unknown,
            jobs=jobs,
            progress=progress,
        )
    findings = worst_first([*records.findings, *pixels.findings])
    n_samples = {} if unread else {split: records.counts.samples[split] for split in in_order(records.counts.samples)}
    by_records = count_leaking(records.counts, by_content=False)
    by_pixels = count_leaking_samples(n_samples, findings, audited)
    report = AuditReport(
        subject=audited.name,
        dataset_sha256=dataset.digest,
        gap=gap,
        independent=dataset.record.config.independent,
        checks=_one_each([*skipped(missing, "R001"), NOT_RECORDED, *pixels.checks, *records.checks]),
        findings=findings,
        coverage=replace(pixels.coverage, total=sum(n_samples.values()), replayed=records.n_replayed),
        n_samples=n_samples,
        n_leaking={split: max(n, by_records.get(split, 0)) for split, n in by_pixels.items()},
        thresholds=THRESHOLDS,
    )
    return _with_pictures(report, pictures, audited, slices)


def audit_folders(
    folders: Mapping[str, Path],
    source: Path | Sequence[Slices] | None = None,
    *,
    images_key: str = "images",
    gap: int = DEFAULT_GAP,
    independent: bool = False,
    allow_unknown: bool = False,
    jobs: int = -1,
    progress: Progress | None = None,
    pictures: Path | None = None,
    groups: Path | None = None,
    repair: bool = False,
) -> AuditReport:
    """Return what the pixels of samples in folders prove; see `read_folders` for what may lie in them.

    Args:
        folders: for train, and for test, val or both: its folder, or one file.
        source: what they were made from, where it is at hand: a folder, a TIFF stack, or the stacks, each (Z, Y, X).
        images_key: the name of the array (N, Y, X) or (Y, X) in HDF5 and .npz files.
        gap: slices of two splits must be further apart than this.
        independent: the slices are fields of view without neighbours.
        allow_unknown: samples whose slice is not found are warnings.
        jobs: threads; decides the time taken, nothing else.
        progress: progress callback.
        pictures: folder to draw the worst findings in; made if there are any.
        groups: CSV with the columns file,group, see `read_groups`; no group, such as a patient, may be in two splits.
        repair: also find a split of these files that does not leak, see `repair_split`; `write_split_file` writes it.

    Raises:
        ConfigError: a folder or file does not hold what it should, of some samples no group is named, or the gap is not
            a number of slices.
        DatasetError: a sample cannot be read.
        SourceError: a TIFF file is damaged, or not one stack of gray pages.
        StorageError: a picture cannot be written.
    """
    from pipeline.audit.samples.image_folders import ReducedSlices, read_folders
    from pipeline.source.readers import read_images

    require_gap(gap)
    require_jobs(jobs)
    audited = read_folders(folders, images_key=images_key)
    named = ((sample.name, sample.split) for sample in audited.samples)
    known = read_groups(groups) if groups else None
    shared, by_groups = check_groups(known, named) if known else ([], NOT_NAMED)
    stacks = read_images(source) if isinstance(source, Path) else source
    if stacks and audited.factor > 1:
        stacks = [ReducedSlices(stack, audited.factor) for stack in stacks]
    slices = None if stacks is None else SliceIdentifier(stacks, None, independent=independent, gap=gap)
    pixels = check_pixels(audited, slices, _NO_SOURCE, allow_unknown=allow_unknown, jobs=jobs, progress=progress)
    findings = worst_first([*shared, *pixels.findings])
    report = AuditReport(
        subject=audited.name,
        dataset_sha256=None,
        gap=gap,
        independent=independent,
        checks=_one_each([*pixels.checks, *skipped(_NO_MANIFEST, "M", "R"), by_groups]),
        findings=findings,
        coverage=pixels.coverage,
        n_samples=audited.n_samples,
        n_leaking=count_leaking_samples(audited.n_samples, findings, audited),
        thresholds=THRESHOLDS,
        repair=repair_split(audited, pixels, slices, known, jobs=jobs, progress=progress) if repair else None,
    )
    return _with_pictures(report, pictures, audited, slices)


def _find_source(dataset: Dataset, folder: Path | None) -> tuple[Source | None, Skip]:
    """Return the source, or why checks that need it are skipped.

    One that was named must be the right one. One that is remembered and gone was not given; one that is there and
    cannot be read, or is another one now, was.
    """
    from pipeline.verify.origin import find_origin, is_at_hand

    missing = Skip("not applicable", "the source is not at hand; name its folder with --source")
    if not folder and not is_at_hand(dataset):
        return None, missing
    try:
        return find_origin(dataset, folder), missing
    except AugpipeError as error:
        if folder:
            raise
        return None, Skip("not run", str(error))


def _slices_of(source: Source, record: DatasetRecord, *, gap: int) -> SliceIdentifier:
    images, labels = zip(*((stack.images, stack.labels) for stack in source.stacks), strict=True)
    independent, ignore = record.config.independent, record.arrays.ignore
    return SliceIdentifier(images, labels, gap=gap, independent=independent, ignore=ignore)


def _one_each(checks: Iterable[Check]) -> tuple[Check, ...]:
    """Return the checks in the order of CHECKS; of several with one id, the last."""
    by_id = {check.id: check for check in checks}
    return tuple(by_id[check] for check in CHECKS)


def _with_pictures(
    report: AuditReport, folder: Path | None, audited: AuditedSamples, slices: SliceIdentifier | None
) -> AuditReport:
    """Return the report with the files that its worst findings were drawn in, if that was asked for."""
    if not folder:
        return report
    from pipeline.audit.finding_pictures import write_pictures

    return replace(report, pictures=tuple(write_pictures(folder, report, audited, slices)))
