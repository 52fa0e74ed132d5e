"""The entry point: the group of all commands, and what every failure of theirs means to the shell."""

import os
import sys
from collections.abc import Sequence

import click

from pipeline.cli.audit import audit, split_check
from pipeline.cli.build import build
from pipeline.cli.card import card
from pipeline.cli.phantom import phantom
from pipeline.cli.preview import preview
from pipeline.cli.publish import publish
from pipeline.cli.rebuild import rebuild
from pipeline.cli.show import show
from pipeline.cli.verify import verify
from pipeline.cli.voice import printable
from pipeline.errors import INTERRUPTED, AugpipeError, exit_code


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="augpipe")
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


for command in (audit, build, card, phantom, preview, publish, rebuild, show, split_check, verify):
    cli.add_command(command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    try:
        given = list(sys.argv[1:] if arguments is None else arguments)
        code = cli.main(given or ["--help"], prog_name="augpipe", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except AugpipeError as error:
        return _fail(str(error), exit_code(error))
    except click.exceptions.Abort:
        named = next(iter(sys.argv[1:] if arguments is None else arguments), "")
        goes_on = named in (build.name, publish.name, rebuild.name)
        hint = "; the same command continues where it stopped" if goes_on else ""
        return _fail(f"interrupted{hint}", INTERRUPTED)
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "augpipe"
        return _fail(f"{error.format_message()} ({command} --help tells more)", 2)
    except click.ClickException as error:
        return _fail(error.format_message(), error.exit_code)
    except OSError as error:
        return _fail(f"{error.filename or 'augpipe'}: {error.strerror or error}", 3)


def _fail(message: str, code: int) -> int:
    click.echo(printable(f"augpipe: {' '.join(message.split())}"), err=True)
    return code


def run() -> None:
    """Run as the installed command: nothing is left to tidy up at the end, so the interpreter does not try to."""
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
