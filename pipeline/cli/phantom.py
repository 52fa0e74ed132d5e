"""`augpipe phantom`: the built-in stack as files."""

from pathlib import Path

import click

from pipeline.cli.options import PATH, GroupedCommand, report_options
from pipeline.cli.voice import Voice


@click.command(cls=GroupedCommand)
@click.argument("out", type=PATH)
@report_options
def phantom(out: Path, quiet: bool, json_file: str | None) -> None:
    """Write the built-in phantom into the folder OUT, as train-volume.tif and train-labels.tif."""
    from pipeline.source.readers import write_phantom

    say = Voice(quiet=quiet, json_file=json_file)
    paths = [str(path) for path in write_phantom(out)]
    say.lines(paths)
    say.json({"schema": "augpipe/phantom-report/1", "files": paths})
