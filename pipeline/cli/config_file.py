"""A build's options in a TOML file, handed to click as defaults that the command line overrides.

Values are held to their types more strictly than click holds texts: it would make 3.7 the whole number 3, and true 1.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from pipeline.cli.label_types import ColorsOfClasses, LabelValues, NamesOfClasses, is_label_value, is_list_of_names
from pipeline.cli.options import WindowSize, file_key
from pipeline.errors import ConfigError, advise

_ABOUT = "source"
_COMMAND_LINE_ONLY = ("config", "help", "json", "quiet")
_MAX_NUMBER = 1e300  # TOML's whole numbers have no limit, a float has

Accepts = Callable[[Any], bool]


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
        ConfigError: it cannot be read, is not TOML, has a key that is no option, or a value of another type.
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
        expected, accepts = _expectation(parameter)
        if not accepts(value):
            raise ConfigError(f"{path}: {key}: expected {expected}, got {_as_toml(value)}")
        options[parameter.name or key] = _as_click_takes_it(parameter, value, path.parent)
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
        raise ConfigError(f"{path}{_why_not_toml(str(error), data)}") from error


def _why_not_toml(message: str, data: bytes) -> str:
    """Return the parser's message with the line in front."""
    found = re.fullmatch(r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)", message, re.DOTALL)
    if not found:
        return f": not TOML that can be read ({message})"
    line, column = found[2] or max(1, len(data.splitlines())), f", column {found[3]}" if found[3] else ""
    return f', line {line}{column}: not TOML ({found[1]}); an option is written as n = 300, a text as split = "block"'


def _read_about(path: Path, about: Any) -> tuple[str | None, dict[str, Any]]:
    """Return the name and the facts in the table about the source."""
    from pipeline.shards.provenance import FACTS, check_facts

    if not isinstance(about, dict):
        raise ConfigError(
            f"{path}: {_ABOUT}: expected a table [{_ABOUT}] of facts such as title and licence, got {_as_toml(about)}; "
            "the folder to build from is the key folder"
        )
    where, keys = f"{path}: [{_ABOUT}]", ("name", *FACTS)
    for key in about:
        if key not in keys:
            raise ConfigError(f"{where}: there is no key {key!r:.80}; {advise(key, keys)}")
    name = about.get("name")
    if name is not None and not isinstance(name, str):
        raise ConfigError(f"{where}: name: expected text, got {_as_toml(name)}")
    return name, check_facts({key: value for key, value in about.items() if key != "name"}, where=where)


def _require_key(path: Path, key: str, parameters: Mapping[str, click.Parameter]) -> None:
    if key in _COMMAND_LINE_ONLY:
        raise ConfigError(f"{path}: {key}: it goes on the command line, not into a file")
    if key not in parameters:
        keys = [*(name for name in parameters if name not in _COMMAND_LINE_ONLY), _ABOUT]
        raise ConfigError(f"{path}: there is no key {key!r:.80}; {advise(key, keys)}")


def _expectation(parameter: click.Parameter) -> tuple[str, Accepts]:
    """Return what the value of a parameter must be, in words and as a test."""
    if isinstance(parameter.type, click.Choice):
        choices = list(parameter.type.choices)
        return f"one of {', '.join(map(_as_toml, choices))}", lambda value: value in choices
    expected, accepts = next((words, test) for type_, words, test in _TYPES if isinstance(parameter.type, type_))
    if parameter.nargs == 2:
        return "two numbers, such as [0.8, 1.25]", lambda value: _is_list(value, accepts) and len(value) == 2
    if parameter.multiple:
        return f"{expected}, or a list of them", lambda value: accepts(value) or _is_list(value, accepts)
    return expected, accepts


def _is_list(value: Any, accepts: Accepts) -> bool:
    return isinstance(value, list) and bool(value) and all(map(accepts, value))


def _is_whole(value: Any) -> bool:
    return type(value) is int


def _is_number(value: Any) -> bool:
    return isinstance(value, float) or (_is_whole(value) and abs(value) <= _MAX_NUMBER)


def _is_size(value: Any) -> bool:
    sides = value if isinstance(value, list) and len(value) == 2 else [value]
    if all(map(_is_whole, sides)):
        return all(WindowSize().accepts(str(side)) for side in sides)
    return isinstance(value, str) and WindowSize().accepts(value)


_TYPES: tuple[tuple[type, str, Accepts], ...] = (
    (LabelValues, "a whole number", is_label_value),
    (ColorsOfClasses, '"found", or colours by name, such as { cell = "#00ff00" }', is_list_of_names),
    (NamesOfClasses, 'names such as ["background", "cell"], or a table of them by value', is_list_of_names),
    (WindowSize, 'a side such as 700, or "512x700", or [512, 700]', _is_size),
    (click.Path, "a path", lambda value: isinstance(value, str) and value != "" and "\0" not in value),
    (click.types.BoolParamType, "true or false", lambda value: type(value) is bool),
    (click.types.IntParamType, "a whole number", _is_whole),
    (click.types.FloatParamType, "a number", _is_number),
    (click.ParamType, "text", lambda value: isinstance(value, str)),
)


def _as_click_takes_it(parameter: click.Parameter, value: Any, folder: Path) -> Any:
    """Return an accepted value as click takes it, with paths relative to the folder."""
    if isinstance(parameter.type, click.Path):
        if not parameter.multiple:
            return folder / value
        return [folder / path for path in (value if isinstance(value, list) else [value])]
    if parameter.multiple:
        return value if isinstance(value, list) else [value]
    if isinstance(parameter.type, WindowSize):
        return "x".join(map(str, value)) if isinstance(value, list) else str(value)
    return value


def _as_toml(value: Any) -> str:
    """Return a value as TOML writes it, or nearly so."""
    return f"{json.dumps(value, default=str, ensure_ascii=False):.80}"
