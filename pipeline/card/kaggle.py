"""The dataset as Kaggle shows it: dataset-metadata.json, as Kaggle's own client reads it, and the cover image."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from PIL import Image

from pipeline.audit.report import Outcome
from pipeline.card.contents import Card
from pipeline.card.files import COVER_FILE, INDEX_FILE
from pipeline.card.index import COLUMNS, index_columns
from pipeline.card.kaggle_terms import COVER_SIZE_PX, SLUG_LENGTHS, TITLE_LENGTHS, mark
from pipeline.card.readme import make_readme
from pipeline.card.sentences import kaggle_licence
from pipeline.errors import counted
from pipeline.look.contact_sheet import png_bytes
from pipeline.look.display import display_of
from pipeline.look.panels import image_panel, label_panel
from pipeline.shards.context import slice_channels
from pipeline.shards.dataset import Dataset
from pipeline.shards.record import DATASET_FILE, MANIFEST_FILE

NO_OWNER = "INSERT_OWNER_HERE"

_TYPES = {str: "string", int: "integer", float: "decimal", bool: "boolean"}
_AUDITED: Mapping[Outcome, str] = {
    "LEAKAGE": "LEAKAGE: see its audit",
    "NOT CLEAN": "NOT CLEAN: see its audit",
    "NOT PROVEN": "NOT PROVEN free of leakage",
    "CLEAN": "audited against leakage",
}
_MIN_HEAD = 8  # letters of a name in a slug
_COLUMNS, _LINES = 4, 2  # of the cover
_SIDE_PX = COVER_SIZE_PX[1] // _LINES


def make_metadata(card: Card, *, dataset_id: str | None = None, title: str | None = None) -> dict[str, Any]:
    """Return the dataset in Kaggle's words, as plain JSON values.

    Args:
        card: its contents.
        dataset_id: `owner/slug`; unless given, the owner has to be filled in.
        title: unless given, one made from the name.
    """
    stacks = [card.source, *(card.source.parts or ())]
    sources = [(stack.title, None if card.source.synthetic else stack.citation, stack.url) for stack in stacks]
    return {
        "title": title or _title(card),
        "subtitle": _subtitle(card),
        "id": dataset_id or f"{NO_OWNER}/{_slug(card)}",
        "licenses": [{"name": card.licence or kaggle_licence(card)}],
        "description": f"{make_readme(card, with_preview=False)}\n{mark(card.dataset.digest)}\n",
        "keywords": ["biology", "image segmentation", "computer vision", "deep learning"],
        "expectedUpdateFrequency": "never",
        "userSpecifiedSources": "; ".join(fact for facts in sources for fact in facts if fact is not None),
        "image": COVER_FILE,
        "resources": list(_resources(card)),
    }


def draw_cover(dataset: Dataset) -> bytes:
    """Return the cover of a dataset as the bytes of a PNG file: training samples, each over its outlined label.

    Raises:
        DatasetError: the dataset cannot be read.
    """
    split = dataset["train"]
    cover = Image.new("RGB", COVER_SIZE_PX, "#ffffff")
    for column in range(_COLUMNS):
        k = column * (len(split) - 1) // (_COLUMNS - 1)
        image, label = slice_channels(split.images[k], dataset.record.config.context), split.labels[k]
        display = display_of(image, dataset.record.inputs[0].images.channels)
        for line, panel in enumerate((image_panel(image, display), label_panel(image, label, display))):
            square = panel.convert("RGB").resize((_SIDE_PX, _SIDE_PX), Image.Resampling.LANCZOS, box=_middle(panel))
            cover.paste(square, (column * _SIDE_PX, line * _SIDE_PX))
    return png_bytes(cover)


def _middle(panel: Image.Image) -> tuple[float, float, float, float]:
    """Return a square in the middle of a panel, half as wide, so that details can be seen: left, top, right, bottom."""
    whole = min(panel.size)
    side = max(whole / 2, min(whole, _SIDE_PX))
    left, top = (panel.width - side) / 2, (panel.height - side) / 2
    return left, top, left + side, top + side


def _resources(card: Card) -> Iterator[dict[str, Any]]:
    fields = [
        {"name": name, "title": COLUMNS[name][1], "type": _TYPES[COLUMNS[name][0]]}
        for name in index_columns(card.record)
    ]
    yield {"path": INDEX_FILE, "description": "A line for every sample.", "schema": {"fields": fields}}
    yield {"path": DATASET_FILE, "description": "What the dataset is; its SHA-256 is the digest to cite."}
    yield {"path": MANIFEST_FILE, "description": "A line of JSON for every sample, with its whole recipe."}
    for shard in card.record.shards:
        yield {"path": shard.file, "description": f"{counted(shard.n, 'sample')} of {shard.split}, HDF5."}


def _title(card: Card) -> str:
    fold = card.title.removeprefix(card.record.name)
    tail = f"{fold}: {counted(card.record.n, 'sample')}"
    return f"{_cut(card.record.name, TITLE_LENGTHS[1] - len(tail))}{tail}"


def _cut(name: str, length: int) -> str:
    """Return a name as it is, or its first words, with dots for the rest."""
    if len(name) <= length:
        return name
    head = name[: length - 3]
    words = re.sub(r"[-._]+[^-._]*$", "", head)
    return f"{words if len(words) > length // 2 else head}..."


def _subtitle(card: Card) -> str:
    synthetic = "synthetic, " if card.source.synthetic else ""
    audited = _AUDITED[card.report.outcome] if card.held_out or not card.is_clean else "for training only"
    return f"{counted(card.record.n, 'sample')} of {counted(card.n_slices, 'slice')}, {synthetic}{audited}"


def _slug(card: Card) -> str:
    config, max_length = card.record.config, SLUG_LENGTHS[1]
    fold = card.key.removeprefix(card.record.name)
    tail = f"-n{config.n}-seed{config.seed}{fold}"
    if len(tail) + _MIN_HEAD > max_length:  # a seed may have 39 digits
        tail = f"-{card.record.fingerprint[:12]}"
    head = re.sub(r"[^a-z0-9]+", "-", card.record.name.lower()).strip("-")
    return f"{head[: max_length - len(tail)].rstrip('-')}{tail}"
