"""`augpipe audit` and `augpipe split-check`: proof of no leakage, from pixels and from records."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.cli.options import PATH, Command, allow_unknown_option, gap_option, jobs_option, option
from pipeline.cli.output import Output
from pipeline.errors import ConfigError

if TYPE_CHECKING:
    from pipeline.audit.report import AuditReport


@click.command("audit", cls=Command)
@click.argument("dataset", type=PATH, required=False)
@option("Bare folders", "--train", type=PATH, help="Samples to train on: TIFF, PNG, JPEG, HDF5 or NumPy.")
@option("Bare folders", "--val", type=PATH, help="Samples to validate on.")
@option("Bare folders", "--test", type=PATH, help="Samples to test on.")
@option("Bare folders", "--key", default="images", help="The array in HDF5 or .npz files.")
@option("Bare folders", "--independent", is_flag=True, help="The slices of --source have no neighbours.")
@option(
    "Bare folders", "--groups", type=PATH, metavar="FILE", help="CSV with the columns file,group, such as patients."
)
@option(
    "Bare folders",
    "--write-split",
    type=PATH,
    metavar="FILE",
    help="Write a split without leaks: what shows the same goes to the first of train, val, test that has some of it.",
)
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
    groups: Path | None,
    write_split: Path | None,
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
    from pipeline.audit.auditing import audit_dataset, audit_folders
    from pipeline.audit.splits.repaired_split import repair_text, require_replaceable, write_split_file

    folders = {name: path for name, path in (("train", train), ("val", val), ("test", test)) if path}
    _require_one(
        dataset, folders, manifest_only=manifest_only, independent=independent, groups=groups, write_split=write_split
    )
    read = [dataset, *folders.values(), *(path for path in (source, groups) if path and path.is_file())]
    written = {"--write-split": write_split, "--json": output.report_file, "--pictures": None if dataset else pictures}
    _require_unread(written, [path for path in read if path])
    if write_split:
        require_replaceable(write_split)
    progress = output.progress(lines=False)
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
            groups=groups,
            repair=write_split is not None,
        )
    output.lines([f"picture: {path}" for path in report.pictures])
    status = _finish(report, output)
    if write_split and report.repair:
        write_split_file(write_split, report.repair)
        output.lines(["", repair_text(write_split, report.repair)])
    return status


@click.command("split-check", cls=Command)
@click.argument("files", type=PATH, nargs=-1, required=True, metavar="FILE...")
@gap_option("Checks")
@option("Checks", "--groups", type=PATH, metavar="FILE", help="CSV of cases and their groups, such as patients.")
@option(
    "Checks", "--column", help="The column of groups, of --groups, else of FILE.  [default: group, patient_id, ...]"
)
@option("Checks", "--split-column", help="The column of splits of FILE.  [default: split, set, fold, ...]")
def split_check(
    files: Sequence[Path], gap: int, groups: Path | None, column: str | None, split_column: str | None, output: Output
) -> int:
    """Check splits by their records alone.

    FILE: a manifest.jsonl, nnU-Net's splits_final.json, {"train": [file, ...], "test": [...]}, MONAI's data list, or a
    CSV table with the columns id, group, split and, where groups are stacks, z. Exit status: 0 clean, 1 a finding, 3 no
    groups are known.
    """
    from pipeline.audit.split_checks import split_check as check_files

    _require_unread({"--json": output.report_file}, [*files, *([groups] if groups else [])])
    return _finish(check_files(files, gap=gap, groups=groups, column=column, split_column=split_column), output)


def _require_one(
    dataset: Path | None,
    folders: Mapping[str, Path],
    *,
    manifest_only: bool,
    independent: bool,
    groups: Path | None,
    write_split: Path | None,
) -> None:
    if dataset and folders:
        raise ConfigError("audit: name either a DATASET, or folders with --train and --test")
    if not dataset and ("train" not in folders or len(folders) < 2):
        raise ConfigError("audit: name a DATASET, or folders with --train and --test (or --val)")
    if not dataset and manifest_only:
        raise ConfigError("audit: bare folders have no manifest; leave out --manifest-only")
    if dataset and independent:
        raise ConfigError("audit: a DATASET says itself whether its slices have neighbours; leave out --independent")
    if dataset and groups:
        raise ConfigError("audit: --groups names the groups of files in bare folders; leave it out for a DATASET")
    if dataset and write_split:
        raise ConfigError("audit: --write-split repairs bare folders; build a DATASET again, with another split")


def _require_unread(written: Mapping[str, Path | None], read: Sequence[Path]) -> None:
    """Refuse to write where something lies that is audited, or beside it in its folder."""
    for name, path in written.items():
        target = Path(os.path.realpath(path)) if path else None  # a report is written through links
        if changed := next((each for each in read if target and target.is_relative_to(os.path.realpath(each))), None):
            raise ConfigError(f"{name} {path} would change {changed}, which is read; name another place")


def _finish(report: "AuditReport", output: Output) -> int:
    """Print an audit's report, and return its exit status."""
    from pipeline.audit.terminal_report import report_lines

    verdict, *lines = report_lines(report)
    output.verdict(verdict)
    output.lines(lines)
    output.report(report.to_json())
    return report.exit_code
