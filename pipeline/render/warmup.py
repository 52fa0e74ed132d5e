"""Loading the compiled kernels in the background, while the stack is read from the disk.

Of a whole build of 300 samples, loading numba and its kernels is a fifth. Half of that is numba importing
scipy.linalg, only to see whether it is there; no kernel here uses it, so it is hidden for that moment. This is for
the command alone, which is a process of its own: the library never does it to a process that belongs to others.
"""

import sys
import threading
from contextlib import suppress

_HIDDEN = "scipy.linalg"


def load_kernels_in_background(image_dtype: str = "uint8") -> threading.Thread:
    """Start loading what renders slices of this dtype, and return the thread."""

    def load() -> None:
        with suppress(Exception):  # the build itself meets the same error, and tells it
            _load(image_dtype)

    thread = threading.Thread(target=load, daemon=True)
    thread.start()
    return thread


def _load(image_dtype: str) -> None:
    import numpy as np
    import scipy  # noqa: F401  # its name in sys.modules, before its part is hidden

    from augment.renderer import load_kernels

    hide = _HIDDEN not in sys.modules
    if hide:
        sys.modules[_HIDDEN] = None  # type: ignore[assignment]  # what makes an import fail
    try:
        load_kernels(np.dtype(image_dtype))
    finally:
        if hide:
            del sys.modules[_HIDDEN]
    import pipeline.build.builder
    import pipeline.cli.closing_lines  # noqa: F401
