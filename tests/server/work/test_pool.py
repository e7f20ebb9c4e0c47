"""The pool of workers: order, nesting, fairness, errors, and requests that nobody waits for."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.errors import AbandonedError, OverdueError, ShutdownError
from server.work import memory
from server.work.cores import usable_cores
from server.work.pool import FairPool
from server.work.ticket import Ticket, check_wanted, current_ticket


@pytest.fixture(params=[1, 2, 5])
def pool(request: pytest.FixtureRequest) -> Iterator[FairPool]:
    pool = FairPool(request.param)
    yield pool
    pool.close()


def as_request(ticket: Ticket, call: Callable[[], object]) -> threading.Thread:
    """Run a call on behalf of a request, in a thread of its own."""

    def work() -> None:
        current_ticket.set(ticket)
        call()

    thread = threading.Thread(target=work)
    thread.start()
    return thread


class WaitingTicket(Ticket):
    """A ticket that tells when it is asked for: its request's jobs stand in line by then."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = threading.Event()

    def check(self) -> None:
        self.asked.set()
        super().check()


@given(st.lists(st.integers(), max_size=40))
def test_results_come_in_the_order_of_the_jobs(values: list[int]) -> None:
    pool = FairPool(3)
    try:
        assert pool.run([partial(lambda v: v * v, v) for v in values]) == [v * v for v in values]
    finally:
        pool.close()


def test_jobs_may_nest_however_few_the_threads(pool: FairPool) -> None:
    def tree(depth: int) -> int:
        return 1 if depth == 0 else sum(pool.run([partial(tree, depth - 1)] * 3))

    assert pool.run([partial(tree, 4)] * 2) == [81, 81]


def test_a_job_adds_what_it_finds_to_be_needed(pool: FairPool) -> None:
    done: list[int] = []

    def job(depth: int) -> int:
        pool.add([partial(job, depth - 1)] * 2 if depth else [])
        done.append(depth)
        return depth

    jobs: list[Callable[[], int]] = [partial(job, 3), lambda: sum(pool.run([partial(job, 2)] * 2))]
    assert pool.run(jobs) == [3, 4]
    assert [done.count(depth) for depth in range(4)] == [16, 8, 4, 1]
    with pytest.raises(ValueError, match="added"):
        pool.run([lambda: pool.add([partial(int, "added")] * 3)])


def test_whoever_waits_takes_what_is_added() -> None:
    """Both workers are in one call of `run`: what is added by one while the other waits is for the other, too."""
    pool, met = FairPool(2), threading.Barrier(2)

    def first() -> None:
        time.sleep(0.05)
        pool.add([partial(met.wait, 5)] * 2)

    pool.run([lambda: pool.run([first])])
    pool.close()
    assert not met.broken


