"""Sockets on which one exchange has a bounded time and a bounded answer, however slowly the bytes drip."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any


@dataclass(slots=True)
class Allowance:
    """What an exchange may still take."""

    until: float
    """When it must be over, on the monotonic clock."""
    nbytes: int
    """Bytes of its answer that may still come."""

    def left(self) -> float:
        """Seconds until it must be over.

        Raises:
            TimeoutError: none.
        """
        if (left := self.until - time.monotonic()) <= 0:
            raise TimeoutError("the answer was not complete in time")
        return left


_current: ContextVar[Allowance | None] = ContextVar("allowance", default=None)


@contextmanager
def allowing(*, seconds: float, nbytes: int) -> Iterator[Allowance]:
    """Bound everything that goes over a `TimelySocket` meanwhile, in this thread.

    Args:
        seconds: for all of it together.
        nbytes: that may be received.
    """
    allowance = Allowance(time.monotonic() + seconds, nbytes)
    token = _current.set(allowance)
    try:
        yield allowance
    finally:
        _current.reset(token)


class TimelySocket:
    """A connected socket; its own timeout bounds each call, the current allowance all of them."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def recv(self, most: int) -> bytes:
        """Some bytes.

        Raises:
            TimeoutError: none in time. OSError: more than are allowed, or the connection is broken.
        """
        with self._bounded() as allowance:
            data = self._connection.recv(most)
        _take(allowance, len(data))
        return data

    def recv_into(self, buffer: Any) -> int:
        """Some bytes into a buffer, and how many. Raises as `recv` does."""
        with self._bounded() as allowance:
            count = self._connection.recv_into(buffer)
        _take(allowance, count)
        return count

    def sendall(self, data: bytes) -> None:
        """Send bytes.

        Raises:
            TimeoutError: not all in time. OSError: the connection is broken.
        """
        with self._bounded():
            self._connection.sendall(data)

    @contextmanager
    def _bounded(self) -> Iterator[Allowance | None]:
        """The current allowance, and its time as the timeout meanwhile."""
        if (allowance := _current.get()) is None:
            yield None
            return
        own, left = self._connection.gettimeout(), allowance.left()
        self._connection.settimeout(left if own is None else min(own, left))
        try:
            yield allowance
        finally:
            self._connection.settimeout(own)


def _take(allowance: Allowance | None, count: int) -> None:
    if allowance is not None:
        allowance.nbytes -= count
        if allowance.nbytes < 0:
            raise OSError("the answer is larger than it can be")
