"""Writing a card: all of its files, or none."""

from pathlib import Path

from pipeline.card.cover import draw_cover
from pipeline.card.croissant import croissant
from pipeline.card.files import CARD_FILES, CARD_FOLDER
from pipeline.card.index import index_csv
from pipeline.card.kaggle_metadata import kaggle_metadata
from pipeline.card.record import CardRecord, gather_card
from pipeline.card.text import card_text
from pipeline.files import require_own, storage_errors, write_folder
from pipeline.look.preview import draw_preview
from pipeline.shards.config import DEFAULT_GAP
from pipeline.shards.dataset import Dataset, open_dataset
from pipeline.shards.digest import canonical_json
from pipeline.shards.progress import Progress


def write_card(
    dataset: Dataset | Path | str,
    *,
    source: Path | None = None,
    gap: int = DEFAULT_GAP,
    allow_unknown: bool = False,
    jobs: int = -1,
    progress: Progress | None = None,
) -> CardRecord:
    """Audit a dataset, write its card into its folder, and return what the card was made from.

    DATASET/card appears when it is whole, in the place of an earlier card.

    Args:
        dataset: its folder, or the dataset, opened.
        source: where the stack is, if not where build-info.json remembers it.
        gap: slices of two splits must be further apart than this.
        allow_unknown: samples whose slice the audit does not find are warnings.
        jobs: threads; decides the time taken, nothing else.
        progress: progress callback.

    Raises:
        DamagedError: the dataset is not what its own records say. One that leaks gets a card that says so.
        DatasetError: the dataset cannot be read, or the source named is not the one it was made from.
        ConfigError: the gap is no number of slices, or something else lies in DATASET/card.
        StorageError: the card cannot be written.
    """
    dataset = open_dataset(dataset)
    out = dataset.folder / CARD_FOLDER
    with storage_errors(out):
        require_own(out, CARD_FILES)  # before an audit of minutes
    card = gather_card(dataset, source=source, gap=gap, allow_unknown=allow_unknown, jobs=jobs, progress=progress)
    write_folder(out, card_files(card, source=source, data_at="../"))
    return card


def card_files(
    card: CardRecord,
    *,
    source: Path | None = None,
    data_at: str = "",
    url: str | None = None,
    dataset_id: str | None = None,
    title: str | None = None,
) -> dict[str, bytes]:
    """Return the name and the bytes of every file of a card.

    Args:
        card: what is known.
        source: where the stack is, for the preview, if not where build-info.json remembers it.
        data_at: what leads from the card's files to the dataset's; nothing where they lie side by side, as published.
        url: the dataset's page, where it has one.
        dataset_id: Kaggle's `owner/slug`.
        title: Kaggle's title.

    Raises:
        DatasetError: a sample cannot be read.
    """
    kaggle = kaggle_metadata(card, dataset_id=dataset_id, title=title)
    contents = (
        card_text(card).encode("utf-8"),
        canonical_json(croissant(card, data_at=data_at, url=url)),
        canonical_json(kaggle),
        index_csv(card.rows),
        canonical_json(card.report.to_json()),
        draw_preview(card.dataset, source_folder=source),
        draw_cover(card.dataset),
    )
    return dict(zip(CARD_FILES, contents, strict=True))
