"""The card that goes along: who writes it, and what publishing adds to it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from augment.errors import DatasetError
from pipeline.audit.report import AuditReport
from pipeline.config import DEFAULT_GAP
from pipeline.digest import canonical_json
from pipeline.files import write_atomically
from pipeline.shards.record import DatasetRecord

CARD_FILE, METADATA_FILE = "README.md", "dataset-metadata.json"


class CardWriter(Protocol):
    """Writes a dataset's card and its companions into a folder: the same bytes whenever it is called."""

    def __call__(
        self, record: DatasetRecord, folder: Path, *, report: AuditReport, source_folder: Path | None, url: str | None
    ) -> None:
        """Write README.md, audit.json, dataset-metadata.json, and whatever else goes along.

        Args:
            record: the dataset.
            folder: where to write; it is there and empty.
            report: the audit; its subject is the dataset's name.
            source_folder: where the source is, if not where build-info.json remembers it.
            url: where the dataset will be found, if that is known.
        """


def full_card(
    record: DatasetRecord, folder: Path, *, report: AuditReport, source_folder: Path | None, url: str | None
) -> None:
    """Write the card of `augpipe card`, for files that lie side by side."""
    from pipeline.card import card_files, gather_card

    card = gather_card(record.folder, source=source_folder, report=report)
    for name, data in card_files(card, source=source_folder, url=url).items():
        write_atomically(folder / name, [data], n_bytes=len(data))


def state_gap(folder: Path, report: AuditReport, *, independent: bool) -> None:
    """Say on the card that a smaller gap than the usual one was asked for."""
    if independent or report.gap >= DEFAULT_GAP:
        return
    path = folder / CARD_FILE
    text = (
        f"**Small gap.** This dataset was audited at a gap of {report.gap}, less than the {DEFAULT_GAP} slices that "
        "augpipe keeps between two splits: neighbouring slices look alike, so its test scores may be too good."
    )
    card = path.read_text(encoding="utf-8")
    if text not in card:
        write_atomically(path, [f"{card.rstrip()}\n\n{text}\n".encode()])


def read_metadata(folder: Path) -> dict[str, Any]:
    """Return what the card tells Kaggle.

    Raises:
        DatasetError: it is not JSON.
    """
    path = folder / METADATA_FILE
    try:
        metadata = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path}: expected the card's metadata for Kaggle, found none that can be read") from error
    if not isinstance(metadata, dict):
        raise DatasetError(f"{path}: expected a JSON object")
    return metadata


def write_metadata(folder: Path, metadata: Mapping[str, Any]) -> None:
    """Write what the card tells Kaggle."""
    write_atomically(folder / METADATA_FILE, [canonical_json(dict(metadata))])
