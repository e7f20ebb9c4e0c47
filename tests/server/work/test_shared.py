"""Values shared by several caches: computed once, found by all, and no trouble of the store is anybody else's."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from server.errors import AbandonedError
from server.work import shared
from server.work.cache import TileCache
from server.work.codec import Codec
from server.work.folderstore import FolderStore
from server.work.redisstore import RedisStore
from server.work.shared import SharedCache
from server.work.store import Claim, Store, StoreFailedError
from server.work.ticket import Ticket, current_ticket
from tests.helpers.redisserver import RedisServer


def named(key: object) -> str | None:
    return f"n:{key}" if isinstance(key, int) else None


def cache_on(store: Store) -> SharedCache:
    return SharedCache(store, Codec([]), named)


@pytest.fixture
def folder(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "shared")


class Counting:
    """A computation that takes a while and counts how often it is run."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.runs = 0
        self._seconds = seconds
        self._lock = threading.Lock()

    def __call__(self) -> tuple[int, str]:
        with self._lock:
            self.runs += 1
        time.sleep(self._seconds)
        return (1, "value")


class Troubled:
    """A store whose answers can be delayed, refused or changed."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.trouble: Callable[[], None] = lambda: None
        self.requests: list[str] = []

    @property
    def asked(self) -> int:
        return len(self.requests)

    def _ask(self, name: str, *args: Any) -> Any:
        self.requests.append(name)
        self.trouble()
        return getattr(self._store, name)(*args)

    def get_many(self, names: Sequence[str]) -> list[bytes | None]:
        return self._ask("get_many", names)

    def put(self, name: str, value: bytes) -> None:
        self._ask("put", name, value)

    def drop(self, name: str) -> None:
        self._ask("drop", name)

    def claim(self, name: str, token: str, seconds: float) -> Claim:
        return self._ask("claim", name, token, seconds)

    def renew(self, name: str, token: str, seconds: float) -> None:
        self._ask("renew", name, token, seconds)

    def release(self, name: str, token: str) -> None:
        self._ask("release", name, token)

    def nbytes(self) -> int:
        return self._ask("nbytes")

    def describe(self) -> str:
        return "somewhere"


def refused() -> None:
    raise StoreFailedError("refused")


def test_what_one_cache_computes_the_others_find(folder: FolderStore) -> None:
    first, second = (TileCache(1 << 20, shared=cache_on(folder)) for _ in range(2))
    compute = Counting()
    assert first.get(1, compute) == second.get(1, compute) == (1, "value")
    assert compute.runs == 1
    third = TileCache(1 << 20, shared=cache_on(folder))
    third.load(n for n in (1, 2, "unshared") if not third.peek(n))
    assert third.peek(1)
    assert not third.peek(2)


def test_a_value_is_looked_up_once(folder: FolderStore) -> None:
    """Whether it was asked for alone or with others before; what others write meanwhile is found by the claim."""
    store = Troubled(folder)
    cache = TileCache(1 << 20, shared=cache_on(store))
    made = ["claim", "put", "release"]
    cache.get(1, Counting())
    assert store.requests == ["get_many", "claim", "put", "nbytes", "release"]
    store.requests.clear()
    cache.load([1, 2, 3])
    cache.get(2, Counting())
    assert store.requests == ["get_many", *made]
    cache_on(folder).get(3, Counting())
    store.requests.clear()
    compute = Counting()
    cache.get(3, compute)
    assert store.requests == ["claim", "get_many"]
    assert compute.runs == 0
    store.requests.clear()
    TileCache(1 << 20, shared=cache_on(store)).get(3, compute)
    assert store.requests == ["get_many"]


def test_figures_say_what_the_store_holds(folder: FolderStore) -> None:
    cache = cache_on(folder)
    cache.get(1, lambda: np.random.default_rng(0).bytes(10_000))
    assert 10_000 <= cache.figures.nbytes < 20_000
    cache.find([1, 2])
    assert (cache.figures.hits, cache.figures.misses) == (1, 2)


def test_nothing_is_kept_of_a_computation_that_fails(folder: FolderStore) -> None:
    first, second = cache_on(folder), cache_on(folder)

    def fail() -> None:
        raise LookupError("no such thing")

    with pytest.raises(LookupError):
        first.get(1, fail)
    begun = time.monotonic()
    assert second.get(1, Counting()) == (1, "value")
    assert time.monotonic() - begun < 1  # its claim is gone with it


def test_keys_without_a_name_stay_in_the_process(folder: FolderStore) -> None:
    compute = Counting()
    for cache in (cache_on(folder), cache_on(folder)):
        cache.get("unshared", compute)
    assert compute.runs == 2


def test_none_is_a_value(folder: FolderStore) -> None:
    cache_on(folder).get(1, lambda: None)
    assert cache_on(folder).find([1, 2]) == {1: None}


def test_of_many_who_need_a_value_at_a_time_one_computes_it(folder: FolderStore) -> None:
    compute = Counting(0.3)
    caches = [cache_on(folder) for _ in range(6)]
    with ThreadPoolExecutor(6) as pool:
        values = list(pool.map(lambda cache: cache.get(1, compute), caches))
    assert values == [(1, "value")] * 6
    assert compute.runs == 1


def test_who_waits_for_another_process_goes_when_the_client_goes(folder: FolderStore) -> None:
    folder.claim("n:1", "another process", 30)
    ticket = Ticket()
    token = current_ticket.set(ticket)
    threading.Timer(0.2, ticket.abandon).start()
    begun = time.monotonic()
    try:
        with pytest.raises(AbandonedError):
            cache_on(folder).get(1, Counting())
    finally:
        current_ticket.reset(token)
    assert time.monotonic() - begun < 2


def test_a_process_that_died_at_work_is_not_waited_for_long(
    folder: FolderStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.claim("n:1", "dead", 0.3)
    assert cache_on(folder).get(1, Counting()) == (1, "value")
    monkeypatch.setattr(shared, "MOST_CLAIMED_SECONDS", 0.3)
    folder.claim("n:2", "never ends", 30)
    assert cache_on(folder).get(2, Counting()) == (1, "value")


def test_what_takes_longer_than_a_claim_holds_is_computed_once(
    folder: FolderStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared, "CLAIM_SECONDS", 0.5)
    compute = Counting(seconds=2)
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(lambda _: cache_on(folder).get(1, compute), range(3))) == 3 * [(1, "value")]
    assert compute.runs == 1


def test_a_store_that_fails_is_left_alone_and_used_again(
    folder: FolderStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(shared, "REST_SECONDS", (0.3, 0.3))
    store = Troubled(folder)
    cache = cache_on(store)
    store.trouble = refused
    compute = Counting()
    for key in range(10):
        assert cache.get(key, compute) == (1, "value")
    assert compute.runs == 10
    assert store.asked == 1
    assert cache.state.trouble == "refused"
    assert not cache.state.working
    assert [record.message for record in caplog.records] == ["going on without the shared cache somewhere: refused"]
    store.trouble = lambda: None
    time.sleep(0.35)
    cache.get(11, compute)
    assert cache.state.trouble is None
    assert cache.state.working
    assert cache.find([11]) == {11: (1, "value")}
    assert caplog.records[-1].message == "the shared cache somewhere works again"


def test_a_slow_store_costs_a_bounded_time(folder: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "SLOW_SECONDS", 0.02)
    store = Troubled(folder)
    store.trouble = lambda: time.sleep(0.05)
    cache = cache_on(store)
    for key in range(50):
        cache.get(key, Counting())
    assert store.asked == shared.MOST_SLOW
    assert "more than" in (cache.state.trouble or "")


@pytest.mark.parametrize("garbage", [b"", b"garbage", b"CSv2" + bytes(100)])
def test_garbage_is_dropped_and_computed_again(folder: FolderStore, garbage: bytes) -> None:
    folder.put("n:1", garbage)
    cache = cache_on(folder)
    compute = Counting()
    assert cache.get(1, compute) == (1, "value")
    assert compute.runs == 1
    assert cache.counts["damaged"] == 1
    assert cache_on(folder).get(1, compute) == (1, "value")
    assert compute.runs == 1


def test_a_value_cut_on_its_way_is_garbage(folder: FolderStore) -> None:
    cache_on(folder).get(1, lambda: np.arange(1000))
    (data,) = folder.get_many(["n:1"])
    assert data is not None
    folder.put("n:1", data[:-10])
    assert cache_on(folder).find([1]) == {}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.close()


def test_redis_killed_and_started_again_under_load(server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every value is right throughout, and nothing waits; afterwards values are shared again."""
    monkeypatch.setattr(shared, "REST_SECONDS", (0.2, 0.2))
    caches = [cache_on(RedisStore(server.url)) for _ in range(2)]
    stop = time.monotonic() + 3
    longest, wrong = 0.0, 0

    def ask(number: int) -> None:
        nonlocal longest, wrong
        key = number
        while time.monotonic() < stop:
            begun = time.monotonic()
            value = caches[number % 2].get(key, lambda key=key: (key, np.full(100, key)))  # type: ignore[misc]
            longest = max(longest, time.monotonic() - begun)
            wrong += value[0] != key or not (value[1] == key).all()
            key += 1

    with ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(ask, 1000 * k) for k in range(4)]
        time.sleep(0.8)
        server.kill()
        time.sleep(0.8)
        server.start()
        for each in asking:
            each.result()
    assert wrong == 0
    assert longest < 2
    time.sleep(0.3)
    caches[0].get(10**6, lambda: 7)
    assert caches[1].find([10**6]) == {10**6: 7}
    assert caches[0].state.working
    assert caches[0].counts["failures"] > 0


