"""Work done once for all who ask for it at a time; nobody waits longer than the answer is wanted."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import ExitStack
from typing import Any, Final, TypeVar

from server.errors import BusyError, CancelledWorkError, SourceDeniedError
from server.work.pool import stepped_aside
from server.work.ticket import check_wanted

V = TypeVar("V")

OWN_ERRORS: Final = (CancelledWorkError, SourceDeniedError)
"""What ends the work of one request and is nothing to others: its client is gone, its signature holds no longer."""
STEP_SECONDS: Final = 0.1
"""Time after which a thread that waits looks whether its request is still wanted."""


class Flights:
    """Work by key: the first who asks does it, others wait for the result; both can be bounded."""

    def __init__(self, *, at_once: float = math.inf, waiting: float = math.inf) -> None:
        """Make it.

        Args:
            at_once: most keys that are worked for at a time.
            waiting: most threads that wait for the results of others.
        """
        self._at_once = at_once
        self._most_waiting = waiting
        self._lock = threading.Lock()
        self._running: dict[Hashable, Future[Any]] = {}
        self._waiting = 0

    def run(self, key: Hashable, make: Callable[[], V]) -> V:
        """The result for a key. An error is raised to all who wait, except `OWN_ERRORS`: these do the work themselves.

        Raises:
            BusyError: too much is under way. AbandonedError, OverdueError: nobody waits for the answer any more. What
                `make` raises.
        """
        while True:
            check_wanted()
            with self._lock:
                running = self._running.get(key)
                if running is None:
                    if len(self._running) >= self._at_once:
                        raise BusyError(f"{self._at_once} answers of this kind are being computed; try again later")
                    mine: Future[V] = Future()
                    self._running[key] = mine
                elif self._waiting >= self._most_waiting:
                    raise BusyError(f"{self._waiting} requests wait for answers of this kind; try again later")
                else:
                    self._waiting += 1
            if running is None:
                return self._made(key, make, mine)
            try:
                result: V = self._awaited(running)
            except OWN_ERRORS:
                continue  # what is this request's own is raised by its own check or work above
            finally:
                with self._lock:
                    self._waiting -= 1
            return result

    def _made(self, key: Hashable, make: Callable[[], V], mine: Future[V]) -> V:
        try:
            result = make()
        except BaseException as error:
            with self._lock:
                del self._running[key]
            mine.set_exception(error)
            raise
        with self._lock:
            del self._running[key]
        mine.set_result(result)
        return result

    def _awaited(self, running: Future[V]) -> V:
        waits = False
        with ExitStack() as aside:
            while True:
                check_wanted()
                try:
                    return running.result(STEP_SECONDS)
                except FutureTimeoutError:
                    if running.done():
                        raise  # the work's own
                if not waits:  # whoever makes it may need a worker: they must not all stand here
                    aside.enter_context(stepped_aside())
                    waits = True
