"""What a dataset is published as: the card's metadata, with what the user asked for, in the form that Kaggle takes."""

import json
from collections.abc import Mapping

from pipeline.card.files import METADATA_FILE
from pipeline.card.kaggle_terms import mark
from pipeline.publish.order import Order
from pipeline.publish.remote import Listing
from pipeline.shards.record import DatasetRecord


def make_listing(card: Mapping[str, bytes], record: DatasetRecord, order: Order) -> Listing:
    """Return what a remote shows: what the card's dataset-metadata.json says, which goes along.

    Args:
        card: name and bytes of every file of the card, made for this order.
        record: the dataset.
        order: what was asked for.
    """
    metadata = json.loads(card[METADATA_FILE])
    return Listing(
        title=metadata["title"],
        retitle=order.title is not None,
        subtitle=metadata["subtitle"],
        description=metadata["description"],
        licence=metadata["licenses"][0]["name"],
        keywords=tuple(metadata["keywords"]),
        private=order.private,
        notes="; ".join(filter(None, (order.notes, mark(record.sha256)))),
        resources=tuple(metadata["resources"]),
        update_frequency=metadata["expectedUpdateFrequency"],
        sources=metadata["userSpecifiedSources"],
    )
