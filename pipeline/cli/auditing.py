"""`augpipe audit` and `augpipe split-check`: proof of no leakage, from pixels and from records."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.cli.options import PATH, Command, allow_unknown_option, gap_option, jobs_option, option
from pipeline.cli.output import Output
from pipeline.errors import ConfigError

if TYPE_CHECKING:
    from pipeline.audit.report import AuditReport
    from pipeline.audit.subject import Subject
    from pipeline.shards.dataset import Dataset
    from pipeline.source.stacks import Slices


@click.command("audit", cls=Command)
@click.argument("dataset", type=PATH, required=False)
@option("Bare folders", "--train", type=PATH, help="Samples to train on: TIFF, PNG, JPEG or HDF5.")
@option("Bare folders", "--val", type=PATH, help="Samples to validate on.")
@option("Bare folders", "--test", type=PATH, help="Samples to test on.")
@option("Bare folders", "--key", default="images", help="The array in HDF5 files.")
@option("Bare folders", "--independent", is_flag=True, help="The slices of --source have no neighbours.")
@option(
    "Source",
    "--source",
    type=PATH,
    help="Folder of the stack, or the TIFF stack itself.  [default: as remembered]",
)
@gap_option("Checks")
@option("Checks", "--manifest-only", is_flag=True, help="Look at no pixels.")
@allow_unknown_option
@jobs_option
@option("Output", "--pictures", type=PATH, metavar="DIR", help="Draw the worst findings: both pictures, and why.")
def audit(
    dataset: Path | None,
    train: Path | None,
    val: Path | None,
    test: Path | None,
    key: str,
    independent: bool,
    source: Path | None,
    gap: int,
    manifest_only: bool,
    allow_unknown: bool,
    jobs: int,
    pictures: Path | None,
    output: Output,
) -> int:
    """Prove from the pixels that no test sample of DATASET shows tissue that was trained on.

    Without DATASET: any samples, in --train and --test. Exit status: 0 clean, 1 a finding, 3 a check could not be run.
    """
    from pipeline.audit.conductor import audit_dataset, audit_samples
    from pipeline.audit.pictures import write_pictures
    from pipeline.audit.subject import DatasetSubject
    from pipeline.shards.dataset import open_dataset

    bare = {name: path for name, path in (("train", train), ("val", val), ("test", test)) if path}
    if dataset and pictures and pictures.resolve().is_relative_to(dataset.resolve()):
        raise ConfigError(
            f"{pictures}: lies in the dataset, which is not to be changed; name another --pictures folder"
        )
    _require_one(dataset, bare, manifest_only=manifest_only, independent=independent)
    progress = output.progress(lines=False)
    gathered = DatasetSubject(open_dataset(dataset)) if dataset else None
    if gathered:
        report = audit_dataset(
            gathered.dataset,
            source_folder=source,
            gap=gap,
            manifest_only=manifest_only,
            allow_unknown=allow_unknown,
            jobs=jobs,
            progress=progress,
            on_row=gathered.add if pictures else None,
        )
    else:
        subject, stacks = _read_bare(bare, key, source)
        report = audit_samples(
            subject, stacks, gap=gap, independent=independent, allow_unknown=allow_unknown, jobs=jobs, progress=progress
        )
    if pictures:
        labels = None
        if gathered:
            subject = gathered.subject()
            stacks, labels = _read_stacks(gathered.dataset, source)
        for path in write_pictures(pictures, report, subject, stacks, labels):
            output.line(f"picture: {path}")
    return _finish(report, output)


@click.command("split-check", cls=Command)
@click.argument("files", type=PATH, nargs=-1, required=True, metavar="FILE...")
@gap_option("Checks")
def split_check(files: Sequence[Path], gap: int, output: Output) -> int:
    """Check splits by their records alone.

    FILE: a manifest.jsonl, nnU-Net's splits_final.json, or a CSV table with the columns id, group, split and, where
    groups are stacks, z.
    """
    from pipeline.audit.split_check import split_check as check_files

    return _finish(check_files(files, gap=gap), output)


def _require_one(dataset: Path | None, bare: Mapping[str, Path], *, manifest_only: bool, independent: bool) -> None:
    if dataset and bare:
        raise ConfigError("audit: name either a DATASET, or folders with --train and --test")
    if not dataset and ("train" not in bare or len(bare) < 2):
        raise ConfigError("audit: name a DATASET, or folders with --train and --test (or --val)")
    if not dataset and manifest_only:
        raise ConfigError("audit: bare folders have no manifest; leave out --manifest-only")
    if dataset and independent:
        raise ConfigError("audit: a DATASET says itself whether its slices have neighbours; leave out --independent")


def _read_bare(bare: Mapping[str, Path], key: str, source: Path | None) -> tuple["Subject", "Sequence[Slices] | None"]:
    from pipeline.audit.bare import folders_subject
    from pipeline.source.readers import read_images

    return folders_subject(bare, images_key=key), read_images(source) if source else None


def _read_stacks(
    dataset: "Dataset", source: Path | None
) -> tuple["Sequence[Slices] | None", "Sequence[Slices] | None"]:
    """Return the images and labels that the pictures of a dataset's findings are drawn beside, if they are at hand."""
    from pipeline.errors import AugpipeError
    from pipeline.verify.origin import find_origin

    try:
        stacks = find_origin(dataset, source).stacks
    except AugpipeError:
        return None, None
    return [stack.images for stack in stacks], [stack.labels for stack in stacks]


def _finish(report: "AuditReport", output: Output) -> int:
    """Print an audit's report, and return its exit status."""
    from pipeline.audit.text import report_lines

    verdict, *lines = report_lines(report)
    output.verdict(verdict)
    output.lines(lines)
    output.report(report.to_json())
    return report.exit_code
