"""`augpipe verify`: whether a dataset is what it says."""

from pathlib import Path

import click

from pipeline.cli.options import PATH, GroupedCommand, option, report_options
from pipeline.cli.voice import Voice
from pipeline.errors import ConfigError


@click.command(cls=GroupedCommand)
@click.argument("dataset", type=PATH)
@option("Replay", "--replay", is_flag=True, help="Render the samples again and compare every pixel.")
@option("Replay", "--sample", metavar="ID", help="With --replay: this sample alone.")
@option("Replay", "--source", type=PATH, help="Folder of the source.  [default: as remembered]")
@option("Running", "--jobs", type=int, default=-1, show_default=True, help="Threads; -1 for one a core.")
@report_options
def verify(
    dataset: Path, replay: bool, sample: str | None, source: Path | None, jobs: int, quiet: bool, json_file: str | None
) -> None:
    """Check every byte and every digest of DATASET.

    Exit status: 0 all is well, 1 something is not as recorded, 3 it could not be checked.
    """
    from pipeline.cli.closing_lines import verification_json, verification_lines
    from pipeline.verify.verification import verify_dataset

    if (sample or source) and not replay:
        raise ConfigError("verify: --sample and --source go with --replay")
    say = Voice(quiet=quiet, json_file=json_file)
    verification = verify_dataset(dataset, replay=replay, source_folder=source, sample_id=sample, jobs=jobs)
    for finding in verification.findings:
        say.always(finding)
    say.lines(verification_lines(verification))
    say.json(verification_json(verification))
    if verification.findings:
        raise click.exceptions.Exit(1)
