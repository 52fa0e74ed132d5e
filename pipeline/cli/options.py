"""Commands and options of `augpipe`, grouped in the help, and the types and options that several commands share."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from pipeline.cli.output import Output
from pipeline.shards.config import DEFAULT_GAP

Function = TypeVar("Function", bound=Callable[..., Any])

PATH = click.Path(path_type=Path, readable=False)  # the library reports what cannot be read
REMEMBERED = "Folder of the source.  [default: as remembered]"
_MAX_DIGITS = 9  # Python refuses to read numbers of thousands of digits, and a larger side is refused anyway


class GroupedOption(click.Option):
    """An option that the help lists under a heading, with its default."""

    def __init__(self, names: Sequence[str], heading: str = "Output", **keywords: Any) -> None:
        self.heading = heading
        super().__init__(names, **{"show_default": True, **keywords})


class Command(click.Command):
    """A command with grouped options; its function is called with an `output`, made of --quiet and --json.

    What the function returns is the exit status, 0 if it returns nothing.
    """

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.params += [
            GroupedOption(["--quiet"], is_flag=True, help="Print nothing but errors and verdicts."),
            GroupedOption(
                ["--json", "json_file"],
                type=click.Path(),
                metavar="FILE",
                help="Write a report; - for standard output.",
            ),
        ]

    def invoke(self, ctx: click.Context) -> Any:
        """Call the function."""
        quiet, json_file = ctx.params.pop("quiet"), ctx.params.pop("json_file")
        ctx.params["output"] = Output(quiet=quiet, json_file=json_file)
        return super().invoke(ctx)

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
        return len(sides) <= 2 and all(side.isdecimal() and len(side) <= _MAX_DIGITS for side in sides)


class ShareOfSamples(click.ParamType):  # type: ignore[type-arg]  # likewise
    """NAME=FRACTION: an operation, and how many samples get it."""

    name = "share"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, float]:
        """Return the operation's name, as the library has it, and the fraction."""
        if isinstance(value, tuple):
            return value
        name, _, share = str(value).partition("=")
        try:
            return name.strip().replace("-", "_"), float(share)
        except ValueError:
            self.fail(f"expected NAME=FRACTION such as noise=0.2, got {value!r:.80}", param, ctx)


class SliceNumber(click.ParamType):  # type: ignore[type-arg]  # likewise
    """[STACK:]Z: a slice, of the first stack unless another is named."""

    name = "slice"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """Return stack and number of the slice."""
        if isinstance(value, tuple):
            return value
        numbers = str(value).split(":")
        if len(numbers) > 2 or not all(number.isdecimal() and len(number) <= _MAX_DIGITS for number in numbers):
            self.fail(f"expected [STACK:]Z such as 5 or 1:5, got {value!r:.80}", param, ctx)
        stack, z = map(int, ["0", *numbers][-2:])
        return stack, z


def option(heading: str, *names: str, **keywords: Any) -> Callable[[Function], Function]:
    """Return the decorator that adds one option under a heading."""
    return click.option(*names, cls=GroupedOption, heading=heading, **keywords)


def gap_option(heading: str) -> Callable[[Function], Function]:
    """Return the decorator that adds --gap to a command that audits."""
    return option(heading, "--gap", type=int, default=DEFAULT_GAP, help="Slices of two splits are further apart.")


def file_key(parameter: click.Parameter) -> str:
    """Return what a parameter is called in a config file: an option's long name, and `folder` for SOURCE."""
    return parameter.opts[0].lstrip("-") if isinstance(parameter, click.Option) else "folder"


jobs_option = option("Running", "--jobs", type=int, default=-1, help="Threads; -1 for one a core.")
allow_unknown_option = option(
    "Checks", "--allow-unknown", is_flag=True, help="Samples whose slice is not found are only warned of."
)
