"""The entry point: the group of all commands, and what every failure of theirs means to the shell."""

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import click

from pipeline.errors import INTERRUPTED, AugpipeError, exit_code
from pipeline.process import explain, print_error
from pipeline.version import VERSION

_COMMANDS = {
    "auditing": ("audit", "split-check"),
    "building": ("build", "phantom", "rebuild"),
    "inspecting": ("preview", "show", "verify"),
    "publishing": ("card", "publish"),
}
_CONTINUED = ("build", "publish", "rebuild")


class _Commands(click.Group):
    """All commands; the module of a command is imported when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        del ctx
        return sorted(name for names in _COMMANDS.values() for name in names)

    def get_command(self, ctx: click.Context, cmd_name: str) -> Any:
        """Return the command of this name, None if there is none."""
        del ctx
        for module, names in _COMMANDS.items():
            if cmd_name in names:
                return getattr(import_module(f"pipeline.cli.{module}"), cmd_name.replace("-", "_"))
        return None


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(VERSION)
def cli() -> None:
    """Turn a few annotated slices into a training set that anyone can rebuild bit for bit, and that does not leak.

    \b
    augpipe build --n 300 --seed 0     make a dataset
    augpipe show DATASET               say what is in it
    augpipe preview DATASET            draw samples beside their slices
    augpipe verify DATASET --replay    prove that it is what it says
    augpipe audit DATASET              prove that it does not leak
    augpipe card DATASET               describe it for people and programs
    augpipe publish DATASET --to ...   give it to others, with that proof
    augpipe rebuild LOCK-FOLDER        make it again from its records
    """  # noqa: D301  # \b is the character by which click knows a table


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    try:
        code = cli.main(words, prog_name="augpipe", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except AugpipeError as error:
        message, code = str(error), exit_code(error)
    except click.exceptions.Abort:
        hint = "; the same command continues where it stopped" if words[0] in _CONTINUED else ""
        message, code = f"interrupted{hint}", INTERRUPTED
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "augpipe"
        message, code = f"{error.format_message()} ({command} --help tells more)", 2
    except click.ClickException as error:
        message, code = error.format_message(), error.exit_code
    except Exception as error:
        if not (message := explain(error)):
            raise
        code = exit_code(error)
    print_error("augpipe", message)
    return code
