"""What a dataset is published as: the card's metadata, with what the user asked for, in the form that Kaggle takes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from augment.errors import DatasetError
from pipeline.publish.card import CARD_FILE, METADATA_FILE
from pipeline.publish.kaggle_remote import mark
from pipeline.publish.naming import TITLE_LENGTH, KaggleId, check_subtitle, check_title
from pipeline.publish.remote import Listing
from pipeline.shards.record import DatasetRecord


def own_metadata(
    folder: Path,
    card: Mapping[str, Any],
    record: DatasetRecord,
    *,
    identity: KaggleId | None,
    title: str | None,
    licence: str,
) -> dict[str, Any]:
    """Return the card's metadata under the id, title and licence that it is published as, described by the card."""
    said = (folder / CARD_FILE).read_text(encoding="utf-8").rstrip()
    chosen = title or _fit_title(str(card.get("title") or ""), record.name)
    ids = {"id": str(identity)} if identity else {}
    return {
        **card,
        **ids,
        "title": check_title(chosen),
        "licenses": [{"name": licence}],
        "description": f"{said}\n\n{mark(record.sha256)}\n",
    }


def make_listing(
    folder: Path, metadata: Mapping[str, Any], record: DatasetRecord, *, private: bool, notes: str
) -> Listing:
    """Return what a remote shows, checked as Kaggle's client checks it.

    Raises:
        ConfigError: a title or a subtitle is too short or too long.
        DatasetError: the card's metadata name a file that does not go along, or one twice.
    """
    _check_resources(folder, metadata, record)
    keywords = metadata.get("keywords") or ()
    return Listing(
        title=str(metadata["title"]),
        subtitle=check_subtitle(str(metadata.get("subtitle") or "")),
        description=str(metadata["description"]),
        licence=str(metadata["licenses"][0]["name"]),
        keywords=tuple(map(str, keywords)),
        private=private,
        notes=f"{notes}; {mark(record.sha256)}" if notes else mark(record.sha256),
        resources=tuple(metadata.get("resources") or ()),
    )


def _check_resources(folder: Path, metadata: Mapping[str, Any], record: DatasetRecord) -> None:
    paths = [resource.get("path") for resource in metadata.get("resources") or ()]
    for path in paths:  # as the client asks, of the one folder that the files will be in
        if not isinstance(path, str) or not ((folder / path).is_file() or (record.folder / path).is_file()):
            raise DatasetError(f"{METADATA_FILE}: names {path!r:.80}, which does not go along")
    if len(set(paths)) < len(paths):
        raise DatasetError(f"{METADATA_FILE}: names a file twice")


def _fit_title(title: str, name: str) -> str:
    """Return the card's title if Kaggle takes it, else one that is made of the dataset's name."""
    low, high = TITLE_LENGTH
    return title if low <= len(title) <= high else f"augpipe {name}"[:high].strip()
