"""`augpipe card` and `augpipe publish`: a dataset described and given to others, with its proof."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.cli.options import PATH, REMEMBERED, Command, allow_unknown_option, gap_option, jobs_option, option
from pipeline.cli.output import Output
from pipeline.errors import ConfigError

if TYPE_CHECKING:
    from pipeline.publish.options import KaggleId
    from pipeline.publish.publisher import Publication
    from pipeline.publish.remote import Remote


@click.command("card", cls=Command)
@click.argument("dataset", type=PATH)
@option("Source", "--source", type=PATH, help="Folder of the stack.  [default: as remembered]")
@gap_option("Checks")
@allow_unknown_option
@jobs_option
def card(dataset: Path, source: Path | None, gap: int, allow_unknown: bool, jobs: int, output: Output) -> int:
    """Audit DATASET and describe it, for people and programs, in DATASET/card.

    There: the card (README.md), Croissant and Kaggle metadata, an index of the samples, the audit, and pictures.

    Exit status: that of the audit, 0 clean, 1 a finding, 3 a check could not be run. The card tells the verdict.
    """
    from pipeline.card.files import CARD_FILE, CARD_FILES, CARD_FOLDER
    from pipeline.card.folder import write_card

    written = write_card(
        dataset,
        source=source,
        gap=gap,
        allow_unknown=allow_unknown,
        jobs=jobs,
        progress=output.progress(lines=False),
    )
    report, folder = written.report, dataset / CARD_FOLDER
    (output.verdict if report.exit_code else output.line)(report.verdict)
    output.line(f"card: {folder / CARD_FILE}")
    output.report(
        {
            "schema": "augpipe/card-report/1",
            "card": str(folder),
            "dataset_sha256": written.dataset.digest,
            "files": list(CARD_FILES),
            "gap": report.gap,
            "verdict": report.verdict,
        }
    )
    return report.exit_code


@click.command("publish", cls=Command)
@click.argument("dataset", type=PATH)
@click.argument("path", type=PATH, required=False)
@option("Place", "--to", type=click.Choice(["kaggle", "folder"]), required=True, help="Where to; a folder needs PATH.")
@option("Place", "--id", "identity", metavar="OWNER/SLUG", help="What it is called on Kaggle.")
@option("Listing", "--title", help="6 to 50 characters.  [default: the card's]")
@option("Listing", "--license", "licence", metavar="NAME", help="As Kaggle spells it.  [default: the source's]")
@option("Listing", "--private", is_flag=True, help="For your own eyes only.")
@option("Listing", "--notes", default="", show_default=False, help="What is new in this version.")
@option("Proof", "--source", type=PATH, help=REMEMBERED)
@gap_option("Proof")
@option(
    "Proof",
    "--audit",
    "report_file",
    type=PATH,
    help="Report of an audit, where the source is not at hand.  [default: card/audit.json]",
)
@option("Proof", "--allow-phantom", is_flag=True, help="Publish a synthetic stack, too.")
@option("Running", "--dry-run", is_flag=True, help="Check everything, send nothing.")
@jobs_option
def publish(
    dataset: Path,
    path: Path | None,
    to: str,
    identity: str | None,
    source: Path | None,
    report_file: Path | None,
    jobs: int,
    output: Output,
    **options: Any,
) -> None:
    """Publish DATASET with its card and its audit: all of it, or nothing.

    \b
    augpipe publish DATASET --to kaggle --id me/my-cells --license CC-BY-4.0
    augpipe publish DATASET --to folder /mnt/share/my-cells

    What leaks, was changed after its audit, or has no licence is refused. The same dataset is never sent twice.
    Exit status: 0 it is there, 1 refused, 3 it could not be audited or sent.
    """  # noqa: D301  # \b is the character by which click knows a table
    from pipeline.publish.options import PublishOptions
    from pipeline.publish.publisher import publish_dataset

    chosen = _identity(to, identity, path)
    if path and (options["private"] or options["notes"]):
        raise ConfigError("publish: --private and --notes are for Kaggle; a folder has neither")
    published = publish_dataset(
        dataset,
        _remote(dataset, path, chosen),
        PublishOptions(identity=chosen, **options),
        source_folder=source,
        report_file=report_file,
        jobs=jobs,
        progress=output.progress(lines=False),
        say=output.line,
    )
    output.lines(_lines(published))
    output.report(_json(published))


def _identity(to: str, identity: str | None, path: Path | None) -> "KaggleId | None":
    from pipeline.publish.options import KaggleId

    if to == "kaggle" and (path or not identity):
        raise ConfigError("publish: --to kaggle needs --id OWNER/SLUG, and no PATH")
    if to == "folder" and not path:
        raise ConfigError("publish: --to folder needs a PATH after it")
    return KaggleId.parse(identity) if identity else None


def _remote(dataset: Path, path: Path | None, identity: "KaggleId | None") -> "Remote":
    from pipeline.publish.folder_remote import FolderRemote
    from pipeline.publish.kaggle.remote import KaggleRemote

    if path:
        return FolderRemote(path, dataset)
    if identity is None:
        raise AssertionError
    return KaggleRemote(identity, dataset)


def _lines(published: "Publication") -> list[str]:
    receipt, before = published.receipt, published.before.version
    version = f", version {receipt.version}" if receipt.version else ""
    after = f", after version {before}" if before and published.outcome != "already there" else ""
    lines = {
        "dataset": published.dataset.digest,
        "audit": published.proof,
        "sent": f"{published.n_sent / 1e6:.1f} of {published.n_bytes / 1e6:.1f} MB in {len(receipt.files)} files",
        published.outcome: f"{receipt.remote}{version}{after}",
        "address": receipt.url,
        "receipt": str(published.receipt_file) if published.receipt_file else "",
    }
    width = max(map(len, lines)) + 2
    return [f"{label:<{width}}{text}" for label, text in lines.items() if text]


def _json(published: "Publication") -> dict[str, Any]:
    return {
        "schema": "augpipe/publish-report/1",
        "outcome": published.outcome,
        "dataset": str(published.dataset.folder),
        "dataset_sha256": published.dataset.digest,
        "remote": published.receipt.remote,
        "url": published.receipt.url,
        "version": published.receipt.version,
        "bytes_sent": published.n_sent,
        "bytes": published.n_bytes,
        "files": len(published.receipt.files),
        "audit": published.proof,
    }
