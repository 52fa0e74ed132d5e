"""Progress of a long piece of work on samples or slices: what it calls, and how a console shows it."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any, Protocol, TextIO, TypeVar

Item = TypeVar("Item")

_LINE_EVERY_S = 10.0


class Progress(Protocol):
    """A progress callback; a library function calls it from one thread at a time."""

    def start(self, what: str, total: int, *, unit: str = "samples", done: int = 0) -> None:
        """Begin a stage of `total` units, of which an earlier run has done some."""

    def advance(self) -> None:
        """Count one more unit."""

    def note(self, line: str) -> None:
        """Tell the user something."""

    def stop(self) -> None:
        """End the stage, whether it went well or not."""


class SilentProgress:
    """Shows nothing."""

    def start(self, what: str, total: int, *, unit: str = "samples", done: int = 0) -> None:
        """Begin a stage."""

    def advance(self) -> None:
        """Count one more unit."""

    def note(self, line: str) -> None:
        """Show nothing of it."""

    def stop(self) -> None:
        """End the stage."""


class ConsoleProgress:
    """A bar on a terminal; a line every ten seconds elsewhere, few enough for a log file.

    Args:
        stream: where to show it.
        lines: whether to write lines where there is no terminal.
    """

    def __init__(self, stream: TextIO, *, lines: bool = True) -> None:
        self._stream = stream
        self._terminal = stream.isatty()
        self._lines = lines
        self._bar: Any = None

    def start(self, what: str, total: int, *, unit: str = "samples", done: int = 0) -> None:
        """Show the bar, or tell what an earlier run has done."""
        self._what, self._unit, self._total, self._kept, self._done = what, unit, total, done, done
        self._started = self._shown = time.monotonic()
        if self._terminal:
            self._bar = _rich_bar(self._stream)
            self._task = self._bar.add_task(what, total=total, completed=done, rate="")
            self._bar.start()
        elif done:
            self.note(f"continuing: {done} of {total} {unit} are there already")

    def advance(self) -> None:
        """Move the bar on, or write a line if the last one is ten seconds old."""
        self._done += 1
        now = time.monotonic()
        rate = (self._done - self._kept) / max(now - self._started, 1e-9)
        if self._bar is not None:
            self._bar.update(self._task, completed=self._done, rate=f"{rate:.0f} {self._unit}/s" if rate >= 1 else "")
        elif now - self._shown >= _LINE_EVERY_S and self._done < self._total:
            self._shown = now
            left_s = (self._total - self._done) / rate
            speed = f", {rate:.0f} {self._unit}/s" if rate >= 1 else ""
            self.note(f"{self._what}: {self._done} of {self._total} {self._unit}{speed}, {left_s:.0f} s left")

    def note(self, line: str) -> None:
        """Write the line, above the bar if there is one."""
        if self._bar is not None:
            self._bar.console.print(line, highlight=False, markup=False)
        elif self._lines or self._terminal:
            self._stream.write(f"{line}\n")
            self._stream.flush()

    def stop(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def choose_progress(*, quiet: bool, lines: bool = True, stream: TextIO | None = None) -> Progress:
    """Return what suits the stream, standard error unless given; where quiet, what shows nothing."""
    return SilentProgress() if quiet else ConsoleProgress(stream or sys.stderr, lines=lines)


def track(items: Iterable[Item], progress: Progress, what: str, total: int, *, unit: str = "samples") -> Iterator[Item]:
    """Yield the items as one stage of `total` units, each of them counted when the next is asked for."""
    progress.start(what, total, unit=unit)
    try:
        for item in items:
            yield item
            progress.advance()
    finally:
        progress.stop()


def _rich_bar(stream: TextIO) -> Any:
    """Return a bar that goes away at the end; what is printed meanwhile goes where it would without one."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=Console(file=stream), transient=True, redirect_stdout=sys.stdout.isatty())
