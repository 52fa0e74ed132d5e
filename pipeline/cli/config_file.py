"""A build's options in a TOML file, handed to click as defaults that the command line overrides."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from pipeline.cli.kind import as_given, kind_of, shown
from pipeline.cli.options import file_key
from pipeline.errors import ConfigError

_ABOUT = "source"
_OF_ONE_RUN = ("config", "help", "json", "quiet")


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """What a config file says.

    Attributes:
        path: the file.
        options: the values of the options that it gives, by the parameter's name.
        facts: what it says about the source.
    """

    path: Path
    options: Mapping[str, Any]
    facts: Mapping[str, Any]


def read_config_file(path: Path, command: click.Command) -> ConfigFile:
    """Return what a file says about the options of a command.

    Args:
        path: a TOML file; relative paths in it are relative to its own folder.
        command: whose options it gives, by their long names.

    Raises:
        ConfigError: it cannot be read, is no TOML, or gives what is no option, or a value of another kind.
    """
    values = _parse(path)
    name, facts = _read_about(path, values.pop(_ABOUT, {}))
    if name is not None and "name" in values:
        raise ConfigError(f"{path}: name: it is given twice, in [{_ABOUT}] too; keep one of them")
    parameters = {file_key(parameter): parameter for parameter in command.params}
    options = {} if name is None else {"name": name}
    for key, value in values.items():
        _require_key(path, key, parameters)
        parameter = parameters[key]
        kind = kind_of(parameter)
        if not kind.accepts(value):
            raise ConfigError(f"{path}: {key}: expected {kind.expected}, got {shown(value)}")
        options[parameter.name or key] = as_given(parameter, value, path.parent)
    return ConfigFile(path, options, facts)


def _parse(path: Path) -> dict[str, Any]:
    import tomllib

    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"{path}: expected a TOML file with options, but it cannot be read ({error.strerror or error})"
        ) from error
    try:
        return tomllib.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            f"{path}, line {line}: expected TOML in UTF-8, got the byte {data[error.start]:#x}"
        ) from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}{_why_no_toml(str(error), data)}") from error


def _why_no_toml(message: str, data: bytes) -> str:
    """Return the parser's message with the line in front."""
    found = re.fullmatch(r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)", message, re.DOTALL)
    if not found:
        return f": not TOML that can be read ({message})"
    line, column = found[2] or max(1, len(data.splitlines())), f", column {found[3]}" if found[3] else ""
    return f', line {line}{column}: not TOML ({found[1]}); an option is written as n = 300, a text as split = "block"'


def _read_about(path: Path, about: Any) -> tuple[str | None, dict[str, Any]]:
    """Return the name and the facts in the table about the source."""
    from pipeline.errors import advise
    from pipeline.shards.provenance import FACTS, check_facts

    if not isinstance(about, dict):
        raise ConfigError(
            f"{path}: {_ABOUT}: expected a table [{_ABOUT}] of facts such as title and licence, got {shown(about)}; "
            "the folder to build from is the key folder"
        )
    where, keys = f"{path}: [{_ABOUT}]", ("name", *FACTS)
    for key in about:
        if key not in keys:
            raise ConfigError(f"{where}: there is no key {key!r:.80}; {advise(key, keys)}")
    name = about.get("name")
    if name is not None and not isinstance(name, str):
        raise ConfigError(f"{where}: name: expected text, got {shown(name)}")
    return name, check_facts({key: value for key, value in about.items() if key != "name"}, where=where)


def _require_key(path: Path, key: str, parameters: Mapping[str, click.Parameter]) -> None:
    from pipeline.errors import advise

    if key in _OF_ONE_RUN:
        raise ConfigError(f"{path}: {key}: it goes on the command line, not into a file")
    if key not in parameters:
        keys = [*(known for known in parameters if known not in _OF_ONE_RUN), _ABOUT]
        raise ConfigError(f"{path}: there is no key {key!r:.80}; {advise(key, keys)}")
