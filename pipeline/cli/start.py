"""The installed command, which loads all else while it runs: an interrupt or a failure meanwhile is told, too."""

import gc
from typing import NoReturn

from pipeline.process import run_process


def run() -> NoReturn:
    """Run as the installed command."""
    run_process("augpipe", _main)


def _main() -> int:
    from pipeline.cli.entry import main

    code = main()
    gc.freeze()  # or Python would end 0.1 s later, after a search for garbage in all that was imported
    return code
