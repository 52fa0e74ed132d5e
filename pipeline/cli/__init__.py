"""The command `augpipe`: parses, calls one function of the library, prints."""

from pipeline.cli.entry import cli, main, run

__all__ = ["cli", "main", "run"]
