"""`augpipe card`: a dataset described for people and for programs."""

from pathlib import Path

import click

from pipeline.cli.options import PATH, GroupedCommand, option, report_options
from pipeline.cli.voice import Voice


@click.command(cls=GroupedCommand)
@click.argument("dataset", type=PATH)
@option("Source", "--source", type=PATH, help="Folder of the stack.  [default: as remembered]")
@option("Checks", "--gap", type=int, default=3, show_default=True, help="Slices of two splits are further apart.")
@option("Checks", "--allow-unknown", is_flag=True, help="Samples whose slice is not found are only warned of.")
@option("Running", "--jobs", type=int, default=-1, show_default=True, help="Threads; -1 for one a core.")
@report_options
def card(
    dataset: Path,
    source: Path | None,
    gap: int,
    allow_unknown: bool,
    jobs: int,
    quiet: bool,
    json_file: str | None,
) -> None:
    """Audit DATASET and describe it, for people and programs, in DATASET/card.

    There: the card (README.md), Croissant and Kaggle metadata, an index of the samples, the audit, and pictures.

    Exit status: that of the audit, 0 clean, 1 a finding, 3 a check could not be run. The card tells the verdict.
    """
    from pipeline.card.files import CARD_FILE, CARD_FILES, CARD_FOLDER
    from pipeline.card.folder import write_card
    from pipeline.shards.progress import choose_progress

    say = Voice(quiet=quiet, json_file=json_file)
    written = write_card(
        dataset,
        source=source,
        gap=gap,
        allow_unknown=allow_unknown,
        jobs=jobs,
        progress=choose_progress(quiet=quiet, lines=False),
    )
    report, folder = written.report, dataset / CARD_FOLDER
    (say.always if report.exit_code else say.line)(report.verdict)
    say.line(f"card: {folder / CARD_FILE}")
    say.json(
        {
            "schema": "augpipe/card-report/1",
            "card": str(folder),
            "dataset_sha256": written.dataset.digest,
            "files": list(CARD_FILES),
            "gap": report.gap,
            "verdict": report.verdict,
        }
    )
    if report.exit_code:
        raise click.exceptions.Exit(report.exit_code)
