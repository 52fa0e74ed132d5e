"""What the owner of a source knows of it, as a dataset records it."""

import math
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any
from urllib.parse import urlsplit

import msgspec

from pipeline.errors import ConfigError, advise
from pipeline.shards.inputs import NOT_IN_A_LINE

TEXTS = ("title", "specimen", "licence", "citation", "url")
FACTS = (*TEXTS, "voxel_size_nm")
MAX_TEXT_LENGTH = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class StackFacts:
    """What is known about a stack; None where it is not known.

    Attributes:
        title: what it is.
        specimen: what it shows, and how it was imaged.
        voxel_size_nm: (z, y, x), in nanometres.
        licence: the terms of its owner.
        citation: what to cite.
        url: its page.
        synthetic: whether a computer made it.

    Raises:
        ConfigError: a value that cannot be recorded.
    """

    title: str | None = None
    specimen: str | None = None
    voxel_size_nm: tuple[float, float, float] | None = None
    licence: str | None = None
    citation: str | None = None
    url: str | None = None
    synthetic: bool | None = None

    def __post_init__(self) -> None:
        for name in FACTS:
            value = getattr(self, name)
            if value is not None and (problem := _problem(name, value)) is not None:
                raise ConfigError(f"{name}: expected {problem}, got {value!r:.80}")

    def to_json(self) -> dict[str, Any]:
        """Return what is known, as plain JSON values."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class StackPart(StackFacts):
    """What is known about one of several stacks, by its number."""

    stack: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFacts(StackFacts):
    """What is known about a source; `parts` are its stacks that are known themselves."""

    parts: tuple[StackPart, ...] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return what is known, as plain JSON values."""
        values = StackFacts.to_json(self)
        return values if self.parts is None else {**values, "parts": [part.to_json() for part in self.parts]}

    def require_recorded(self, n_stacks: int) -> None:
        """Refuse facts that no build of so many stacks records.

        Raises:
            ConfigError: there is no title, or a part is not one of the stacks.
        """
        if any(each.title is None for each in (self, *(self.parts or ()))):
            raise ConfigError("source: expected a title")
        if any(not 0 <= part.stack < n_stacks for part in self.parts or ()) or len(self.parts or ()) > n_stacks:
            raise ConfigError(f"source: parts: expected stacks from 0 to {n_stacks - 1}, got {self.parts!r:.80}")


def make_facts(values: Mapping[str, Any]) -> SourceFacts:
    """Return the facts that plain JSON values tell.

    Raises:
        ConfigError: a value cannot be recorded.
    """
    try:
        return msgspec.convert(dict(values), SourceFacts)
    except msgspec.ValidationError as error:
        raise ConfigError(f"facts: {error}") from error


def check_facts(values: Mapping[str, Any], *, where: str) -> dict[str, Any]:
    """Return the facts in the form in which a dataset records them.

    Args:
        values: `title`, `specimen`, `licence`, `citation` (one line each), `url` (http or https) and `voxel_size_nm`
            (three positive numbers: z, y, x); all of them optional.
        where: what to call the values in an error message.

    Raises:
        ConfigError: there is no such fact, or its value cannot be recorded.
    """
    for name, value in values.items():
        if name not in FACTS:
            raise ConfigError(f"{where}: there is no fact {name!r:.80}; {advise(str(name), FACTS)}")
        if (problem := _problem(name, value)) is not None:
            raise ConfigError(f"{where}: {name}: expected {problem}, got {value!r:.80}")
    return {name: list(map(float, value)) if name == "voxel_size_nm" else value for name, value in values.items()}


def _problem(name: str, value: Any) -> str | None:
    """Return what was expected of a value that cannot be recorded."""
    if name == "voxel_size_nm":
        return None if _is_voxel_size(value) else "three positive numbers, in nm: [z, y, x]"
    if not isinstance(value, str) or not value.strip() or len(value) > MAX_TEXT_LENGTH:
        return f"1 to {MAX_TEXT_LENGTH} characters of text"
    if any(unicodedata.category(character) in NOT_IN_A_LINE for character in value):
        return "one line of text"
    if name == "url" and not _is_url(value):
        return "an address that begins with http:// or https://"
    return None


def _is_voxel_size(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) == 3 and all(map(_is_positive, value))


def _is_positive(side: Any) -> bool:
    try:
        return isinstance(side, int | float) and not isinstance(side, bool) and 0 < float(side) < math.inf
    except OverflowError:
        return False


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and not any(map(str.isspace, text))
