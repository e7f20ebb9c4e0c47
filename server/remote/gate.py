"""How many threads may wait for one host: a server that does not answer takes only its share of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from cachetools import TTLCache

from server.errors import AbandonedError, SourceBusyError, SourceTimeoutError
from server.work.pool import stepped_aside
from server.work.ticket import current_ticket

REMEMBERED: Final = 1024
"""Hosts known not to have answered."""
FORGIVEN: Final = 60.0
"""Seconds after which that is forgotten."""


@dataclass(slots=True)
class _Room:
    """Who waits for something, and when anybody last got an answer."""

    places: int
    inside: int = 0
    queued: int = 0
    moved: float = 0.0

    @property
    def full(self) -> bool:
        return self.inside >= self.places


class Gate:
    """Lets threads wait for hosts, so many for each and so many in all.

    Where there is no place, a thread queues as long as places become free: a host that answers is merely shared. Once
    none has become free for `patience` seconds, threads that queue and new ones are turned away at once. A host
    that did not answer in time has one place, and no queue, until it answers.
    """

    def __init__(self, *, per_host: int, total: int, patience: float) -> None:
        self._per_host = per_host
        self._silent: TTLCache[str, bool] = TTLCache(REMEMBERED, FORGIVEN)
        self._patience = patience
        self._all = _Room(total)
        self._rooms: dict[str, _Room] = {}
        self._freed = threading.Condition()

    @contextmanager
    def waiting(self, host: str) -> Iterator[None]:
        """Inside, the thread waits for a host.

        Raises:
            SourceBusyError: too many wait already, and nobody gets an answer.
            AbandonedError: the running request reads nothing remote.
        """
        if (ticket := current_ticket.get()) is not None and ticket.local:
            raise AbandonedError(f"{host} is not asked for what no client wants now")
        with self._freed:
            room = self._rooms.setdefault(host, _Room(self._per_host, moved=time.monotonic()))
            if host in self._silent and room.inside:
                raise SourceBusyError(f"{host} did not answer in time and is being retried; try again later")
            try:
                self._queue(host, room)
            except SourceBusyError:
                self._forget(host, room)
                raise
            for entered in (room, self._all):
                if not entered.inside:
                    entered.moved = time.monotonic()
                entered.inside += 1
        silent: bool | None = None
        try:
            with stepped_aside():
                yield
            silent = False
        except SourceTimeoutError:
            silent = True
            raise
        finally:
            with self._freed:
                for left in (room, self._all):
                    left.inside -= 1
                    left.moved = time.monotonic()
                if silent:
                    self._silent[host] = True
                elif silent is False:
                    self._silent.pop(host, None)
                self._forget(host, room)
                self._freed.notify_all()

    def _queue(self, host: str, room: _Room) -> None:
        room.queued += 1
        try:
            while full := next((r for r in (room, self._all) if r.full), None):
                left = full.moved + self._patience - time.monotonic()
                if left <= 0:
                    raise SourceBusyError(
                        f"{room.inside} requests already wait for {host}, which does not answer; try again later"
                        if full is room
                        else f"{self._all.inside} requests wait for servers that do not answer; try again later"
                    )
                self._freed.wait(left)
        finally:
            room.queued -= 1

    def _forget(self, host: str, room: _Room) -> None:
        if not room.inside and not room.queued:
            self._rooms.pop(host, None)
