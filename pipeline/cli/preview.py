"""`augpipe preview`: a dataset's samples as a picture."""

from pathlib import Path

import click

from pipeline.cli.options import PATH, GroupedCommand, option, report_options
from pipeline.cli.voice import Voice


@click.command(cls=GroupedCommand)
@click.argument("dataset", type=PATH)
@option("Picture", "--out", type=PATH, help="PNG file to make.  [default: DATASET-preview.png]")
@option("Picture", "--samples", type=int, default=3, show_default=True, help="How many samples of each split to draw.")
@option("Picture", "--source", type=PATH, help="Folder of the source.  [default: as remembered]")
@report_options
def preview(
    dataset: Path, out: Path | None, samples: int, source: Path | None, quiet: bool, json_file: str | None
) -> None:
    """Draw some samples of DATASET beside the slices that they were made from."""
    from pipeline.look.preview import preview_dataset

    say = Voice(quiet=quiet, json_file=json_file)
    drawn = preview_dataset(dataset, out, source_folder=source, per_split=samples)
    if drawn.source_missing:
        say.line(f"source: not at hand, so its slices are not drawn ({drawn.source_missing})")
    say.line(str(drawn.path))
    say.json({"schema": "augpipe/preview-report/1", "file": str(drawn.path), "samples": list(drawn.samples)})
