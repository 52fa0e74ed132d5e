"""What a user gave, and where: on the command line, or in a config file."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from pipeline.cli.options import file_key


@dataclass(frozen=True, slots=True)
class Given:
    """The options that a user gave; those left to their defaults are not among them.

    Attributes:
        values: what was given, by the parameter's name.
        keys: what each parameter is called in a config file.
        flags: the names of those that were given on the command line.
        file: where the others were given.
    """

    values: Mapping[str, Any]
    keys: Mapping[str, str]
    flags: frozenset[str]
    file: Path | None = None

    def __contains__(self, name: str) -> bool:
        return name in self.values

    def get(self, name: str, default: Any = None) -> Any:
        """Return what was given, else the default."""
        return self.values.get(name, default)

    def only(self, *names: str) -> dict[str, Any]:
        """Return the values of these, as far as they were given."""
        return {name: self.values[name] for name in names if name in self.values}

    def where(self, name: str) -> str:
        """Return what to call an option in a message, so that the user finds it."""
        key = self.keys[name]
        return f"--{key}" if name in self.flags or self.file is None else f"{self.file}: {key}"

    def without_file(self, *names: str) -> "Given":
        """Return all but what the file says of these: a flag has made it void."""
        void = {name for name in names if name not in self.flags}
        return replace(self, values={name: value for name, value in self.values.items() if name not in void})


def read_given(context: click.Context, file: Path | None) -> Given:
    """Return what was given to the command that is being run."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    wanted = (ParameterSource.COMMANDLINE, ParameterSource.DEFAULT_MAP)
    return Given(
        values={name: context.params[name] for name, source in sources.items() if source in wanted},
        keys={parameter.name: file_key(parameter) for parameter in context.command.params if parameter.name},
        flags=frozenset(name for name, source in sources.items() if source is ParameterSource.COMMANDLINE),
        file=file,
    )