def test_no_more_jobs_at_once_than_threads() -> None:
    pool, lock, now, most = FairPool(3), threading.Lock(), 0, 0

    def job() -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.01)
        with lock:
            now -= 1

    threads = [threading.Thread(target=pool.run, args=([job] * 5,)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    pool.close()
    assert most == 3


def test_a_small_request_does_not_wait_for_a_large_one() -> None:
    pool, order, started, gate = FairPool(1), [], threading.Event(), threading.Event()

    def large() -> None:
        started.set()
        gate.wait(10)
        order.append("large")

    first = as_request(Ticket(), lambda: pool.run([large] * 50))
    started.wait(10)
    waiting = WaitingTicket()
    second = as_request(waiting, lambda: pool.run([lambda: order.append("small")] * 3))
    assert waiting.asked.wait(10)
    gate.set()
    first.join()
    second.join()
    pool.close()
    # Turn by turn: the three small jobs are done before the large request has had five.
    assert order.index("small") <= 2
    assert [i for i, name in enumerate(order) if name == "small"][-1] <= 7
    assert order.count("large") == 50


def test_an_error_reaches_the_caller_and_spares_the_rest(pool: FairPool) -> None:
    done: list[int] = []

    def job(i: int) -> None:
        if i == 3:
            raise ValueError("the third")
        time.sleep(0.002)
        done.append(i)

    with pytest.raises(ValueError, match="the third"):
        pool.run([partial(job, i) for i in range(200)])
    assert len(done) < 100
    assert pool.run([lambda: "goes on"]) == ["goes on"]


def test_work_of_a_request_whose_client_has_gone_stops(pool: FairPool) -> None:
    ticket, done, failed = Ticket(), [], []

    def job() -> None:
        time.sleep(0.01)
        done.append(1)

    def call() -> None:
        try:
            pool.run([job] * 1000)
        except AbandonedError as error:
            failed.append(error)

    thread = as_request(ticket, call)
    while not done:
        time.sleep(0.001)
    ticket.abandon()
    thread.join(2)
    assert not thread.is_alive()
    assert len(failed) == 1
    assert len(done) < 200
    count = len(done)
    assert pool.run([lambda: 7]) == [7]  # others are not harmed
    assert len(done) == count


def test_a_ticket_runs_out() -> None:
    ticket = Ticket(0.05)
    ticket.check()
    time.sleep(0.06)
    with pytest.raises(OverdueError, match=r"0\.05 s.*CLEARSKY_REQUEST_TIMEOUT"):
        ticket.check()


def test_jobs_know_their_request(pool: FairPool) -> None:
    tickets = [Ticket() for _ in range(4)]
    seen: dict[int, set[Ticket | None]] = {}

    def call(i: int) -> None:
        nested = [lambda: pool.run([current_ticket.get] * 2)] * 5
        seen[i] = {ticket for pair in pool.run(nested) for ticket in pair}

    threads = [as_request(ticket, partial(call, i)) for i, ticket in enumerate(tickets)]
    for thread in threads:
        thread.join()
    assert seen == {i: {ticket} for i, ticket in enumerate(tickets)}
    check_wanted()  # outside of requests there is nothing to give up


def test_a_closed_pool_lets_nobody_wait() -> None:
    pool, failed, started = FairPool(1), [], threading.Event()

    def job() -> None:
        started.set()
        time.sleep(0.05)

    def call() -> None:
        try:
            pool.run([job] * 100)
        except ShutdownError as error:
            failed.append(str(error))

    thread = as_request(Ticket(), call)
    started.wait(5)
    pool.close()
    thread.join(2)
    assert failed == ["the server is shutting down; ask again"]


@pytest.mark.parametrize(
    ("text", "most"),
    [("max 100000", 10**6), ("100000 100000", 1), ("150000 100000", 2), ("20000 100000", 1), ("", 10**6)],
)
def test_cores_within_a_containers_limit(tmp_path_factory: pytest.TempPathFactory, text: str, most: int) -> None:
    quota = tmp_path_factory.mktemp("cgroup") / "cpu.max"
    quota.write_text(text)
    unlimited = usable_cores(quota.parent / "missing")
    assert usable_cores(quota) == min(unlimited, most)


@pytest.mark.skipif(sys.platform != "linux", reason="malloc_trim is glibc's")
def test_free_memory_goes_back_to_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small arrays stay on the C library's heap when they are freed; `give_back` returns their pages, now and then."""

    def resident() -> int:
        status = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in status if line.startswith("VmRSS")).split()[1]) * 1024

    kept = [bytearray(60_000) for _ in range(4000)]  # below the size from which each gets a mapping of its own
    last = bytearray(60_000)  # at the heap's end: without it free() itself would shrink the heap
    held = resident()
    del kept
    now = time.monotonic() + 2 * memory.PAUSE_SECONDS  # whenever it was done before
    monkeypatch.setattr(time, "monotonic", lambda: now)
    assert memory.give_back()
    assert resident() < held - 150_000_000
    assert not memory.give_back()
    assert last is not None


def test_an_interrupt_ends_the_work_too(pool: FairPool) -> None:
    """In a notebook nobody waits for the rest of what was interrupted."""
    begun, let_go, done = threading.Event(), threading.Event(), list[int]()

    def job(i: int) -> None:
        begun.set()
        assert let_go.wait(10)
        done.append(i)

    def interrupt() -> None:
        begun.wait(10)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    interrupter = threading.Thread(target=interrupt)
    interrupter.start()
    with pytest.raises(KeyboardInterrupt):
        pool.run([partial(job, i) for i in range(100)])
    interrupter.join()
    let_go.set()
    assert pool.run([lambda: 7]) == [7]
    assert pool.waiting == 0
    assert len(done) <= 5
