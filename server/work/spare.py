"""A second thread for the large loops of one answer, where a core is there for it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import cache
from typing import TypeVar

from server.work.cores import usable_cores

T = TypeVar("T")
S = TypeVar("S")

_taken = threading.Lock()


@cache
def _thread() -> ThreadPoolExecutor | None:
    return ThreadPoolExecutor(1, thread_name_prefix="spare") if usable_cores() > 1 else None


def side_by_side(first: Callable[[], T], second: Callable[[], S]) -> tuple[T, S]:
    """Results of two calls, made at the same time where nobody else has the spare thread, else one after the other.

    Worth it for calls of a millisecond or more that run without Python's lock.
    """
    thread = _thread()
    if thread is None or not _taken.acquire(blocking=False):
        return first(), second()
    try:
        other = thread.submit(copy_context().run, second)
        try:
            result = first()
        finally:
            mine = other.cancel()  # not begun: the machine has no core to spare
            if not mine:
                other.exception()  # ends here, whatever becomes of the first
        return result, second() if mine else other.result()
    finally:
        _taken.release()
