"""dataset-metadata.json: the dataset as Kaggle's own client reads it."""

import re
from collections.abc import Iterator
from typing import Any

from pipeline.card.index import COLUMNS, index_columns
from pipeline.card.record import CardRecord
from pipeline.card.text import card_text
from pipeline.card.words import counted, kaggle_licence
from pipeline.kaggle_terms import SLUG_LENGTHS, TITLE_LENGTHS, mark
from pipeline.shards.record import COVER_FILE, DATASET_FILE, MANIFEST_FILE

NO_OWNER = "INSERT_OWNER_HERE"

_TYPES = {str: "string", int: "integer", float: "decimal", bool: "boolean"}


def kaggle_metadata(
    card: CardRecord, *, dataset_id: str | None = None, title: str | None = None, licence: str | None = None
) -> dict[str, Any]:
    """Return the dataset in Kaggle's words, as plain JSON values.

    Args:
        card: what is known.
        dataset_id: `owner/slug`; unless given, the owner has to be filled in.
        title: unless given, one made from the name.
        licence: Kaggle's name of it; unless given, that of the source, or `other` or `unknown`.
    """
    told = ("title", "url") if card.synthetic else ("title", "citation", "url")
    source = [card.source[key] for key in told if key in card.source]
    return {
        "title": title or _title(card),
        "subtitle": _subtitle(card),
        "id": dataset_id or f"{NO_OWNER}/{_slug(card)}",
        "licenses": [{"name": licence or kaggle_licence(card)}],
        "description": f"{card_text(card)}\n{mark(card.record.sha256)}\n",
        "keywords": ["biology", "image segmentation", "computer vision", "deep learning"],
        "expectedUpdateFrequency": "never",
        "userSpecifiedSources": "; ".join(source),
        "image": COVER_FILE,
        "resources": list(_resources(card)),
    }


def _resources(card: CardRecord) -> Iterator[dict[str, Any]]:
    fields = [
        {"name": name, "title": COLUMNS[name][1], "type": _TYPES[COLUMNS[name][0]]} for name in index_columns(card.rows)
    ]
    yield {"path": "index.csv", "description": "A line for every sample.", "schema": {"fields": fields}}
    yield {"path": DATASET_FILE, "description": "What the dataset is; its SHA-256 is the digest to cite."}
    yield {"path": MANIFEST_FILE, "description": "A line of JSON for every sample, with its whole recipe."}
    for shard in card.record.shards:
        yield {"path": shard.file, "description": f"{counted(shard.n, 'sample')} of {shard.split}, HDF5."}


def _title(card: CardRecord) -> str:
    told = f": {counted(card.record.n, 'sample')}"
    return f"{card.record.name[: TITLE_LENGTHS[1] - len(told)]}{told}"


def _subtitle(card: CardRecord) -> str:
    synthetic = "synthetic, " * card.synthetic
    return (
        f"{counted(card.record.n, 'sample')} of {counted(card.n_slices, 'slice')}, {synthetic}audited against leakage"
    )


def _slug(card: CardRecord) -> str:
    config = card.facts["config"]
    tail = f"-n{config['n']}-seed{config['seed']}"
    head = re.sub(r"[^a-z0-9]+", "-", card.record.name.lower()).strip("-")
    return f"{head[: SLUG_LENGTHS[1] - len(tail)].rstrip('-')}{tail}"[: SLUG_LENGTHS[1]]
