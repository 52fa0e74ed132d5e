"""The card of a dataset: what it is, for people and for programs, from one record of everything known about it."""

from pipeline.card.record import CardRecord, describe_dataset, gather_card
from pipeline.card.writer import card_files, write_card

__all__ = ["CardRecord", "card_files", "describe_dataset", "gather_card", "write_card"]
