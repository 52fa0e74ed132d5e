"""dataset-metadata.json: the dataset as Kaggle's own client reads it."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.audit.report import Outcome
from pipeline.card.files import COVER_FILE
from pipeline.card.index import COLUMNS, index_columns
from pipeline.card.kaggle_terms import SLUG_LENGTHS, TITLE_LENGTHS, mark
from pipeline.card.record import CardRecord
from pipeline.card.terms import kaggle_licence
from pipeline.card.text import card_text
from pipeline.card.words import counted
from pipeline.shards.record import DATASET_FILE, MANIFEST_FILE

NO_OWNER = "INSERT_OWNER_HERE"

_TYPES = {str: "string", int: "integer", float: "decimal", bool: "boolean"}


_AUDITED: Mapping[Outcome, str] = {
    "LEAKAGE": "LEAKAGE: see its audit",
    "NOT CLEAN": "NOT CLEAN: see its audit",
    "NOT PROVEN": "NOT PROVEN free of leakage",
    "CLEAN": "audited against leakage",
}
_SHORTEST_HEAD = 8  # letters of a name in a slug


def kaggle_metadata(card: CardRecord, *, dataset_id: str | None = None, title: str | None = None) -> dict[str, Any]:
    """Return the dataset in Kaggle's words, as plain JSON values.

    Args:
        card: what is known.
        dataset_id: `owner/slug`; unless given, the owner has to be filled in.
        title: unless given, one made from the name.
    """
    told = ("title", "url") if card.synthetic else ("title", "citation", "url")
    source = [known[key] for known in (card.source, *card.source.get("parts", [])) for key in told if key in known]
    return {
        "title": title or _title(card),
        "subtitle": _subtitle(card),
        "id": dataset_id or f"{NO_OWNER}/{_slug(card)}",
        "licenses": [{"name": card.licence or kaggle_licence(card)}],
        "description": f"{card_text(card, with_picture=False)}\n{mark(card.dataset.digest)}\n",
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
    fold = card.title.removeprefix(card.record.name)
    told = f"{fold}: {counted(card.record.n, 'sample')}"
    return f"{_cut(card.record.name, TITLE_LENGTHS[1] - len(told))}{told}"


def _cut(name: str, length: int) -> str:
    """Return a name as it is, or its first words, so that it is seen that there are more."""
    if len(name) <= length:
        return name
    head = name[: length - 3]
    words = re.sub(r"[-._]+[^-._]*$", "", head)
    return f"{words if len(words) > length // 2 else head}..."


def _subtitle(card: CardRecord) -> str:
    synthetic = "synthetic, " * card.synthetic
    audited = _AUDITED[card.report.outcome] if card.held_out or not card.is_clean else "for training alone"
    return f"{counted(card.record.n, 'sample')} of {counted(card.n_slices, 'slice')}, {synthetic}{audited}"


def _slug(card: CardRecord) -> str:
    config, longest = card.facts["config"], SLUG_LENGTHS[1]
    fold = card.key.removeprefix(card.record.name)
    tail = f"-n{config['n']}-seed{config['seed']}{fold}"
    if len(tail) + _SHORTEST_HEAD > longest:  # a seed may have 39 digits
        tail = f"-{card.record.fingerprint[:12]}"
    head = re.sub(r"[^a-z0-9]+", "-", card.record.name.lower()).strip("-")
    return f"{head[: longest - len(tail)].rstrip('-')}{tail}"
