"""Telling how far a build or an audit is: a bar on a terminal; for a build, a line every few seconds elsewhere."""

import sys
import time
from typing import TextIO

from pipeline.audit.progress import AuditProgress
from pipeline.build.builder import BuildProgress
from pipeline.plan.samples import Plan

_LINE_EVERY_S = 10.0


def choose_progress(*, quiet: bool, stream: TextIO | None = None) -> BuildProgress:
    """Return what suits the stream: a bar on a terminal, lines in a file, nothing where quiet."""
    if quiet:
        return BuildProgress()
    stream = stream or sys.stderr
    return BarProgress() if stream.isatty() else LineProgress(stream)


def choose_audit_progress(*, quiet: bool, stream: TextIO | None = None) -> AuditProgress:
    """Return what suits the stream: a bar for every stage on a terminal, else nothing."""
    return StageProgress() if not quiet and (stream or sys.stderr).isatty() else AuditProgress()


class StageProgress(AuditProgress):
    """A progress bar for each stage of an audit, on standard error."""

    def start(self, what: str, n: int) -> None:
        """Show the bar of a stage."""
        from rich.console import Console
        from rich.progress import Progress

        self._bar = Progress(console=Console(stderr=True), transient=True)
        self._task = self._bar.add_task(what, total=n)
        self._bar.start()

    def step(self) -> None:
        """Move the bar on."""
        self._bar.advance(self._task)

    def stop(self) -> None:
        """Take the bar away."""
        self._bar.stop()


class LineProgress(BuildProgress):
    """Plain lines, few enough for a log file."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._total = self._kept = self._done = 0
        self._started = self._told = 0.0

    def start(self, plan: Plan, n_kept: int) -> None:
        """Say what was kept from an earlier run."""
        self._total, self._kept, self._done = plan.config.n, n_kept, n_kept
        self._started = self._told = time.monotonic()
        if n_kept:
            self.note(f"continuing: {n_kept} of {self._total} samples are there already")

    def sample(self) -> None:
        """Say how far it is, every ten seconds."""
        self._done += 1
        now = time.monotonic()
        if now - self._told >= _LINE_EVERY_S:
            self._told = now
            rate = (self._done - self._kept) / (now - self._started)
            left_s = (self._total - self._done) / rate
            self.note(f"{self._done} of {self._total} samples, {rate:.0f} samples/s, {left_s:.0f} s left")

    def note(self, line: str) -> None:
        """Print the line."""
        self._stream.write(f"{line}\n")
        self._stream.flush()


class BarProgress(BuildProgress):
    """A progress bar with samples/s and the time left, on standard error."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._bar = Progress(
            TextColumn("rendering"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._kept = self._done = 0
        self._started = 0.0

    def start(self, plan: Plan, n_kept: int) -> None:
        """Show the bar."""
        self._kept = self._done = n_kept
        self._started = time.monotonic()
        self._task = self._bar.add_task("rendering", total=plan.config.n, completed=n_kept, rate="")
        self._bar.start()

    def sample(self) -> None:
        """Move the bar on."""
        self._done += 1
        seconds = time.monotonic() - self._started
        rate = f"{(self._done - self._kept) / seconds:.0f} samples/s" if seconds > 0 else ""
        self._bar.update(self._task, completed=self._done, rate=rate)

    def note(self, line: str) -> None:
        """Print the line above the bar."""
        self._bar.console.print(line, highlight=False, markup=False)

    def stop(self) -> None:
        """Take the bar away."""
        self._bar.stop()
