"""What numba compiles: the functions of which `augment.native` makes machine code are written with this."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(function: Function) -> Function:
    """Return a function compiled, at its first call, without fast-math: that would let the CPU decide the last bit.

    It becomes part of whoever calls it, so that what is constant there is constant here.
    """
    return cast(Function, numba.njit(nogil=True, error_model="numpy", forceinline=True)(function))
