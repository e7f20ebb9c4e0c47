"""Work done once for all who ask: no thread stays longer than its request is wanted, and few are let in."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from server.errors import AbandonedError, BusyError, SourceMissingError
from server.work.cache import TileCache
from server.work.flight import Flights
from server.work.pool import FairPool
from server.work.ticket import Ticket, current_ticket


def by(ticket: Ticket, action: Callable[[], object]) -> object:
    """What an action gives in a request with this ticket."""
    token = current_ticket.set(ticket)
    try:
        return action()
    finally:
        current_ticket.reset(token)


class Work:
    """Work that goes on until it is let go, and counts how often it is begun."""

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self.let_go = threading.Event()
        self.times = 0

    def __call__(self) -> int:
        self.times += 1
        self.begun.release()
        assert self.let_go.wait(10)
        return self.times


def test_all_get_the_one_result() -> None:
    flights, work = Flights(at_once=2, waiting=8), Work()
    with ThreadPoolExecutor(8) as pool:
        asking = [pool.submit(flights.run, "key", work) for _ in range(8)]
        assert work.begun.acquire(timeout=5)
        time.sleep(0.2)
        work.let_go.set()
        assert [one.result(5) for one in asking] == [1] * 8


def test_who_has_gone_waits_no_longer() -> None:
    flights, work, gone = Flights(at_once=2, waiting=8), Work(), Ticket(60)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(flights.run, "key", work)
        assert work.begun.acquire(timeout=5)
        second = pool.submit(by, gone, lambda: flights.run("key", work))
        time.sleep(0.2)
        assert not second.done()
        gone.abandon()
        with pytest.raises(AbandonedError):
            second.result(1)
        assert not first.done()
        work.let_go.set()
        assert first.result(5) == 1


def test_others_take_the_work_over_from_who_has_gone() -> None:
    flights, gone, begun = Flights(at_once=2, waiting=8), Ticket(60), threading.Event()

    def leaving() -> int:
        begun.set()
        while True:
            time.sleep(0.02)
            gone.check()

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(by, gone, lambda: flights.run("key", leaving))
        assert begun.wait(5)
        second = pool.submit(flights.run, "key", lambda: 7)
        time.sleep(0.2)
        gone.abandon()
        assert second.result(5) == 7
        with pytest.raises(AbandonedError):
            first.result(5)


def test_an_error_is_raised_to_all_and_not_kept() -> None:
    flights, work = Flights(at_once=2, waiting=8), Work()

    def failing() -> int:
        work()
        raise SourceMissingError("gone")

    with ThreadPoolExecutor(3) as pool:
        asking = [pool.submit(flights.run, "key", failing) for _ in range(3)]
        assert work.begun.acquire(timeout=5)
        time.sleep(0.2)
        work.let_go.set()
        assert [type(one.exception(5)) for one in asking] == [SourceMissingError] * 3
    assert (work.times, flights.run("key", lambda: 3)) == (1, 3)


def test_too_many_are_turned_away_at_once() -> None:
    flights, work = Flights(at_once=1, waiting=1), Work()
    with ThreadPoolExecutor(2) as pool:
        asking = [pool.submit(flights.run, "key", work)]
        assert work.begun.acquire(timeout=5)
        asking.append(pool.submit(flights.run, "key", work))
        time.sleep(0.2)
        for key in ("key", "other"):
            with pytest.raises(BusyError):
                flights.run(key, work)
        work.let_go.set()
        assert [one.result(5) for one in asking] == [1, 1]


@pytest.mark.parametrize("threads", [1, 2])
def test_workers_do_not_all_wait_for_what_needs_one_of_them(threads: int) -> None:
    """A request's own thread makes a value, with jobs of the pool, while every worker waits for the value."""
    flights, pool, begun, asked = Flights(), FairPool(threads), threading.Event(), threading.Semaphore(0)

    def make() -> int:
        begun.set()
        for _ in range(threads):
            assert asked.acquire(timeout=5)
        return sum(pool.run([lambda: 3, lambda: 4]))

    def ask() -> int:
        asked.release()
        return flights.run("key", make)

    with ThreadPoolExecutor(2) as requests:
        first = requests.submit(flights.run, "key", make)
        assert begun.wait(5)
        second = requests.submit(pool.run, [ask] * threads)
        assert first.result(10) == 7
        assert second.result(10) == [7] * threads
    pool.close()


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_values_made_of_values_hang_nowhere(threads: int) -> None:
    """By requests' own threads and by workers, each with jobs that want values of others."""
    cache, pool = TileCache(1 << 20), FairPool(threads)

    def value(level: int, number: int) -> int:
        def make() -> int:
            time.sleep(0.005)
            below = ((number * 3) % 7, (number * 5 + 1) % 7, (number + 2) % 7) if level else ()
            return 1 + sum(pool.run([partial(value, level - 1, n) for n in below]))

        return cache.get((level, number), make)

    with ThreadPoolExecutor(14) as requests:
        tickets = [Ticket(20) for _ in range(14)]
        direct = [requests.submit(by, t, partial(value, 3, n)) for n, t in enumerate(tickets[:7])]
        jobs = [requests.submit(by, t, partial(pool.run, [partial(value, 4, n)])) for n, t in enumerate(tickets[7:])]
        assert [one.result(30) for one in direct] == [40] * 7
        assert [one.result(30) for one in jobs] == [[121]] * 7
    pool.close()
