"""What the options of labels take: values, and names of classes."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import click

FOUND = "found"
_COLOR = re.compile("#[0-9a-fA-F]{6}")


class ClassNames(NamedTuple):
    """What classes are called, and the values that they have, where those are said."""

    names: tuple[str, ...]
    values: tuple[int, ...] = ()


class Color(int):
    """A value that was said as `#rrggbb`: it is no gray level."""


class LabelValues(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.5 alone
    """Whole numbers with commas between, or colours such as #ff0000."""

    name = "value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """Return the numbers."""
        if isinstance(value, tuple):
            return value
        try:
            return tuple(Color(as_color(part)) if part.startswith("#") else int(part) for part in _parts(str(value)))
        except ValueError:
            self.fail(f"expected whole numbers such as -1 or 0,255, or colours, got {value!r:.80}", param, ctx)


class ColorsOfClasses(click.ParamType):  # type: ignore[type-arg]  # likewise
    """`found`, or colours with commas between, with names or without, or a list or table of them."""

    name = "colors"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> ClassNames:
        """Return the names, if there are any, and the colours, as numbers 0xRRGGBB; empty for those that are found."""
        if isinstance(value, ClassNames):
            return value
        if value == FOUND:
            return ClassNames(())
        try:
            if isinstance(value, Mapping):
                parts = list(value.items())
            else:
                listed = _parts(value) if isinstance(value, str) else value
                halves = [part.rpartition("=") for part in listed]
                parts = [(name.strip(), color.strip()) for name, _, color in halves]
            names, colors = tuple(name for name, _ in parts if name), tuple(as_color(color) for _, color in parts)
        except ValueError:
            self.fail(f"expected {FOUND}, or colours as background=#000000,cell=#00ff00, got {value!r:.80}", param, ctx)
        if len(set(colors)) < len(colors) or len(names) not in (0, len(colors)):
            self.fail(f"expected different colours, and a name for all or none, got {value!r:.80}", param, ctx)
        return ClassNames(names, colors)


class NamesOfClasses(click.ParamType):  # type: ignore[type-arg]  # likewise
    """Names with commas between, or a list of them, or a table of them by value."""

    name = "names"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> ClassNames:
        """Return the names, and their values in rising order."""
        if isinstance(value, ClassNames):
            return value
        listed = value.split(",") if isinstance(value, str) else value
        if not isinstance(listed, Mapping):
            if not all("=" in name for name in listed):
                return ClassNames(tuple(name.strip() for name in listed))
            listed = dict(part.split("=", 1) for part in listed)
        try:
            by_value = {int(key): name.strip() for key, name in listed.items()}
        except ValueError:
            self.fail(f"expected names by value, such as 0=background,255=cell, got {value!r:.80}", param, ctx)
        if len(by_value) < len(listed):
            self.fail(f"expected one name for each value, got {value!r:.80}", param, ctx)
        values = tuple(sorted(by_value))
        return ClassNames(tuple(map(by_value.__getitem__, values)), values)


def as_color(text: str) -> int:
    """Return `#rrggbb` as a number.

    Raises:
        ValueError: it is no such text.
    """
    if not _COLOR.fullmatch(text):
        raise ValueError(text)
    return int(text[1:], 16)


def is_label_value(value: Any) -> bool:
    """Return whether a value from a config file is a label's: a whole number, or a colour."""
    return type(value) is int or (isinstance(value, str) and _COLOR.fullmatch(value) is not None)


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",")]


def is_list_of_names(value: Any) -> bool:
    """Return whether a value from a config file names classes."""
    names = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else [value]
    return bool(names) and all(isinstance(name, str) and name.strip() for name in names)
