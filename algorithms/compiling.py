"""How loops are compiled by numba, and kept on disk where there is a place to keep them.

numba is not needed to run ClearSky (the extra ``fast`` brings it); only this module and those named `compiled_*` import
it.
"""

from collections.abc import Callable
from typing import Any

import numba
from numba import types


def read_only(kind: Any, dimensions: int = 1) -> Any:
    """The type of an array that is read alone: one that another process has computed cannot be written to."""
    return types.Array(kind, dimensions, "C", readonly=True)


def compiled(*signatures: Any) -> Callable[[Callable[..., Any]], Any]:
    """Compile a loop, which then runs without Python's lock: at once for given types, or at the first call."""
    given: Any = [*signatures] or None

    def compile_now(function: Callable[..., Any]) -> Any:
        try:
            return numba.njit(given, cache=True, nogil=True)(function)
        except (RuntimeError, OSError):  # pragma: no cover - neither the installation nor a home can be written to
            return numba.njit(given, nogil=True)(function)

    return compile_now
