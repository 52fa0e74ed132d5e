"""The facts about a source that its owner knows and the pixels do not tell: specimen, terms, voxel size."""

import math
import unicodedata
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from augment.errors import ConfigError
from pipeline.spelling import advise

TEXTS = ("title", "specimen", "licence", "citation", "url")
FACTS = (*TEXTS, "voxel_size_nm")
LONGEST_TEXT = 2000
_NO_TEXT = ("Cc", "Cs", "Zl", "Zp")  # control characters, halves of characters, ends of lines


def check_facts(values: Mapping[str, Any], *, where: str) -> dict[str, Any]:
    """Return the facts in the form in which a dataset records them.

    Args:
        values: `title`, `specimen`, `licence`, `citation` (one line each), `url` (http or https) and `voxel_size_nm`
            (three positive numbers: z, y, x); all of them optional.
        where: what to call the values in an error message.

    Raises:
        ConfigError: there is no such fact, or its value is none that can be recorded.
    """
    facts: dict[str, Any] = {}
    for name, value in values.items():
        if name not in FACTS:
            raise ConfigError(f"{where}: there is no fact {name!r:.80}; {advise(str(name), FACTS)}")
        if (problem := _problem(name, value)) is not None:
            raise ConfigError(f"{where}: {name}: expected {problem}, got {value!r:.80}")
        facts[name] = list(map(float, value)) if name == "voxel_size_nm" else value
    return facts


def _problem(name: str, value: Any) -> str | None:
    """Return what was expected of a value that cannot be recorded."""
    if name == "voxel_size_nm":
        return None if _is_voxel_size(value) else "three positive numbers, in nm: [z, y, x]"
    if not isinstance(value, str) or not value.strip() or len(value) > LONGEST_TEXT:
        return f"1 to {LONGEST_TEXT} characters of text"
    if any(unicodedata.category(character) in _NO_TEXT for character in value):
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
