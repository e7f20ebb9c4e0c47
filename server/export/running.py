"""The pieces of a scene made one strip after the other, by any number of threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from contextvars import copy_context
from functools import partial
from threading import Lock
from typing import Protocol

from server.export.plan import Piece
from server.export.work import WorkFolder
from server.work.memory import tidied
from server.work.ticket import Ticket, check_wanted, current_ticket

Progress = Callable[[int, int], None]
"""Told the pieces finished and the pieces of the whole scene."""


class Filler(Protocol):
    """What makes the files of pieces; any number of threads may use it."""

    def kinds(self, piece: Piece, /) -> tuple[str, ...]:
        """The files of a piece, in the order they are written."""

    def announce(self, pieces: list[Piece], /) -> None:
        """Prepare for all that will be made."""

    def infer(self, pieces: list[Piece], /) -> None:
        """Find and keep the clouds that `prepare` needs of some neighbouring pieces."""

    def prepare(self, pieces: list[Piece], /) -> None:
        """Compute and keep what making some neighbouring pieces needs."""

    def keep(self, coming: list[list[Piece]], /) -> None:
        """Keep no more in memory than strips of pieces need that are not made yet."""

    def make(self, piece: Piece, /) -> Iterator[tuple[str, bytes]]:
        """The files of a piece, by kind and in the order of `kinds`."""


def make_pieces(plan: list[list[Piece]], work: WorkFolder, filler: Filler, workers: int, progress: Progress) -> None:
    """Make every missing piece.

    Three strips are at work at a time, so that no core waits for the last jobs of one: clouds are found in the first,
    while fills of the one before are computed, and the one before that is read and written.
    """
    total = sum(map(len, plan))
    plan = [[piece for piece in strip if not work.has(piece, filler.kinds(piece))] for strip in plan]
    done = total - sum(map(len, plan))
    plan = [strip for strip in plan if strip]
    running: set[Future[None]] = set()

    def collect(ready: set[Future[None]]) -> None:
        nonlocal done
        for future in ready:
            running.discard(future)
            future.result()
            done += 1
        progress(done, total)

    progress(done, total)
    filler.announce([piece for strip in plan for piece in strip])
    with _inferring(filler, plan) as inferred, ThreadPoolExecutor(workers, thread_name_prefix="piece") as pool:
        try:
            for number, strip in enumerate(plan):
                before = set(running)
                made = _Countdown(len(strip), partial(filler.keep, plan[number + 1 :]))
                next(inferred)
                filler.prepare(strip)
                jobs = [partial(tidied, partial(_make, piece, work, filler, made)) for piece in strip]
                running |= {pool.submit(copy_context().run, job) for job in jobs}
                collect(wait(before).done)
            while running:
                collect(wait(running, return_when=FIRST_COMPLETED).done)
        except BaseException:
            if (ticket := current_ticket.get()) is not None:
                ticket.abandon()  # or the pool would wait for all of the pieces on their way
            pool.shutdown(wait=False, cancel_futures=True)
            raise


@contextmanager
def _inferring(filler: Filler, plan: list[list[Piece]]) -> Iterator[Iterator[None]]:
    """Find clouds in a thread of its own: each step waits for those of a strip and begins the next one."""
    ticket = Ticket()  # of its own, so that inferences and fills take turns: the latter hold Python's lock for long

    def run(strip: list[Piece]) -> None:
        current_ticket.set(ticket)
        filler.infer(strip)

    def steps() -> Iterator[None]:
        under_way = [pool.submit(run, strip) for strip in plan[:1]]
        for following in [*plan[1:], None]:
            under_way.pop().result()
            if following is not None:
                under_way.append(pool.submit(run, following))
            yield

    with ThreadPoolExecutor(1, thread_name_prefix="clouds") as pool:
        try:
            yield steps()
        except BaseException:
            ticket.abandon()
            raise


class _Countdown:
    """Does something once all pieces of a strip are made."""

    def __init__(self, count: int, then: Callable[[], None]) -> None:
        self._left, self._then, self._lock = count, then, Lock()

    def made(self) -> None:
        """One more is made."""
        with self._lock:
            self._left -= 1
            last = not self._left
        if last:
            self._then()


def _make(piece: Piece, work: WorkFolder, filler: Filler, strip: _Countdown) -> None:
    check_wanted()
    for kind, content in filler.make(piece):
        work.write_piece(piece, kind, content)
    strip.made()
