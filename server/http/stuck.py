"""Threads whose requests were given up while they read: how many there are, and how many there may be."""

from __future__ import annotations

from server.work.readiness import Dependency
from server.work.ticket import Ticket


class StuckThreads:
    """Nobody can stop a thread inside GDAL; beyond a bound, requests are refused rather than left to wait."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._tickets: frozenset[Ticket] = frozenset()

    def add(self, ticket: Ticket) -> None:
        """Note a request that was given up while a thread worked for it."""
        self._tickets |= {ticket}

    def count(self) -> int:
        """How many there are now."""
        self._tickets = frozenset(ticket for ticket in self._tickets if ticket.held)
        return len(self._tickets)

    @property
    def exhausted(self) -> bool:
        """Whether requests are refused."""
        return self.count() >= self._most

    def state(self) -> Dependency:
        """For whoever asks whether the service can work."""
        count = sum(ticket.held for ticket in self._tickets)
        detail = f"{count} of {self._most} threads are stuck in reads that take too long"
        return Dependency("failed" if count >= self._most else "degraded" if count else "ok", detail)
