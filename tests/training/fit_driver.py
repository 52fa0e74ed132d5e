"""Runs augtrain and kills it just before a given step; test_resume.py starts it in a process of its own.

Reads scenarios from standard input, one JSON object a line: {"arguments": [...], "kill": [what, k] or null}. Every
scenario runs in a fork of this process, which has computed nothing yet and so has no threads, and dies by SIGKILL at
the k-th (from 0) step of training, flush to the disk, renaming, or in the middle of the k-th writing. Answers with a
line of JSON: {"killed": true or false, "code": exit status, "lines": what it printed}.
"""

import itertools
import json
import os
import pathlib
import signal
import sys
import tempfile
from collections.abc import Callable
from typing import Any, Self

import rich.progress  # noqa: F401  # what a run imports on its way is imported once, before the forks
import torch._dynamo  # noqa: F401

import training.plots  # noqa: F401
from training.cli import main
from training.trainer import Trainer

PLACES: dict[str, tuple[Any, str]] = {
    "step": (Trainer, "step"),
    "flush": (os, "fsync"),
    "rename": (pathlib.Path, "replace"),
}


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def count_down(function: Callable[..., Any], k: int) -> Callable[..., Any]:
    counter = itertools.count()

    def counted(*arguments: Any, **keywords: Any) -> Any:
        if next(counter) == k:
            die()
        return function(*arguments, **keywords)

    return counted


class HalfFile:
    """A file that takes half of what it is given, and then the process dies."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Is never reached."""

    def write(self, data: bytes) -> None:
        self._file.write(data[: len(data) // 2])
        self._file.flush()
        die()


def halve(function: Callable[..., Any], k: int) -> Callable[..., Any]:
    counter = itertools.count()

    def opened(path: pathlib.Path, mode: str = "r", *arguments: Any, **keywords: Any) -> Any:
        file = function(path, mode, *arguments, **keywords)
        return HalfFile(file) if "w" in mode and next(counter) == k else file

    return opened


def plant(what: str, k: int) -> None:
    """Kill this process when it comes to that place."""
    if what == "write":
        pathlib.Path.open = halve(pathlib.Path.open, k)  # type: ignore[method-assign]
        return
    owner, name = PLACES[what]
    setattr(owner, name, count_down(getattr(owner, name), k))


def run(arguments: list[str], kill: tuple[str, int] | None) -> dict[str, Any]:
    with tempfile.TemporaryFile("w+") as printed:
        child = os.fork()
        if child == 0:
            os.dup2(printed.fileno(), 1)
            os.dup2(printed.fileno(), 2)
            if kill is not None:
                plant(*kill)
            code = main(arguments)
            sys.stdout.flush()
            os._exit(code)
        _, status = os.waitpid(child, 0)
        printed.seek(0)
        lines = printed.read().splitlines()
    return {"killed": os.WIFSIGNALED(status), "code": os.waitstatus_to_exitcode(status), "lines": lines}


if __name__ == "__main__":
    for scenario in map(json.loads, sys.stdin):
        print(json.dumps(run(scenario["arguments"], scenario["kill"])), flush=True)
