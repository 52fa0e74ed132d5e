"""What a command prints: lines for people, and a JSON report for programs."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.errors import StorageError

if TYPE_CHECKING:
    from pipeline.shards.progress import Progress


class Output:
    """Prints a command's lines, shows its progress, and writes its report.

    Args:
        quiet: print verdicts alone.
        json_file: where to write the report; `-` for standard output, and the lines then go to standard error.

    Raises:
        StorageError: the report cannot be written there.
    """

    def __init__(self, *, quiet: bool, json_file: str | None) -> None:
        self._quiet = quiet
        self._json_file = json_file
        if json_file and json_file != "-" and not Path(json_file).exists():
            from pipeline.files import require_writable

            require_writable(Path(json_file))

    @property
    def report_file(self) -> Path | None:
        """The file that the report will be written to, if any."""
        return Path(self._json_file) if self._json_file and self._json_file != "-" else None

    def line(self, text: str) -> None:
        """Print a line, unless the command is to be quiet."""
        if not self._quiet:
            self.verdict(text)

    def lines(self, texts: Iterable[str]) -> None:
        """Print lines, unless the command is to be quiet."""
        for text in texts:
            self.line(text)

    def verdict(self, text: str) -> None:
        """Print a line even if the command is to be quiet."""
        _echo(_printable(text), err=self._json_file == "-")

    def progress(self, *, lines: bool = True) -> "Progress":
        """Return the callback that shows progress on standard error, unless the command is to be quiet."""
        from pipeline.shards.progress import choose_progress

        return choose_progress(quiet=self._quiet, lines=lines)

    def report(self, values: Mapping[str, Any]) -> None:
        """Write the report, if one was asked for."""
        if not self._json_file:
            return
        from pipeline.files import write_report
        from pipeline.shards.digest import canonical_json

        if self._json_file == "-":
            _echo(canonical_json(values), newline=False)
        else:
            write_report(Path(self._json_file), canonical_json(values))


def _echo(text: str | bytes, *, err: bool = False, newline: bool = True) -> None:
    """Print.

    Raises:
        StorageError: the stream takes no more, such as a file on a full disk.
    """
    try:
        click.echo(text, err=err, nl=newline)
    except OSError as error:
        stream = "standard error" if err else "standard output"
        raise StorageError(f"{stream}: cannot be written ({error.strerror or error}); send it elsewhere") from error


def _printable(text: str) -> str:
    """Return the text with what no terminal can print replaced: a path may hold bytes that are no text."""
    return text.encode("utf-8", "replace").decode("utf-8")
