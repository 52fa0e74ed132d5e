"""`python -m pipeline.cli` is the installed command."""

from pipeline.cli.entry import run

run()
