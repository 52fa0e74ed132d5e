"""`augpipe show`: what is in a dataset, in words."""

from pathlib import Path

import click

from pipeline.cli.options import PATH, GroupedCommand, report_options
from pipeline.cli.voice import Voice


@click.command(cls=GroupedCommand)
@click.argument("dataset", type=PATH)
@click.argument("sample", metavar="[ID]", required=False)
@report_options
def show(dataset: Path, sample: str | None, quiet: bool, json_file: str | None) -> None:
    """Say what is in DATASET, or how its sample ID was made."""
    from pipeline.look.show import dataset_json, dataset_lines, sample_json, sample_lines

    say = Voice(quiet=quiet, json_file=json_file)
    say.lines(dataset_lines(dataset) if sample is None else sample_lines(dataset, sample))
    if json_file:
        say.json(dataset_json(dataset) if sample is None else sample_json(dataset, sample))
