"""What a dataset is published as: its id, title and licence, checked against what Kaggle accepts."""

import re
from dataclasses import dataclass

from pipeline.audit.splits.split_overlap import require_gap
from pipeline.card.kaggle_terms import LICENCES, SLUG_LENGTHS, TITLE_LENGTHS, UNKNOWN_LICENCE, find_licence
from pipeline.errors import ConfigError, RefusedError, advise
from pipeline.shards.config import DEFAULT_GAP

_OWNER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
_SLUG = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


@dataclass(frozen=True, slots=True)
class KaggleId:
    """An owner and the slug of a dataset."""

    owner: str
    slug: str

    def __post_init__(self) -> None:
        if not _OWNER.fullmatch(self.owner):
            raise ConfigError(f"--id: {self.owner!r:.80} is not the name of a Kaggle user or organisation")
        _require_length("--id: the part after the slash", self.slug, SLUG_LENGTHS)
        if not _SLUG.fullmatch(self.slug):
            raise ConfigError(
                f"--id: expected small letters, digits and single hyphens after the slash, got {self.slug!r}"
            )

    def __str__(self) -> str:
        return f"{self.owner}/{self.slug}"

    @property
    def url(self) -> str:
        """The address of its page."""
        return f"https://www.kaggle.com/datasets/{self}"

    @classmethod
    def parse(cls, text: str) -> "KaggleId":
        """Return the id that `owner/slug` spells.

        Raises:
            ConfigError: it is invalid.
        """
        owner, slash, slug = text.partition("/")
        if not slash:
            raise ConfigError(f"--id: expected OWNER/SLUG, got {text!r:.120}")
        return cls(owner, slug)


@dataclass(frozen=True, slots=True)
class PublishOptions:
    """How a dataset is to be published.

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
            _require_length("--title", self.title, TITLE_LENGTHS)


def choose_licence(asked: str | None, own: str | None) -> str:
    """Return the licence to publish under, as Kaggle spells it: the one asked for, else the source's own.

    Args:
        asked: a name, in any case.
        own: the source's own, in its owner's words.

    Raises:
        RefusedError: Kaggle does not know it, or knows it as `unknown`, which permits nothing.
    """
    name = asked if asked is not None else own
    found = find_licence(name) if name is not None else None
    if found and found != UNKNOWN_LICENCE:
        return found
    if asked is not None:
        names = [licence for licence in LICENCES if licence != UNKNOWN_LICENCE]
        raise RefusedError(f"--license {asked!r:.80}: not a licence that Kaggle knows; {advise(asked, names)}")
    problem = f"Kaggle does not know the source's licence, {own!r:.200}" if own else "the source's is not recorded"
    raise RefusedError(
        f"licence: {problem}; choose one with --license that the source's terms allow, or 'other', for which the card "
        "names the source's"
    )


def _require_length(what: str, text: str, lengths: tuple[int, int]) -> None:
    low, high = lengths
    if not low <= len(text) <= high or not text.isprintable() or text != text.strip():
        raise ConfigError(f"{what}: expected {low} to {high} characters in one line, got {len(text)}: {text!r:.120}")
