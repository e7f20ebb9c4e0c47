"""Stores of shared values: a folder and a real Redis server do the same."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from algorithms.errors import ParameterError
from server.analysis.sharing import store_at
from server.work.folderstore import ABANDONED_SECONDS, FolderStore
from server.work.redisstore import RedisStore
from server.work.store import Store, StoreFailedError
from tests.helpers.redisserver import RedisServer
from tests.helpers.service import free_port


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.close()


@pytest.fixture(params=["folder", "redis"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "folder":
        yield FolderStore(tmp_path / "shared")
        return
    server: RedisServer = request.getfixturevalue("server")
    server.client.flushall()
    yield RedisStore(server.url)


def test_values_by_name(store: Store) -> None:
    store.put("a:b:01", b"one")
    store.put("a:b:02", b"two")
    assert store.get_many(["a:b:01", "a:b:02", "a:b:03"]) == [b"one", b"two", None]
    store.put("a:b:01", b"other")
    store.drop("a:b:02")
    store.drop("a:b:03")
    assert store.get_many(["a:b:01", "a:b:02"]) == [b"other", None]


def test_of_many_who_claim_a_name_one_has_it(store: Store) -> None:
    with ThreadPoolExecutor(8) as pool:
        claims = list(pool.map(lambda k: store.claim("n:1", f"token{k}", 30), range(16)))
    assert claims.count("mine") == 1
    assert claims.count("taken") == 15
    store.release("n:1", "somebody else's")
    assert store.claim("n:1", "late", 30) == "taken"
    store.release("n:1", f"token{claims.index('mine')}")
    assert store.claim("n:1", "late", 30) == "mine"
    assert store.claim("n:2", "late", 30) == "mine"


def test_who_claims_what_is_there_is_told_so_and_holds_nothing(store: Store) -> None:
    assert store.claim("n:1", "first", 30) == "mine"
    store.put("n:1", b"value")
    assert store.claim("n:1", "waits", 30) == "there"
    store.release("n:1", "first")
    assert store.claim("n:1", "late", 30) == "there"
    store.drop("n:1")
    assert store.claim("n:1", "last", 30) == "mine"


def test_a_claim_ends_by_itself(store: Store) -> None:
    """Its process may have been killed."""
    assert store.claim("n:1", "dead", 0.2) == "mine"
    assert store.claim("n:1", "next", 30) == "taken"
    time.sleep(0.3)
    assert store.claim("n:1", "next", 30) == "mine"
    store.release("n:1", "dead")
    assert store.claim("n:1", "third", 30) == "taken"


def test_a_claim_is_renewed_by_its_holder_alone(store: Store) -> None:
    assert store.claim("n:1", "works", 0.3) == "mine"
    assert store.claim("n:2", "works", 0.3) == "mine"
    store.renew("n:1", "works", 30)
    store.renew("n:2", "somebody else", 30)
    store.renew("n:3", "works", 30)
    time.sleep(0.4)
    assert [store.claim(f"n:{k}", "next", 30) for k in (1, 2, 3)] == ["taken", "mine", "mine"]


def test_a_claim_is_no_value(store: Store) -> None:
    assert store.claim("n:1", "token", 30) == "mine"
    assert store.get_many(["n:1"]) == [None]


def test_what_it_holds_is_weighed(store: Store) -> None:
    before = store.nbytes()
    for k in range(4):
        store.put(f"v:{k:02}", bytes(50_000))
    assert 200_000 <= store.nbytes() - before < 400_000


def test_a_folder_is_bounded_and_what_was_not_read_for_longest_goes_first(tmp_path: Path) -> None:
    store = FolderStore(tmp_path, most_bytes=10_000)
    begun = time.time()
    for k in range(30):
        store.put(f"v:{k:02}", bytes(1000))
        (path,) = tmp_path.glob(f"*/v-{k:02}")
        os.utime(path, (begun - 5000 + k, begun - 5000 + k))
        store.get_many(["v:00"])  # read again and again: it counts as new
    kept = [k for k in range(30) if store.get_many([f"v:{k:02}"]) != [None]]
    assert 7 <= len(kept) <= 10
    assert kept == [0, *range(31 - len(kept), 30)]


def test_what_a_killed_writer_leaves_is_removed_in_time(tmp_path: Path) -> None:
    store = FolderStore(tmp_path, most_bytes=1 << 20)
    (tmp_path / "01").mkdir()
    new, old = tmp_path / "01" / ".new.part", tmp_path / "01" / ".old.part"
    new.write_bytes(b"x")
    old.write_bytes(b"x")
    os.utime(old, (time.time() - 2 * ABANDONED_SECONDS,) * 2)
    store.put("v:01", b"x")
    assert new.exists()
    assert not old.exists()
    assert store.get_many(["v:01"]) == [b"x"]


def test_files_of_others_in_the_folder_are_left_alone(tmp_path: Path) -> None:
    """A folder of scenes, say, that was named by mistake, and one that a link leads to."""
    inside, outside = tmp_path / "shared" / "S2", tmp_path / "scenes"
    inside.mkdir(parents=True)
    outside.mkdir()
    others = [inside / "scene.tif", inside / "README", outside / "v-ab", outside / ".x.part"]
    for path in others:
        path.write_bytes(bytes(50_000))
        os.utime(path, (1e9, 1e9))
    (tmp_path / "shared" / "ab").symlink_to(outside)
    store = FolderStore(tmp_path / "shared", most_bytes=10_000)
    for k in range(30):
        store.put(f"v:{k:02}", bytes(1000))
    assert all(path.exists() for path in others)
    assert store.get_many(["v:29"]) == [bytes(1000)]
    assert store.get_many(["v:00"]) == [None]


@pytest.mark.parametrize("kind", ["pipe", "folder", "link", "device", "large"])
def test_what_no_store_has_written_is_garbage(tmp_path: Path, kind: str) -> None:
    store = FolderStore(tmp_path)
    store.put("v:01", b"x")
    (path,) = tmp_path.glob("*/v-01")
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "large":
        path.touch()
        os.truncate(path, 1 << 40)
    else:
        path.symlink_to("/dev/zero" if kind == "device" else __file__)
    assert store.get_many(["v:01"]) == [b""]
    assert store.get_many(["v:02"]) == [None]


def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FolderStore(tmp_path)

    def full(self: Path, data: bytes) -> int:
        with self.open("wb") as file:
            file.write(data[:3])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(StoreFailedError, match="No space left"):
        store.put("v:01", bytes(100))
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_server_that_is_gone_is_a_failure_of_its_own_kind() -> None:
    store = RedisStore(f"redis://:secret@127.0.0.1:{free_port()}/0")
    assert "secret" not in store.describe()
    with pytest.raises(StoreFailedError) as failure:
        store.get_many(["v"])
    assert "secret" not in str(failure.value)


NO_REDIS = [
    b"HTTP/1.1 400 Bad Request\r\n\r\n",
    b"-NOAUTH Authentication required.\r\n",
    b"+OK\r\n",
    b":7\r\n",
    b"*1\r\n$-5\r\n",
]


@pytest.mark.parametrize(
    "answer", [*NO_REDIS, b"*1\r\n" * 5000, b"\xff\xfe\r\n", b"*x\r\n"], ids=lambda a: repr(a[:12])
)
def test_a_server_that_is_no_redis_is_a_failure_too(answer: bytes) -> None:
    def reply(connections: socket.socket) -> None:
        with connections, connections.accept()[0] as connection:
            while connection.recv(4096):
                connection.sendall(answer)

    connections = socket.create_server(("127.0.0.1", 0))
    port = connections.getsockname()[1]
    threading.Thread(target=reply, args=(connections,), daemon=True).start()
    with pytest.raises(StoreFailedError):
        RedisStore(f"redis://127.0.0.1:{port}/0").get_many(["v"])


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("memcached://x", "begins with 'memcached'"),
        ("/tmp/x", "redis://HOST"),
        ("file://host/x", "begins with 'file'"),
        ("file:///proc/nothing/here", "cannot be written to"),
        ("file:///tmp/x?max_bytes=-1", "max_bytes"),
        ("file:///tmp/x?most=1", "max_bytes=BYTES"),
        ("redis://127.0.0.1:port/0", "cannot be read"),
    ],
)
def test_an_address_that_cannot_be_used_is_named(url: str, says: str) -> None:
    with pytest.raises(ParameterError, match="CLEARSKY_CACHE_URL") as error:
        store_at(url)
    assert says in str(error.value)