def test_a_request_waits_for_all_claims_together_for_a_bounded_time(
    folder: FolderStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared, "MOST_CLAIMED_SECONDS", 0.3)
    for key in range(20):
        folder.claim(f"n:{key}", "never ends", 30)
    ticket = Ticket()
    token = current_ticket.set(ticket)
    try:
        for key in range(20):
            assert cache_on(folder).get(key, Counting()) == (1, "value")
    finally:
        current_ticket.reset(token)
    assert 0.3 < ticket.waited < 2  # rather than 20 times as long


def test_an_answer_to_an_earlier_question_is_no_recovery(folder: FolderStore, caplog: pytest.LogCaptureFixture) -> None:
    """Nor does a failure known since make the rest longer."""
    store = Troubled(folder)
    cache = cache_on(store)
    asked, go_on = threading.Semaphore(0), threading.Event()

    def waits() -> None:
        asked.release()
        go_on.wait(10)

    def fails() -> None:
        waits()
        refused()

    with ThreadPoolExecutor(4) as pool:
        asking: list[Future[Any]] = []
        for trouble in (waits, fails, fails):
            store.trouble = trouble
            asking.append(pool.submit(cache.find, [len(asking)]))
            asked.acquire()
        store.trouble = refused
        cache.find([9])
        go_on.set()
        for each in asking:
            each.result()
    assert not cache.state.working
    assert cache.state.trouble == "refused"
    assert cache.counts["failures"] == 1
    assert [record.message for record in caplog.records] == ["going on without the shared cache somewhere: refused"]


def test_a_store_that_stays_slow_has_not_recovered(
    folder: FolderStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(shared, "SLOW_SECONDS", 0.02)
    monkeypatch.setattr(shared, "REST_SECONDS", (0.0, 0.0))
    store = Troubled(folder)
    store.trouble = lambda: time.sleep(0.05)
    cache = cache_on(store)
    for key in range(shared.MOST_SLOW + 3):
        cache.find([key])
    assert not cache.state.working
    assert cache.dependency().state == "degraded"
    assert len(caplog.records) == 1
    store.trouble = lambda: None
    monkeypatch.setattr(shared, "SLOW_SECONDS", 10)
    cache.find([99])
    assert cache.state.working
    assert [record.message.split()[0] for record in caplog.records] == ["going", "the"]


def test_what_would_be_dropped_is_not_written(folder: FolderStore) -> None:
    cache = SharedCache(folder, Codec([]), named, lambda _, value: value != 7)
    assert cache.get(1, lambda: 7) == 7
    assert cache_on(folder).find([1]) == {}
