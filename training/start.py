"""The installed command, which loads all else while it runs: an interrupt or a failure meanwhile is told, too."""

from typing import NoReturn

from pipeline.process import run_process


def run() -> NoReturn:
    """Run as the installed command."""
    run_process("augtrain", _main)


def _main() -> int:
    from training.cli import main

    return main()
