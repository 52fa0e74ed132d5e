"""The options that a user set, on the command line or in a config file, and what to call each in a message."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from pipeline.cli.options import file_key

if TYPE_CHECKING:
    from pipeline.cli.config_file import ConfigFile


@dataclass(frozen=True, slots=True)
class UserOptions:
    """The options that a user set, on the command line or in a config file; not those left to their defaults.

    Attributes:
        values: what they were set to, by the parameter's name.
        keys: what each parameter is called in a config file.
        flags: the names of those that were set on the command line.
        file: where the others were set.
    """

    values: Mapping[str, Any]
    keys: Mapping[str, str]
    flags: frozenset[str]
    file: Path | None = None

    def __contains__(self, name: str) -> bool:
        return name in self.values

    def get(self, name: str, default: Any = None) -> Any:
        """Return the value of an option that was set, else the default."""
        return self.values.get(name, default)

    def only(self, *names: str) -> dict[str, Any]:
        """Return the values of these, as far as they were set."""
        return {name: self.values[name] for name in names if name in self.values}

    def where(self, name: str) -> str:
        """Return what to call an option in a message, so that the user finds it."""
        key = self.keys[name]
        return f"--{key}" if name in self.flags or self.file is None else f"{self.file}: {key}"

    def without_file(self, *names: str) -> "UserOptions":
        """Return all but what the file says of these: the command line has overruled it."""
        overruled = {name for name in names if name not in self.flags}
        return replace(self, values={name: value for name, value in self.values.items() if name not in overruled})


def read_user_options(context: click.Context, file: "ConfigFile | None") -> UserOptions:
    """Return what the user set for the command that is being run."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    by_user = (ParameterSource.COMMANDLINE, ParameterSource.DEFAULT_MAP)
    return UserOptions(
        values={name: context.params[name] for name, source in sources.items() if source in by_user},
        keys={parameter.name: file_key(parameter) for parameter in context.command.params if parameter.name},
        flags=frozenset(name for name, source in sources.items() if source is ParameterSource.COMMANDLINE),
        file=file.path if file else None,
    )
