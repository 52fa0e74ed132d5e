"""Runs builds that are killed at the k-th step towards the disk; test_workspace.py starts it in a process of its own.

Reads scenarios from standard input, one JSON object a line: {"arguments": [...], "step": k or null}. Every scenario
runs in a fork of this process, which has no threads, and dies by SIGKILL just before its k-th step. Answers with a
line of JSON: {"killed": true or false, "code": exit status, "lines": what it printed}.
"""

import itertools
import json
import os
import pathlib
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np

import pipeline.build.builder
import pipeline.cli.build_report
import pipeline.shards.progress
import pipeline.source.tiff  # noqa: F401  # imported once, before the forks
from augment.draw import draw_recipe
from augment.ranges import AugmentRanges
from augment.renderer import render
from augment.seeding import Stream
from pipeline.cli import main

STEPS: list[tuple[Any, str]] = [
    (os, "fsync"),
    (os, "unlink"),
    (os, "rmdir"),
    (pathlib.Path, "rename"),
    (pathlib.Path, "replace"),
    (pathlib.Path, "mkdir"),
    (shutil, "rmtree"),
]


def count_down(function: Callable[..., Any], counter: "itertools.count[int]", step: int) -> Callable[..., Any]:
    def counted(*arguments: Any, **keywords: Any) -> Any:
        if next(counter) == step:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **keywords)

    return counted


def run(arguments: list[str], step: int | None) -> dict[str, Any]:
    with tempfile.TemporaryFile("w+") as printed:
        child = os.fork()
        if child == 0:
            os.dup2(printed.fileno(), 1)
            os.dup2(printed.fileno(), 2)
            if step is not None:
                counter = itertools.count()
                for owner, name in STEPS:
                    setattr(owner, name, count_down(getattr(owner, name), counter, step))
            code = main(arguments)
            sys.stdout.flush()
            os._exit(code)
        _, status = os.waitpid(child, 0)
        printed.seek(0)
        lines = printed.read().splitlines()
    return {"killed": os.WIFSIGNALED(status), "code": os.waitstatus_to_exitcode(status), "lines": lines}


# Load the compiled kernels before the forks, too.
one = np.ones((8, 8), np.uint8)
render(one, one, draw_recipe(AugmentRanges(), Stream(0, (0,)), window=(8, 8), slice_size=(8, 8)))

for scenario in map(json.loads, sys.stdin):
    print(json.dumps(run(scenario["arguments"], scenario["step"])), flush=True)
