"""Whose job is next: jobs of requests in lanes, among which workers are shared evenly."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final, Generic, TypeVar

from server.work.ticket import Ticket

T = TypeVar("T")


class Batch(Generic[T]):
    """Jobs of one call."""

    def __init__(self, jobs: Sequence[Callable[[], T]], ticket: Ticket | None) -> None:
        """Jobs of which none has begun, for the request of a ticket, else for this thread."""
        self.ticket = ticket
        self.owner: Final[object] = ticket if ticket is not None else threading.get_ident()
        self.jobs = list(jobs)
        self.results: dict[int, T] = {}
        self.error: BaseException | None = None
        self.next = 0
        self.running = 0
        self.news = threading.Event()
        """Set when it has ended, or has got further jobs."""

    @property
    def exhausted(self) -> bool:
        """Whether no job is left to start."""
        return self.next >= len(self.jobs)

    @property
    def done(self) -> bool:
        """Whether all jobs have ended, or are dropped."""
        return self.exhausted and self.running == 0

    def claim(self) -> int:
        """Number of the next job, from now on whoever's who asks."""
        self.running += 1
        self.next += 1
        return self.next - 1


class Lanes:
    """Batches of several requests; for one thread at a time."""

    def __init__(self) -> None:
        """No batches."""
        self._batches: dict[object, list[Batch[Any]]] = {}
        """By request; first the one whose last turn is longest ago."""
        self._workers: Counter[object] = Counter()

    @property
    def waiting(self) -> int:
        """Jobs that no worker has begun."""
        return sum(len(batch.jobs) - batch.next for batches in self._batches.values() for batch in batches)

    def put(self, batch: Batch[Any]) -> None:
        """Put a batch on its request's lane. The newest is served first: those before it wait for it."""
        batches = self._batches.setdefault(batch.owner, [])
        if not any(other is batch for other in batches):
            batches.append(batch)

    def next(self) -> Batch[Any] | None:
        """The batch whose turn it is: of the request with the fewest workers, of these the one that waits longest.

        Turns alone would give a request with short jobs little time next to one with long jobs.
        """
        for owner, batches in list(self._batches.items()):
            while batches and batches[-1].exhausted:
                batches.pop()
            if not batches:
                del self._batches[owner]
        if not self._batches:
            return None
        owner = min(self._batches, key=self._workers.__getitem__)
        batches = self._batches[owner] = self._batches.pop(owner)
        return batches[-1]

    def begin(self, batch: Batch[Any]) -> None:
        """Note that a worker is at a job of a batch."""
        self._workers[batch.owner] += 1

    def end(self, batch: Batch[Any]) -> None:
        """Note that it is no longer."""
        self._workers[batch.owner] -= 1
        if not self._workers[batch.owner]:
            del self._workers[batch.owner]
