"""Loading the compiled kernels in the background, while the stack is read from the disk.

Of a whole build of 300 samples, loading them is a twentieth, and compiling them, the first time, many times the rest.
"""

import gc
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

from pipeline.shards.progress import Progress

if TYPE_CHECKING:
    from pipeline.shards.config import BuildConfig
    from pipeline.source.stacks import Source

LoadRest: TypeAlias = Callable[["Source", "BuildConfig"], None]


@contextmanager
def loading_kernels(progress: Progress, *, then: Callable[[], None]) -> Iterator[LoadRest]:
    """Start loading what renders 8-bit slices, and give a function that loads all else that a build needs.

    For a command, which is a process of its own: garbage collection pauses meanwhile. Nearly all that imports make
    stays, and looking through it again and again would take 100 ms.

    Args:
        progress: gets a note where something has to be compiled first, and how long that took.
        then: called in the thread afterwards, to import what else is needed.
    """

    def load() -> None:
        gc.disable()
        try:
            with suppress(Exception):  # the build itself meets the same error, and reports it
                from augment import native

                native.told_of_compiling.append(note_it)
                import numpy as np

                from augment.renderer import load_kernels

                load_kernels(np.dtype(np.uint8), np.dtype(np.uint8))
                then()
        finally:
            gc.freeze()  # what is there now is never looked through
            gc.enable()

    def note_it() -> None:
        if not began:
            progress.note("compiling the kernels, once; about 15 s")
        began.append(time.perf_counter())

    def load_rest(source: "Source", config: "BuildConfig") -> None:
        thread.join()
        _load(source, config)
        if config.weighted:
            import numpy as np

            from augment.weight_map import unet_weight_map

            unet_weight_map(np.eye(4, dtype=np.uint8))
        if began:
            progress.note(f"compiled in {time.perf_counter() - began[0]:.0f} s")

    began: list[float] = []
    thread = threading.Thread(target=load)  # no daemon: Python must not end while it runs compiled code
    thread.start()
    try:
        yield load_rest
    finally:
        thread.join()
        from augment import native

        with suppress(ValueError):
            native.told_of_compiling.remove(note_it)


def _load(source: "Source", config: "BuildConfig") -> None:
    from augment.errors import ConfigError
    from augment.operations.drawing import draw_operations
    from augment.renderer import load_kernels
    from augment.seeding import Stream

    channels = source.channel_axis
    operations = draw_operations(
        replace(config.ranges, probability={}),
        lambda first: Stream(0, (first,)),
        window=(2, 2),
        n_channels=sum(channels) or 1,
    )
    with suppress(ConfigError):  # the plan refuses what cannot be rendered, and says why
        load_kernels(source.image_dtype, source.coding.dtype, config.margin, channels, operations)
