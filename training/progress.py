"""Telling how far a long command is: a bar on a terminal, a line now and then elsewhere, both on standard error."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TextIO, TypeVar

Told = Callable[[int, int], None]  # is called with how many are done, and how many there are
Item = TypeVar("Item")

_LINE_EVERY_S = 10.0


def untold(_done: int, _total: int) -> None:
    """Tell nobody."""


def counted(items: Iterable[Item], total: int, told: Told) -> Iterator[Item]:
    """Yield the items, and tell how many of them are done: none at first, then one more as the next is asked for."""
    told(0, total)
    for done, item in enumerate(items, 1):
        yield item
        told(done, total)


@contextmanager
def telling(what: str, unit: str, *, quiet: bool, lines: bool = True, stream: TextIO | None = None) -> Iterator[Told]:
    """Lend what suits the stream: a bar on a terminal, lines in a file, nothing where quiet.

    Args:
        what: is being done: `scoring`.
        unit: of what is counted: `slices`.
        quiet: tell nothing.
        lines: tell lines where there is no terminal.
        stream: where to; standard error.
    """
    stream = stream or sys.stderr
    if quiet or not (lines or stream.isatty()):
        yield untold
    elif stream.isatty():
        with _bar(what, stream) as told:
            yield told
    else:
        yield _Lines(what, unit, stream)


class _Lines:
    """Plain lines, few enough for a log file."""

    def __init__(self, what: str, unit: str, stream: TextIO) -> None:
        self._what, self._unit, self._stream = what, unit, stream
        self._started = self._last = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        """Say how far it is, unless that was said within ten seconds, or nothing is left to wait for."""
        now = time.monotonic()
        if done < total and now - self._last >= _LINE_EVERY_S:
            self._last = now
            left = f", {(total - done) * (now - self._started) / done:.0f} s left" if done else ""
            self._stream.write(f"{self._what}: {done} of {total} {self._unit}{left}\n")
            self._stream.flush()


@contextmanager
def _bar(what: str, stream: TextIO) -> Iterator[Told]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    to_terminal = sys.stdout.isatty()  # else what is printed to standard output would go to the bar's stream
    with Progress(*columns, console=Console(file=stream), transient=True, redirect_stdout=to_terminal) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
