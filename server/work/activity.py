"""Whether an application answers any request: work ahead is done only while it does not."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from server.work.ticket import Ticket

QUIET_SECONDS: Final = 0.3
"""Seconds without any request after which work ahead begins: a map asks for its tiles in one go."""


class Activity:
    """Whether an application answers any request; work ahead is called off as soon as one arrives."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running = 0
        self._since = time.monotonic()
        self._ticket: Ticket | None = None

    @contextmanager
    def request(self) -> Iterator[None]:
        """A request is being answered."""
        with self._lock:
            self._running += 1
            if self._ticket is not None:
                self._ticket.abandon()
        try:
            yield
        finally:
            with self._lock:
                self._running -= 1
                self._since = time.monotonic()

    @property
    def busy(self) -> bool:
        """Whether any request is being answered."""
        with self._lock:
            return self._running > 0

    def lend(self) -> Ticket | None:
        """A ticket that holds until the next request; None while there is no quiet."""
        with self._lock:
            if self._running or time.monotonic() - self._since < QUIET_SECONDS:
                return None
            self._ticket = Ticket()
            return self._ticket
