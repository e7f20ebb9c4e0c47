"""How many threads wait for one host: it is shared while it answers, and turned away from once it does not."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from server.errors import SourceBusyError, SourceTimeoutError
from server.remote.gate import Gate
from server.work.pool import FairPool, stepped_aside

PATIENCE = 0.3


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(64) as pool:
        yield pool


def wait_inside(gate: Gate, host: str, leave: threading.Event) -> float:
    """Seconds until the thread was turned away, or left."""
    begun = time.monotonic()
    try:
        with gate.waiting(host):
            leave.wait(10)
    except SourceBusyError:
        return time.monotonic() - begun
    return -1.0


def hold(threads: ThreadPoolExecutor, gate: Gate, host: str, count: int) -> tuple[list[Future[float]], threading.Event]:
    leave = threading.Event()
    held = [threads.submit(wait_inside, gate, host, leave) for _ in range(count)]
    time.sleep(0.05)
    return held, leave


def test_a_host_that_stalls_holds_its_share_and_no_more(threads: ThreadPoolExecutor) -> None:
    gate = Gate(per_host=4, total=20, patience=PATIENCE)
    held, leave = hold(threads, gate, "stalls", 10)
    time.sleep(PATIENCE + 0.1)
    turned_away = [future.result() for future in held if future.done()]
    assert len(turned_away) == 6
    assert max(turned_away) < PATIENCE + 0.2
    begun = time.monotonic()
    with pytest.raises(SourceBusyError, match="stalls"), gate.waiting("stalls"):
        pass
    with gate.waiting("another"):
        pass
    assert time.monotonic() - begun < 0.1
    leave.set()
    assert [future.result() for future in held].count(-1.0) == 4
    with gate.waiting("stalls"):
        pass


def test_hosts_that_stall_together_hold_the_total(threads: ThreadPoolExecutor) -> None:
    gate = Gate(per_host=4, total=6, patience=PATIENCE)
    _, leave = hold(threads, gate, "one", 4)
    _, other = hold(threads, gate, "two", 4)
    time.sleep(PATIENCE + 0.1)
    with pytest.raises(SourceBusyError), gate.waiting("three"):
        pass
    leave.set()
    time.sleep(0.05)
    with gate.waiting("three"):
        pass
    other.set()


def test_a_host_that_answers_turns_nobody_away(threads: ThreadPoolExecutor) -> None:
    gate = Gate(per_host=2, total=20, patience=PATIENCE)
    most, now, lock = [0], [0], threading.Lock()

    def ask() -> None:
        with gate.waiting("answers"):
            with lock:
                now[0] += 1
                most[0] = max(most[0], now[0])
            time.sleep(0.02)
            with lock:
                now[0] -= 1

    for future in [threads.submit(ask) for _ in range(60)]:  # 0.6 s of waiting, twice the patience
        future.result()
    assert most[0] == 2


def test_a_host_that_did_not_answer_is_asked_by_one_until_it_does(threads: ThreadPoolExecutor) -> None:
    gate = Gate(per_host=4, total=20, patience=PATIENCE)
    with pytest.raises(SourceTimeoutError), gate.waiting("silent"):
        raise SourceTimeoutError("late")
    held, leave = hold(threads, gate, "silent", 6)
    turned_away = [future.result() for future in held if future.done()]
    assert len(turned_away) == 5
    assert max(turned_away) < PATIENCE / 2
    leave.set()
    assert -1.0 in [future.result() for future in held]
    held, leave = hold(threads, gate, "silent", 4)
    assert not any(future.done() for future in held)
    leave.set()


def test_an_error_inside_leaves(threads: ThreadPoolExecutor) -> None:
    gate = Gate(per_host=1, total=1, patience=PATIENCE)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), gate.waiting("fails"):
            _ = 1 / 0


# --- workers that wait are stood in for


def test_another_worker_stands_in_for_one_that_waits() -> None:
    pool, answered = FairPool(1), threading.Event()

    def waits() -> str:
        with stepped_aside(), stepped_aside():
            assert answered.wait(5), "nobody worked meanwhile"
        return "waited"

    with ThreadPoolExecutor(2) as callers:
        first = callers.submit(pool.run, [waits, waits, waits])
        time.sleep(0.05)
        assert pool.run([lambda: "worked"]) == ["worked"]
        answered.set()
        assert first.result(5) == ["waited"] * 3
    pool.close()


def test_no_more_work_than_before_once_the_waiting_is_over() -> None:
    pool, lock, now, most = FairPool(2), threading.Lock(), [0], [0]

    def works() -> None:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        time.sleep(0.01)
        with lock:
            now[0] -= 1

    def waits() -> None:
        with stepped_aside():
            time.sleep(0.1)

    pool.run([waits] * 6)
    time.sleep(0.1)
    pool.run([works] * 30)
    assert most[0] == 2
    pool.close()


def test_stepping_aside_outside_of_a_pool_is_nothing() -> None:
    with stepped_aside():
        pass


@pytest.mark.parametrize("jobs", [1, 7])
def test_a_pool_whose_workers_step_aside_over_and_over_ends_all_jobs(jobs: int) -> None:
    pool = FairPool(2)

    def job(k: int) -> Callable[[], int]:
        def run() -> int:
            for _ in range(5):
                with stepped_aside():
                    time.sleep(0.001)
            return k

        return run

    with ThreadPoolExecutor(8) as callers:
        results = [callers.submit(pool.run, [job(k) for k in range(jobs)]) for _ in range(20)]
        assert [future.result(20) for future in results] == [list(range(jobs))] * 20
    pool.close()
