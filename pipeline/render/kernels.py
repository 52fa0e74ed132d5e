"""Loading the compiled kernels in the background, while the stack is read from the disk.

Of a whole build of 300 samples, loading numba and its kernels is a fifth.
"""

import gc
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from pipeline.shards.progress import Progress


def load_kernels_in_background(
    progress: Progress, *, then: Callable[[], None], image_dtype: str = "uint8"
) -> threading.Thread:
    """Start loading what renders slices of this dtype, and return the thread.

    For a command, which is a process of its own: garbage collection pauses meanwhile. Nearly all that imports make
    stays, and looking through it again and again would take 100 ms.

    Args:
        progress: gets a note where the kernels have to be compiled first.
        then: called in the thread afterwards, to import what else is needed.
        image_dtype: of the slices.
    """

    def load() -> None:
        gc.disable()
        try:
            with suppress(Exception):  # the build itself meets the same error, and reports it
                _load(progress, image_dtype)
                then()
        finally:
            gc.freeze()  # what is there now is never looked through
            gc.enable()

    thread = threading.Thread(target=load)  # no daemon: Python must not end while it runs compiled code
    thread.start()
    return thread


def _load(progress: Progress, image_dtype: str) -> None:
    import numpy as np

    from augment.renderer import load_kernels

    began: list[float] = []

    def compiling() -> None:
        progress.note("compiling the kernels, once; about 15 s")
        began.append(time.perf_counter())

    load_kernels(np.dtype(image_dtype), compiling=compiling)
    if began:
        progress.note(f"compiled in {time.perf_counter() - began[0]:.0f} s")
