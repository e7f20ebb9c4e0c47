"""A Redis server that drips, pours or keeps what no store has written: bounded time, bounded memory, and no trouble."""

from __future__ import annotations

import socket
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from server.work import redisstore
from server.work.codec import Codec
from server.work.redisstore import RedisStore
from server.work.shared import SharedCache
from server.work.store import MOST_STORED_BYTES, StoreFailedError
from server.work.timely import TimelySocket, allowing
from tests.helpers.redisserver import RedisServer


class Speaker:
    """What answers every request with the same bytes, over and over, until nobody listens."""

    def __init__(self, answer: bytes, *, pause: float) -> None:
        self.sent = 0
        self._answer = answer
        self._pause = pause

    def speak(self, connection: socket.socket) -> None:
        with connection:
            connection.recv(4096)
            try:
                while True:
                    connection.sendall(self._answer)
                    self.sent += len(self._answer)
                    time.sleep(self._pause)
            except OSError:
                pass


@contextmanager
def serving(speaker: Speaker) -> Iterator[str]:
    """A server of one kind of answer."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            try:
                while True:
                    connection = server.accept()[0]
                    threading.Thread(target=speaker.speak, args=(connection,), daemon=True).start()
            except OSError:
                pass

        threading.Thread(target=accept, daemon=True).start()
        yield f"redis://127.0.0.1:{server.getsockname()[1]}/0"
        server.shutdown(socket.SHUT_RDWR)


def read(connection: TimelySocket, into: bool) -> int:
    return connection.recv_into(bytearray(4096)) if into else len(connection.recv(4096))


@pytest.mark.parametrize("into", [False, True])
def test_an_allowance_is_of_all_calls_together(into: bool) -> None:
    """Whichever way a client reads: time or bytes end it, and the socket's own timeout is back."""
    here, there = socket.socketpair()
    with here, there:
        here.settimeout(7)
        connection = TimelySocket(here)

        def drip() -> None:
            while True:
                there.sendall(b"x")
                read(connection, into)

        there.sendall(bytes(3000))
        with allowing(seconds=30, nbytes=5000):
            assert read(connection, into) == 3000
            there.sendall(bytes(3000))
            with pytest.raises(OSError, match="larger than it can be"):
                read(connection, into)
        with allowing(seconds=0.05, nbytes=1 << 20), pytest.raises(TimeoutError):
            drip()
        with allowing(seconds=0.05, nbytes=5000), pytest.raises(TimeoutError):
            connection.sendall(bytes(64 << 20))  # nobody reads it
        assert here.gettimeout() == 7
        there.sendall(b"x")
        assert read(connection, into) > 0


ASKING: list[Callable[[RedisStore], Any]] = [
    lambda store: store.get_many(["n:1", "n:2"]),
    lambda store: store.put("n:1", b"value"),
    lambda store: store.drop("n:1"),
    lambda store: store.claim("n:1", "token", 30),
    lambda store: store.renew("n:1", "token", 30),
    lambda store: store.release("n:1", "token"),
]


@pytest.mark.parametrize("ask", ASKING, ids=["get_many", "put", "drop", "claim", "renew", "release"])
def test_an_answer_that_drips_ends_when_its_time_is_over(
    ask: Callable[[RedisStore], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each byte comes in time, and the answer never ends: without a bound on the whole this would not return."""
    monkeypatch.setattr(redisstore, "REDIS_SECONDS", 0.2)
    speaker = Speaker(b"+", pause=0.02)
    with serving(speaker) as url:
        with pytest.raises(StoreFailedError):
            ask(RedisStore(url))
        assert speaker.sent < 100


@pytest.mark.parametrize("begins", [b"$536870912\r\n", b"*1000000000\r\n", b"+"], ids=["value", "list", "line"])
def test_an_answer_that_pours_ends_at_what_it_can_have(begins: bytes) -> None:
    speaker = Speaker(begins + bytes(1 << 20), pause=0)
    with serving(speaker) as url:
        tracemalloc.start()
        try:
            with pytest.raises(StoreFailedError):
                RedisStore(url).get_many(["n:1"])
            assert tracemalloc.get_traced_memory()[1] < 8 << 20
        finally:
            tracemalloc.stop()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.close()


def test_what_no_store_has_written_is_garbage_and_is_not_read(server: RedisServer) -> None:
    server.client.setrange("n:1", 256 << 20, b"x")
    server.client.rpush("n:2", "a", "list")
    store = RedisStore(server.url)
    store.put("n:3", b"value")
    tracemalloc.start()
    try:
        assert store.get_many(["n:1", "n:2", "n:3", "n:4"]) == [b"", b"", b"value", None]
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
    cache = SharedCache(store, Codec([]), lambda key: f"n:{key}")
    for key in (1, 2):
        assert cache.get(key, lambda: "computed") == "computed"
        assert cache.find([key]) == {key: "computed"}
    assert cache.counts["damaged"] == 2
    assert cache.state.trouble is None


def test_many_values_are_read_in_several_exchanges(server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redisstore, "READ_AT_ONCE_BYTES", 1000)
    store = RedisStore(server.url)
    values = {f"m:{k}": bytes([k]) * (1 + 97 * k % 900) for k in range(30)}
    for name, value in values.items():
        store.put(name, value)
    assert store.get_many([*values, "m:none"]) == [*values.values(), None]


def test_the_largest_value_that_is_shared_can_be_read(server: RedisServer) -> None:
    store = RedisStore(server.url)
    value = bytes(MOST_STORED_BYTES)
    store.put("n:large", value)
    assert store.get_many(["n:large"]) == [value]
    store.drop("n:large")


def test_a_socket_with_a_password_and_over_a_path(tmp_path: Path) -> None:
    """Addresses of every kind go the same way."""
    for url, says in (("rediss://:secret@127.0.0.1:1/0", "rediss://127.0.0.1:1/0"), (f"unix://{tmp_path}/s", "unix")):
        store = RedisStore(url)
        assert says in store.describe()
        assert "secret" not in store.describe()
        with pytest.raises(StoreFailedError):
            store.get_many(["n"])
