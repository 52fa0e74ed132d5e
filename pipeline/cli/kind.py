"""The kind of value that an option takes in a config file, held more strictly than click holds it.

Click reads texts, and takes what resembles one: 3.7 becomes the whole number 3, and true becomes 1.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import click

from pipeline.cli.options import WindowSize

_LARGEST = 1e300  # TOML's whole numbers have no limit, a float has


class Kind(NamedTuple):
    """What a value must be, in words and as a test."""

    expected: str
    accepts: Callable[[Any], bool]


def kind_of(parameter: click.Parameter) -> Kind:
    """Return what the parameter takes."""
    one = _kind_of_one(parameter.type)
    if parameter.nargs == 2:
        return Kind("two numbers, such as [0.8, 1.25]", lambda value: _is_list(value, one) and len(value) == 2)
    if getattr(parameter, "multiple", False):
        return Kind(f"{one.expected}, or a list of them", lambda value: one.accepts(value) or _is_list(value, one))
    return one


def as_given(parameter: click.Parameter, value: Any, folder: Path) -> Any:
    """Return an accepted value as click takes it, with paths relative to the folder."""
    if getattr(parameter, "multiple", False):
        values = value if isinstance(value, list) else [value]
        return [folder / path for path in values]
    if isinstance(parameter.type, click.Path):
        return folder / value
    if isinstance(parameter.type, WindowSize):
        return "x".join(map(str, value)) if isinstance(value, list) else str(value)
    return value


def shown(value: Any) -> str:
    """Return a value as TOML writes it, or nearly so."""
    return f"{json.dumps(value, default=str, ensure_ascii=False):.80}"


def _kind_of_one(kind: Any) -> Kind:
    if isinstance(kind, click.Choice):
        choices = list(kind.choices)
        return Kind(f"one of {', '.join(map(shown, choices))}", lambda value: value in choices)
    known = (Kind(expected, accepts) for type_, expected, accepts in _KINDS if isinstance(kind, type_))
    return next(known, Kind("text", _is_text))


def _is_list(value: Any, one: Kind) -> bool:
    return isinstance(value, list) and bool(value) and all(map(one.accepts, value))


def _is_whole(value: Any) -> bool:
    return type(value) is int


def _is_number(value: Any) -> bool:
    return isinstance(value, float) or (_is_whole(value) and abs(value) <= _LARGEST)


def _is_size(value: Any) -> bool:
    sides = value if isinstance(value, list) and len(value) == 2 else [value]
    if all(map(_is_whole, sides)):
        return all(WindowSize().accepts(str(side)) for side in sides)
    return isinstance(value, str) and WindowSize().accepts(value)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_path(value: Any) -> bool:
    return isinstance(value, str) and value != "" and "\0" not in value


def _is_bool(value: Any) -> bool:
    return type(value) is bool


_KINDS: tuple[tuple[type, str, Callable[[Any], bool]], ...] = (
    (WindowSize, 'a side such as 700, or "512x700", or [512, 700]', _is_size),
    (click.Path, "a path", _is_path),
    (type(click.BOOL), "true or false", _is_bool),
    (type(click.INT), "a whole number", _is_whole),
    (type(click.FLOAT), "a number", _is_number),
)
