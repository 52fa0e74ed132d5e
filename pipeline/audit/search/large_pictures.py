"""Large pictures are looked at in a few threads of their own, so that the number of `--jobs` does not decide on memory.

To wait for each other would not do: of what a thread has freed, malloc keeps pieces below 32 MiB for that thread, so
that every thread that has once looked at a large picture would hold what one takes, 250 MB at 2048 x 2048 pixels.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import wraps
from typing import ParamSpec, TypeVar

import numpy as np

Result = TypeVar("Result")
Given = ParamSpec("Given")

LARGE_PX = 1 << 18  # a picture of so many takes 30 MB, and may be looked at in every thread
N_THREADS = 3  # measured: an audit of 2048 x 2048 pixels then stays below 1.5 GB
_threads = ThreadPoolExecutor(N_THREADS, "large pictures")


def few_at_a_time(look: Callable[Given, Result]) -> Callable[Given, Result]:
    """Return the same function of pictures (Y, X), but one that looks at large ones in those threads."""

    @wraps(look)
    def wait(*given: Given.args, **options: Given.kwargs) -> Result:
        if max(each.size for each in given if isinstance(each, np.ndarray)) <= LARGE_PX:
            return look(*given, **options)
        return _threads.submit(look, *given, **options).result()

    return wait
