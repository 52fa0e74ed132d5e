"""Loading the compiled kernels in the background, while the stack is read from the disk.

Of a whole build of 300 samples, loading numba and its kernels is a fifth.
"""

import gc
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

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

    if _is_compiled():
        load_kernels(np.dtype(image_dtype))
        return
    progress.note("compiling the kernels, once; about 10 s")
    start = time.perf_counter()
    load_kernels(np.dtype(image_dtype))
    progress.note(f"compiled in {time.perf_counter() - start:.0f} s")


def _is_compiled() -> bool:
    """Return whether numba's cache holds a kernel that is newer than its source."""
    from augment import kernel

    resample: Any = kernel.resample  # with what numba adds to it
    folder, written = Path(resample.stats.cache_path or ""), Path(kernel.__file__).stat().st_mtime
    return any(index.stat().st_mtime >= written for index in folder.glob("kernel.resample-*.nbi"))
