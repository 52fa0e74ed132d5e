"""The folder of a card, DATASET/card: all of its files, or none."""

from dataclasses import replace
from pathlib import Path

from pipeline.audit.auditing import audit_dataset
from pipeline.card.contents import Card, describe_card, gather_rows
from pipeline.card.croissant import make_croissant
from pipeline.card.files import CARD_FILES, CARD_FOLDER, INDEX_FILE
from pipeline.card.kaggle import draw_cover, make_metadata
from pipeline.card.readme import make_readme
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
) -> Card:
    """Audit a dataset, write its card into its folder, and return the contents of the card.

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
    with gather_rows(dataset) as rows:
        report = audit_dataset(
            dataset,
            source_folder=source,
            gap=gap,
            allow_unknown=allow_unknown,
            jobs=jobs,
            progress=progress,
            on_row=rows.add,
        )
        card = describe_card(dataset, report, rows, source=source)
        write_folder(out, card_files(card, source=source, data_at="../"))
    return replace(card, index=out / INDEX_FILE)


def card_files(
    card: Card,
    *,
    source: Path | None = None,
    data_at: str = "",
    url: str | None = None,
    dataset_id: str | None = None,
    title: str | None = None,
) -> dict[str, bytes | Path]:
    """Return the name of every file of a card with its bytes, or with the path of a file that has them.

    Args:
        card: its contents.
        source: where the stack is, for the preview, if not where build-info.json remembers it.
        data_at: the path from the card's files to the dataset's; empty where they lie side by side, as published.
        url: the dataset's page, where it has one.
        dataset_id: Kaggle's `owner/slug`.
        title: Kaggle's title.

    Raises:
        DatasetError: a sample cannot be read.
    """
    contents = (
        make_readme(card).encode("utf-8"),
        canonical_json(make_croissant(card, data_at=data_at, url=url)),
        canonical_json(make_metadata(card, dataset_id=dataset_id, title=title)),
        card.index,  # a line for each of any number of samples
        canonical_json(card.report.to_json()),
        draw_preview(card.dataset, card.previewed, source)[0],
        draw_cover(card.dataset),
    )
    return dict(zip(CARD_FILES, contents, strict=True))
