"""Options as the commands of `augpipe` have them: grouped in the help, with the types that they share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])

PATH = click.Path(path_type=Path, readable=False)  # what may not be read is told by whoever tries to read it
_MOST_DIGITS = 9  # Python refuses to read numbers of thousands of digits, and a larger side is refused anyway


class GroupedOption(click.Option):
    """An option that help lists under a heading."""

    def __init__(self, *arguments: Any, heading: str = "Options", **keywords: Any) -> None:
        self.heading = heading
        super().__init__(*arguments, **keywords)


class GroupedCommand(click.Command):
    """A command whose help lists its options under their headings."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, heading by heading, in the order of definition."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            if isinstance(parameter, click.Option) and (entry := parameter.get_help_record(ctx)) is not None:
                groups.setdefault(getattr(parameter, "heading", "Output"), []).append(entry)
        for heading, entries in groups.items():
            with formatter.section(heading):
                formatter.write_dl(entries)


class WindowSize(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.5 alone
    """A side, or HEIGHTxWIDTH, in pixels."""

    name = "px"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """Return (height, width)."""
        if isinstance(value, tuple):
            return value
        if not self.accepts(str(value)):
            self.fail(f"expected one side like 700, or HEIGHTxWIDTH like 512x700, got {value!r:.80}", param, ctx)
        sides = str(value).lower().split("x")
        return int(sides[0]), int(sides[-1])

    def accepts(self, text: str) -> bool:
        """Return whether the text is a size."""
        sides = text.lower().split("x")
        return len(sides) <= 2 and all(side.isdecimal() and len(side) <= _MOST_DIGITS for side in sides)


def option(heading: str, *names: str, **keywords: Any) -> Callable[[Command], Command]:
    """Return the decorator that adds one option under a heading."""
    return click.option(*names, cls=GroupedOption, heading=heading, **keywords)


def report_options(command: Command) -> Command:
    """Add what every command has: --quiet and --json."""
    command = option(
        "Output",
        "--json",
        "json_file",
        type=click.Path(),
        metavar="FILE",
        help="Write a report; - for standard output.",
    )(command)
    return option("Output", "--quiet", is_flag=True, help="Print nothing but errors and verdicts.")(command)


def file_key(parameter: click.Parameter) -> str:
    """Return what a parameter is called in a config file: an option's long name, and `folder` for SOURCE."""
    return parameter.opts[0].lstrip("-") if isinstance(parameter, click.Option) else "folder"
