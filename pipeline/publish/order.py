"""What is to be published and how, and what became of it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from pipeline.audit.usage import require_gap
from pipeline.publish.naming import KaggleId, check_title
from pipeline.publish.remote import RemoteState
from pipeline.shards.config import DEFAULT_GAP
from pipeline.shards.record import DatasetRecord

Outcome: TypeAlias = Literal["published", "already there", "would be published"]


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be published, and how.

    Attributes:
        identity: its id on Kaggle.
        title: its title; the card's unless given.
        licence: its licence, by Kaggle's name; the source's unless given.
        private: whether nobody else may see it.
        notes: what is new in this version.
        gap: slices of two splits must be further apart than this.
        allow_phantom: whether a synthetic stack may be published.
        dry_run: send nothing.
    """

    identity: KaggleId | None = None
    title: str | None = None
    licence: str | None = None
    private: bool = False
    notes: str = ""
    gap: int = DEFAULT_GAP
    allow_phantom: bool = False
    dry_run: bool = False

    def __post_init__(self) -> None:
        require_gap(self.gap)
        if self.title is not None:
            check_title(self.title)

    @property
    def url(self) -> str | None:
        """Where it will be found, if it is published to Kaggle."""
        return f"https://www.kaggle.com/datasets/{self.identity}" if self.identity else None


@dataclass(frozen=True, slots=True)
class Publication:
    """What became of an order.

    Attributes:
        outcome: what was done.
        record: the dataset.
        remote: where.
        state: what was there before, if it was asked.
        n_files: how many files.
        n_bytes: bytes of all files.
        n_sent: bytes that were sent now.
        url: where it is now.
        version: which version it is, where there are versions.
        proof: where the proof comes from, if one was needed.
        receipt: the file that tells of it, if there is one.
    """

    outcome: Outcome
    record: DatasetRecord
    remote: str
    state: RemoteState | None
    n_files: int
    n_bytes: int
    n_sent: int = 0
    url: str = ""
    version: int | None = None
    proof: str | None = None
    receipt: Path | None = None
