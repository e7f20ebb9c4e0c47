"""Bounded threads that share their time fairly among requests."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, TypeVar

from server.errors import ShutdownError
from server.work.lanes import Batch, Lanes
from server.work.memory import give_back
from server.work.ticket import check_wanted, current_ticket

T = TypeVar("T")

NICENESS: Final = 5
"""Lower priority of the workers, where the system has one per thread: a tile that is ready to be encoded goes first."""
POLL_SECONDS: Final = 0.1
"""Seconds after which a waiting request checks whether its answer is still wanted."""


_here: Final = threading.local()
"""The pool whose worker the running thread is, as `pool`; whether another stands in, as `aside`; its job's `batch`."""


@contextlib.contextmanager
def stepped_aside() -> Iterator[None]:
    """Let another worker stand in for this one, if it is one, while it waits for something other than a processor."""
    pool: FairPool | None = getattr(_here, "pool", None)
    if pool is None or _here.aside:
        yield
        return
    _here.aside = True
    pool._step_aside()
    try:
        yield
    finally:
        _here.aside = False
        pool._step_back()


class FairPool:
    """Worker threads, so many at work at a time, shared evenly among requests, however many jobs each has.

    A job may itself call `run`: its worker then works on the new jobs instead of only waiting for them, so that
    nesting needs no more threads and cannot lock up. Jobs of a request that nobody waits for are dropped.
    """

    def __init__(self, threads: int, *, name: str = "clearsky") -> None:
        self._wake = threading.Condition()
        self._lanes = Lanes()
        self._closed = False
        self._name = name
        self._wanted = max(1, threads)
        self._workers = 0  # those that do not step aside
        with self._wake:
            while self._workers < self._wanted:
                self._add()

    def _add(self) -> None:
        """Start a worker; the lock is held."""
        self._workers += 1
        threading.Thread(target=self._work, name=f"{self._name}_{self._workers}", daemon=True).start()

    def _step_aside(self) -> None:
        with self._wake:
            self._workers -= 1
            if self._workers < self._wanted and not self._closed:
                self._add()

    def _step_back(self) -> None:
        """Work again; a surplus worker then ends, after its job."""
        with self._wake:
            self._workers += 1
            self._wake.notify_all()

    @property
    def waiting(self) -> int:
        """Jobs that no worker has begun."""
        with self._wake:
            return self._lanes.waiting

    def close(self) -> None:
        """Stop the workers after the jobs they are at; jobs not started fail in the calls that wait for them."""
        with self._wake:
            self._closed = True
            self._wake.notify_all()

    def run(self, jobs: Sequence[Callable[[], T]]) -> list[T]:
        """Run jobs side by side and give their results in order.

        Raises:
            AbandonedError, OverdueError: nobody waits for the results any more. ShutdownError: see `close`. Whatever
            the first job that fails raises; jobs not started by then are dropped.
        """
        if not jobs:
            return []
        batch: Batch[T] = Batch(jobs, current_ticket.get())
        with self._wake:
            self._lanes.put(batch)
            self._wake.notify(len(jobs))
        try:
            self._await(batch)
        except BaseException as error:  # an interrupt
            self._drop(batch, error)
            raise
        if batch.error is not None:
            raise batch.error
        return [batch.results[i] for i in range(len(jobs))]

    def _await(self, batch: Batch[Any]) -> None:
        """Wait for the end of a batch; a worker works on it meanwhile."""
        worker = getattr(_here, "pool", None) is self
        with contextlib.ExitStack() as aside:
            while not self._ended(batch):
                if worker and (index := self._take(batch)) is not None:
                    aside.close()
                    self._run_one(batch, index)
                    continue
                if not batch.news.wait(POLL_SECONDS):
                    try:
                        check_wanted()
                        if self._closed:
                            raise ShutdownError("the server is shutting down; ask again")
                    except Exception as error:
                        self._drop(batch, error)
                    if worker and not _here.aside:  # whoever is at the last jobs may have stepped aside, too
                        aside.enter_context(stepped_aside())
                batch.news.clear()

    def add(self, jobs: Sequence[Callable[[], Any]]) -> None:
        """From a job, add jobs to the call of `run` that it belongs to, which then waits for these, too.

        Unlike with a nested `run` no worker stands and waits for them.
        """
        batch: Batch[Any] = _here.batch
        with self._wake:
            if batch.error is None:
                batch.jobs.extend(jobs)
                self._lanes.put(batch)
                self._wake.notify(len(jobs))
                batch.news.set()

    def _ended(self, batch: Batch[Any]) -> bool:
        with self._wake:
            return batch.done

    def _take(self, batch: Batch[Any]) -> int | None:
        """Claim a job of one batch; None where none is left."""
        with self._wake:
            return None if batch.exhausted else batch.claim()

    def _run_one(self, batch: Batch[Any], index: int) -> None:
        """Run the job just claimed, on behalf of its request."""
        token = current_ticket.set(batch.ticket)
        outer, _here.batch = getattr(_here, "batch", None), batch
        error: BaseException | None = None
        try:
            check_wanted()
            result = batch.jobs[index]()
        except BaseException as raised:
            error = raised
        finally:
            current_ticket.reset(token)
            _here.batch = outer
        with self._wake:
            batch.running -= 1
            if error is None:
                batch.results[index] = result
        if error is not None:
            self._drop(batch, error)
        self._settle(batch)

    def _drop(self, batch: Batch[Any], error: BaseException) -> None:
        """Start no more jobs of a batch."""
        with self._wake:
            batch.error = batch.error or error
            batch.next = len(batch.jobs)
        self._settle(batch)

    def _settle(self, batch: Batch[Any]) -> None:
        with self._wake:
            if batch.done:
                batch.news.set()

    def _work(self) -> None:
        """A worker's life."""
        _here.pool, _here.aside = self, False
        # Threads have priorities of their own on Linux only; elsewhere workers are as urgent as requests.
        with contextlib.suppress(OSError, AttributeError):
            if os.uname().sysname == "Linux":
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
        while True:
            with self._wake:
                idle = not self._lanes.waiting
            if idle:
                give_back()
            with self._wake:
                batch = None
                while self._workers <= self._wanted and not self._closed and (batch := self._lanes.next()) is None:
                    self._wake.wait()
                if batch is None or self._closed:
                    self._workers -= 1
                    self._wake.notify()  # what this one was woken for is for another
                    return
                index = batch.claim()
                self._lanes.begin(batch)
            self._run_one(batch, index)
            with self._wake:
                self._lanes.end(batch)
