"""A request's claim on the machine: whether anybody still waits for its answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from server.errors import AbandonedError, OverdueError


class Ticket:
    """Carried by a request into every thread that works for it."""

    def __init__(
        self, seconds: float | None = None, *, signatures: dict[str, str] | None = None, local: bool = False
    ) -> None:
        """Make one.

        Args:
            seconds: until the answer is due; None: it may take any time.
            signatures: the value of `signatures`.
            local: the value of `local`.
        """
        self.local: Final = local
        """Whether nothing remote is read for the request."""
        self.signatures: Final = signatures
        """By a remote file's name the address, signed or not, that the request's client has given for it; filled by
        `server.remote.signatures`. None: work of the process itself, which may use any that is known."""
        self._abandoned = False
        self._seconds = seconds
        self._deadline = None if seconds is None else time.monotonic() + seconds
        self._lock = threading.Lock()
        self._holders = 0
        self._waiters = 0
        self._waited = self._waiting_since = 0.0

    @contextmanager
    def hold(self) -> Iterator[None]:
        """A thread works for the request meanwhile, and cannot always be stopped."""
        with self._lock:
            self._holders += 1
        try:
            yield
        finally:
            with self._lock:
                self._holders -= 1

    @property
    def held(self) -> bool:
        """Whether a thread still works for the request."""
        with self._lock:
            return self._holders > 0

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """A thread waits meanwhile for what another process computes for itself."""
        with self._lock:
            self._waiting_since = self._waiting_since if self._waiters else time.monotonic()
            self._waiters += 1
        try:
            yield
        finally:
            with self._lock:
                self._waiters -= 1
                if not self._waiters:
                    self._waited += time.monotonic() - self._waiting_since

    @property
    def waited(self) -> float:
        """Seconds in which any thread waited for other processes."""
        with self._lock:
            return self._waited + (time.monotonic() - self._waiting_since if self._waiters else 0.0)

    @property
    def seconds_left(self) -> float | None:
        """Time until the answer is due; None where it may take any time."""
        return None if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    def abandon(self) -> None:
        """Note that the client has gone."""
        self._abandoned = True

    def check(self) -> None:
        """Go on only if the answer is still wanted.

        Raises:
            AbandonedError: the client has gone. OverdueError: the time for the request is over.
        """
        if self._abandoned:
            raise AbandonedError("the client has gone")
        if self._deadline is not None and time.monotonic() > self._deadline:
            raise self.overdue()

    def overdue(self) -> OverdueError:
        """The error for an answer that is not ready in time."""
        return OverdueError(
            f"the answer was not ready within {self._seconds or 0:g} s; finished work is kept, so try again or ask for "
            "a smaller image (the operator sets CLEARSKY_REQUEST_TIMEOUT)"
        )


current_ticket: ContextVar[Ticket | None] = ContextVar("clearsky_ticket", default=None)
"""The running request's ticket; None outside of requests."""


def check_wanted() -> None:
    """Stop here if nobody waits for the result any more.

    Raises:
        AbandonedError, OverdueError: see `Ticket.check`.
    """
    if (ticket := current_ticket.get()) is not None:
        ticket.check()


@contextmanager
def holding() -> Iterator[None]:
    """This thread works for the running request, if there is one, and cannot always be stopped."""
    if (ticket := current_ticket.get()) is None:
        yield
        return
    with ticket.hold():
        yield
