"""Time-outs and hang-ups of requests whose threads cannot be stopped."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx2
import pytest
import rio_tiler.reader

from tests.helpers.scenes import make_pair, write_raster
from tests.server.http.test_connections import connect, served

STUCK = 17
"""`max_size` of the requests whose reads do not end."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("claims")
    write_raster(folder / "target.tif", make_pair(size=(64, 64)).target)
    return folder


class Reads:
    """Reads that wait, as one inside GDAL does that nobody can stop."""

    def __init__(self) -> None:
        self.waiting = 0
        self.released = threading.Event()

    def wait(self) -> None:
        self.waiting += 1
        self.released.wait(60)
        self.waiting -= 1

    def wait_for(self, count: int) -> None:
        """Until so many reads wait."""
        until(lambda: self.waiting == count)


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "it never happens"
        time.sleep(0.01)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Iterator[Reads]:
    reads = Reads()
    read = rio_tiler.reader.read

    def waiting(*args: Any, **kwargs: Any) -> Any:
        if kwargs.get("max_size") == STUCK:
            reads.wait()
        return read(*args, **kwargs)

    monkeypatch.setattr(rio_tiler.reader, "read", waiting)
    yield reads
    reads.released.set()


@contextmanager
def warm(folder: Path, **settings: str) -> Iterator[str]:
    """A server that has answered a request already: the first one takes a second or more."""
    with served(folder, **settings) as base:
        until(lambda: httpx2.get(base + preview(folder, 16), timeout=60).status_code == 200)
        yield base


def preview(folder: Path, size: int) -> str:
    return "/cog/preview.png?" + urlencode({"url": str(folder / "target.tif"), "bidx": 1, "max_size": size})


@contextmanager
def asking(base: str, path: str, count: int) -> Iterator[list[Any]]:
    """Answers of requests made at the same time, as they come; no two alike, which would share one thread."""
    with ThreadPoolExecutor(count) as pool:
        yield [pool.submit(httpx2.get, f"{base}{path}&nth={number}", timeout=60) for number in range(count)]


def test_the_answer_comes_in_time_though_the_thread_does_not(folder: Path, reads: Reads) -> None:
    with warm(folder, request_timeout="2") as base:
        begun = time.monotonic()
        answer = httpx2.get(base + preview(folder, STUCK), timeout=60)
        assert time.monotonic() - begun < 3
        assert answer.status_code == 503
        assert "within 2 s" in answer.json()["detail"]
        assert reads.waiting == 1
        assert httpx2.get(base + preview(folder, 16), timeout=60).status_code == 200


def test_stuck_threads_take_nobodys_place(folder: Path, reads: Reads) -> None:
    """With two places, two threads that are stuck, and others that ask."""
    with warm(folder, request_timeout="2", request_threads="2") as base:
        with asking(base, preview(folder, STUCK), 1) as answers:
            assert answers[0].result().status_code == 503
        for _ in range(3):
            assert httpx2.get(base + preview(folder, 16), timeout=60).status_code == 200


def test_stuck_threads_are_counted_and_the_rest_is_told(folder: Path, reads: Reads) -> None:
    with warm(folder, request_timeout="2", request_threads="2") as base:
        with asking(base, preview(folder, STUCK), 2) as answers:
            assert {answer.result().status_code for answer in answers} == {503}
        begun = time.monotonic()
        refused = httpx2.get(base + preview(folder, 16), timeout=60)
        assert time.monotonic() - begun < 1
        assert refused.status_code == 503
        assert "2 reads" in refused.json()["detail"]
        probes = {path: httpx2.get(base + path, timeout=60) for path in ("/healthz", "/metrics", "/readyz")}
        assert [answer.status_code for answer in probes.values()] == [200, 200, 503]
        assert "2 of 2 threads are stuck" in probes["/readyz"].json()["detail"]
        reads.released.set()
        until(lambda: httpx2.get(base + preview(folder, 16), timeout=60).status_code == 200)


def test_who_waits_in_line_too_long_is_told(folder: Path, reads: Reads) -> None:
    served_by_one = warm(folder, request_timeout="2", request_threads="1")
    with served_by_one as base, asking(base, preview(folder, STUCK), 3) as answers:
        reads.wait_for(1)
        begun = time.monotonic()
        assert {answer.result().status_code for answer in answers} == {503}
        assert time.monotonic() - begun < 4


def test_a_hang_up_frees_the_place(folder: Path, reads: Reads) -> None:
    with warm(folder, request_threads="2") as base:
        with connect(base) as line:
            line.sendall(f"GET {preview(folder, STUCK)} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            reads.wait_for(1)
        begun = time.monotonic()
        answer = httpx2.get(base + preview(folder, 16), timeout=60)
        assert answer.status_code == 200
        assert time.monotonic() - begun < 5
        assert reads.waiting == 1


def test_an_answer_under_way_is_not_cut_off(folder: Path) -> None:
    """The time-out is for the answer to begin."""
    path = "/cog/preview/700x700.tif?" + urlencode({"url": str(folder / "target.tif")})
    with warm(folder, request_timeout="3") as base, connect(base) as line:
        line.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        received = line.recv(1000)
        time.sleep(4)
        while data := line.recv(1 << 20):
            received += data
        assert received.startswith(b"HTTP/1.1 200")
        assert len(received) > 700 * 700 * 14
