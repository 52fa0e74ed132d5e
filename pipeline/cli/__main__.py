"""`python -m pipeline.cli` is the installed command."""

from pipeline.cli.start import run

run()
