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
    from pipeline.look.fact_sheet import show_dataset, show_sample

    say = Voice(quiet=quiet, json_file=json_file)
    sheet = show_dataset(dataset) if sample is None else show_sample(dataset, sample)
    say.lines(sheet.lines())
    if json_file:
        say.json(sheet.to_json())
