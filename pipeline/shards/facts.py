"""The facts about a source that its owner knows and the pixels do not tell: specimen, terms, voxel size."""

import math
import unicodedata
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from pipeline.errors import ConfigError, advise

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


def check_recorded(source: Any, *, n_stacks: int, where: str) -> None:
    """Refuse what a dataset records of its source, if no build can have recorded it.

    Args:
        source: the facts, with a title; `synthetic`; and `parts`, the same for single stacks, by their number.
        n_stacks: how many stacks there are.
        where: what to call the facts in an error message.

    Raises:
        ConfigError: there is no title, or a value is of another kind.
    """
    _check_part(source, where)
    parts = source.get("parts", [])
    if not isinstance(parts, list) or len(parts) > n_stacks:
        raise ConfigError(f"{where}: parts: expected a list of at most {n_stacks} stacks, got {parts!r:.80}")
    for part in parts:
        _check_part(part, f"{where}: parts")
        if type(part.get("stack")) is not int or not 0 <= part["stack"] < n_stacks:
            raise ConfigError(f"{where}: parts: expected a stack from 0 to {n_stacks - 1}, got {part!r:.80}")


def _check_part(values: Any, where: str) -> None:
    if not isinstance(values, dict) or "title" not in values:
        raise ConfigError(f"{where}: expected a title, and what else is known, got {values!r:.80}")
    check_facts({name: values[name] for name in FACTS if name in values}, where=where)
    if type(values.get("synthetic", False)) is not bool:
        raise ConfigError(f"{where}: synthetic: expected true or false, got {values['synthetic']!r:.80}")


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
