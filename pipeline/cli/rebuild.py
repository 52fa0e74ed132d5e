"""`augpipe rebuild`: from a lock file to the same bytes."""

from pathlib import Path

import click

from pipeline.cli.options import PATH, GroupedCommand, option, report_options
from pipeline.cli.voice import Voice
from pipeline.errors import ConfigError


@click.command(cls=GroupedCommand)
@click.argument("lock_folder", type=PATH, metavar="LOCK-FOLDER")
@option("Source", "--source", type=PATH, help="Folder of the stack; the phantom needs none.")
@option("Source", "--images", type=PATH, multiple=True, help="Or: a stack's images; again for each further stack.")
@option("Source", "--labels", type=PATH, multiple=True, help="Their labels, in the same order.")
@option("Running", "--out", type=PATH, help="Folder to make.  [default: datasets/<name of LOCK-FOLDER>]")
@option("Running", "--jobs", type=int, default=-1, show_default=True, help="Threads; -1 for one a core.")
@report_options
def rebuild(
    lock_folder: Path,
    source: Path | None,
    images: tuple[Path, ...],
    labels: tuple[Path, ...],
    out: Path | None,
    jobs: int,
    quiet: bool,
    json_file: str | None,
) -> None:
    """Make the dataset that LOCK-FOLDER records, byte for byte, or nothing.

    LOCK-FOLDER holds its dataset.json and manifest.jsonl. Exit status: 0 every byte is as recorded, 1 it is not.
    """
    from pipeline.build.rebuild import rebuild_dataset
    from pipeline.cli.closing_lines import build_json, rebuild_lines
    from pipeline.shards.progress import choose_progress

    if len(images) != len(labels) or (source and images):
        raise ConfigError("rebuild: name either --source, or one --labels for each --images")
    pairs = tuple(zip(images, labels, strict=True))
    say = Voice(quiet=quiet, json_file=json_file)
    result = rebuild_dataset(
        lock_folder, out, source_folder=source, pairs=pairs, jobs=jobs, progress=choose_progress(quiet=quiet)
    )
    say.lines(rebuild_lines(result, lock_folder))
    say.json({**build_json(result), "schema": "augpipe/rebuild-report/1", "lock": str(lock_folder)})
