"""`augpipe audit` and `augpipe split-check`: proof of no leakage, from pixels and from records."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.cli.options import PATH, GroupedCommand, option, report_options
from pipeline.cli.voice import Voice
from pipeline.errors import ConfigError

if TYPE_CHECKING:
    from pipeline.audit.report import AuditReport


@click.command(cls=GroupedCommand)
@click.argument("dataset", type=PATH, required=False)
@option("Bare folders", "--train", type=PATH, help="Samples to train on: TIFF, PNG, JPEG or HDF5.")
@option("Bare folders", "--val", type=PATH, help="Samples to validate on.")
@option("Bare folders", "--test", type=PATH, help="Samples to test on.")
@option("Bare folders", "--key", default="images", show_default=True, help="The array in HDF5 files.")
@option("Bare folders", "--independent", is_flag=True, help="The slices of --source have no neighbours.")
@option(
    "Source",
    "--source",
    type=PATH,
    help="Folder of the stack, or the TIFF stack itself.  [default: as remembered]",
)
@option("Checks", "--gap", type=int, default=3, show_default=True, help="Slices of two splits are further apart.")
@option("Checks", "--manifest-only", is_flag=True, help="Look at no pixels.")
@option("Checks", "--allow-unknown", is_flag=True, help="Samples whose slice is not found are only warned of.")
@option("Running", "--jobs", type=int, default=-1, show_default=True, help="Threads; -1 for one a core.")
@option("Output", "--pictures", type=PATH, metavar="DIR", help="Draw the worst findings: both pictures, and why.")
@report_options
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
    quiet: bool,
    json_file: str | None,
) -> None:
    """Prove from the pixels that no test sample of DATASET shows tissue that was trained on.

    Without DATASET: any samples, in --train and --test. Exit status: 0 clean, 1 a finding, 3 a check could not be run.
    """
    from pipeline.audit.auditing import audit_dataset, audit_folders
    from pipeline.shards.progress import choose_progress

    folders = {name: path for name, path in (("train", train), ("val", val), ("test", test)) if path}
    _require_one(dataset, folders, manifest_only=manifest_only, independent=independent)
    say, progress = Voice(quiet=quiet, json_file=json_file), choose_progress(quiet=quiet, lines=False)
    if dataset:
        report = audit_dataset(
            dataset,
            source_folder=source,
            gap=gap,
            manifest_only=manifest_only,
            allow_unknown=allow_unknown,
            jobs=jobs,
            progress=progress,
            pictures=pictures,
        )
    else:
        report = audit_folders(
            folders,
            source,
            images_key=key,
            gap=gap,
            independent=independent,
            allow_unknown=allow_unknown,
            jobs=jobs,
            progress=progress,
            pictures=pictures,
        )
    say.lines(f"picture: {path}" for path in report.pictures)
    _tell(report, say)


@click.command("split-check", cls=GroupedCommand)
@click.argument("files", type=PATH, nargs=-1, required=True, metavar="FILE...")
@option("Checks", "--gap", type=int, default=3, show_default=True, help="Slices of two splits are further apart.")
@report_options
def split_check(files: Sequence[Path], gap: int, quiet: bool, json_file: str | None) -> None:
    """Check splits by their records alone.

    FILE: a manifest.jsonl, nnU-Net's splits_final.json, or a CSV table with the columns id, group, split and, where
    groups are stacks, z.
    """
    from pipeline.audit.record_checks import split_check as check_files

    _tell(check_files(files, gap=gap), Voice(quiet=quiet, json_file=json_file))


def _require_one(dataset: Path | None, folders: Mapping[str, Path], *, manifest_only: bool, independent: bool) -> None:
    if dataset and folders:
        raise ConfigError("audit: name either a DATASET, or folders with --train and --test")
    if not dataset and ("train" not in folders or len(folders) < 2):
        raise ConfigError("audit: name a DATASET, or folders with --train and --test (or --val)")
    if not dataset and manifest_only:
        raise ConfigError("audit: bare folders have no manifest; leave out --manifest-only")
    if dataset and independent:
        raise ConfigError("audit: a DATASET says itself whether its slices have neighbours; leave out --independent")


def _tell(report: "AuditReport", say: Voice) -> None:
    from pipeline.audit.terminal_report import report_lines

    lines = report_lines(report)
    say.always(lines[0])
    say.lines(lines[1:])
    say.json(report.to_json())
    if report.exit_code:
        raise click.exceptions.Exit(report.exit_code)
