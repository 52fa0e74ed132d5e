"""Loops compiled to machine code, which is kept from one process to the next where a folder can be written.

numba keeps it beside the source or in the user's cache folder. An installed package may have neither: then it goes into
a folder of the user's own among the temporary files, and if that cannot be either, every process compiles anew.
"""

import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(function: Function) -> Function:
    """Return a function compiled, at its first call, without fast-math: that would let the CPU decide the last bit."""
    try:
        return _compile(function, cache=True)
    except RuntimeError:  # numba knows of no folder that can be written
        folder = own_folder()
        numba.config.CACHE_DIR = str(folder or "")  # type: ignore[attr-defined]  # missing in numba's types
        return _compile(function, cache=folder is not None)


def _compile(function: Function, *, cache: bool) -> Function:
    return cast(Function, numba.njit(nogil=True, cache=cache, error_model="numpy")(function))


def own_folder() -> Path | None:
    """Return a folder for machine code among the temporary files; None where there can be none.

    What is in it is run, so it must belong to this user, and nobody else may write in it.
    """
    user = os.getuid() if hasattr(os, "getuid") else 0
    try:
        folder = Path(tempfile.gettempdir()) / f"augpipe-kernels-{user}"
        folder.mkdir(mode=0o700, exist_ok=True)
        state = folder.lstat()
        if stat.S_ISDIR(state.st_mode) and (os.name == "nt" or (state.st_uid, state.st_mode & 0o077) == (user, 0)):
            return folder
    except OSError:
        pass
    return None
