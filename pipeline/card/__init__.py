"""The card of a dataset: what it is, for people and for programs, from one record of everything known about it."""

from pipeline.card.record import CardRecord, gather_card
from pipeline.card.writer import card_files, lay_card, write_card

__all__ = ["CardRecord", "card_files", "gather_card", "lay_card", "write_card"]
