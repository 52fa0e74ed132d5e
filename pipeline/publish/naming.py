"""What a dataset is called on Kaggle: an id and a title, within the lengths that Kaggle takes."""

import re
from dataclasses import dataclass

from pipeline.card.kaggle_terms import SLUG_LENGTHS, TITLE_LENGTHS
from pipeline.errors import ConfigError

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

    @classmethod
    def parse(cls, text: str) -> "KaggleId":
        """Return the id that `owner/slug` spells.

        Raises:
            ConfigError: it is none.
        """
        owner, slash, slug = text.partition("/")
        if not slash:
            raise ConfigError(f"--id: expected OWNER/SLUG, got {text!r:.120}")
        return cls(owner, slug)


def check_title(title: str) -> str:
    """Return a title that Kaggle takes.

    Raises:
        ConfigError: it is too short, too long, or more than a line.
    """
    return _require_length("--title", title, TITLE_LENGTHS)


def _require_length(what: str, text: str, lengths: tuple[int, int]) -> str:
    low, high = lengths
    if not low <= len(text) <= high or not text.isprintable() or text != text.strip():
        raise ConfigError(f"{what}: expected {low} to {high} characters in one line, got {len(text)}: {text!r:.120}")
    return text
