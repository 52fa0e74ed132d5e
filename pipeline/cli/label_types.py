"""What the options of labels take: values, and names of classes."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import click


class ClassNames(NamedTuple):
    """What classes are called, and the values that they have, where those are said."""

    names: tuple[str, ...]
    values: tuple[int, ...] = ()


class LabelValues(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.5 alone
    """Whole numbers with commas between."""

    name = "value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """Return the numbers."""
        if isinstance(value, tuple):
            return value
        try:
            return tuple(map(int, str(value).split(",")))
        except ValueError:
            self.fail(f"expected whole numbers such as -1 or 0,255, got {value!r:.80}", param, ctx)


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


def is_list_of_names(value: Any) -> bool:
    """Return whether a value from a config file names classes."""
    names = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else [value]
    return bool(names) and all(isinstance(name, str) and name.strip() for name in names)
