"""The voice of a command: where its lines and its JSON report go."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click


class Voice:
    """Prints a command's lines, unless it is to be quiet, and writes its report.

    Raises:
        StorageError: the report could not be written.
    """

    def __init__(self, *, quiet: bool, json_file: str | None) -> None:
        self._quiet = quiet
        self._json_file = json_file
        if json_file and json_file != "-" and not Path(json_file).exists():
            from pipeline.files import require_writable

            require_writable(Path(json_file))

    def line(self, text: str) -> None:
        """Print a line; on standard error where standard output is for JSON."""
        if not self._quiet:
            self.always(text)

    def always(self, text: str) -> None:
        """Print a line even where it is to be quiet."""
        click.echo(printable(text), err=self._json_file == "-")

    def lines(self, texts: Iterable[str]) -> None:
        """Print lines."""
        for text in texts:
            self.line(text)

    def json(self, report: dict[str, Any]) -> None:
        """Write the report where it was asked for."""
        from pipeline.files import write_report
        from pipeline.shards.digest import canonical_json

        if self._json_file == "-":
            click.echo(canonical_json(report), nl=False)
        elif self._json_file:
            write_report(Path(self._json_file), canonical_json(report))


def printable(text: str) -> str:
    """Return the text with what no terminal can print replaced: a path may hold bytes that are no text."""
    return text.encode("utf-8", "replace").decode("utf-8")
