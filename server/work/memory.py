"""Giving memory back to the system: the C library keeps what large arrays and models leave behind."""

from __future__ import annotations

import contextlib
import ctypes
import threading
import time
from collections.abc import Callable
from typing import Any, Final

PAUSE_SECONDS: Final = 5.0
"""Seconds between two times."""
BUSY_PAUSE_SECONDS: Final = 0.7
"""The same while a whole scene is filled: large arrays come and go all the time."""

_lock = threading.Lock()
_last = 0.0


def _library() -> Any:
    """The C library, where it is glibc."""
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL("libc.so.6")
        if library.malloc_trim is not None:
            return library
    return None


_glibc: Final = _library()


def limit_heaps(count: int) -> None:
    """Let threads share heaps: with a heap each they would leave holes, a fifth of an export's memory."""
    if _glibc is not None:
        _glibc.mallopt(-8, count)  # M_ARENA_MAX


def give_back(pause: float = PAUSE_SECONDS) -> bool:
    """Return free memory to the system, at most once in so many seconds; whether it was done."""
    global _last  # noqa: PLW0603
    if _glibc is None:
        return False
    with _lock:
        now = time.monotonic()
        if now - _last < pause:
            return False
        _last = now
    _glibc.malloc_trim(0)
    return True


def tidied(job: Callable[[], None]) -> None:
    """Do a job that leaves large arrays behind, and return them soon, though others are at work."""
    job()
    give_back(BUSY_PAUSE_SECONDS)
