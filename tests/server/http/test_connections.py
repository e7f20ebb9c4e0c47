"""Connections and bodies of clients that dawdle, flood or hang up."""

from __future__ import annotations

import contextlib
import resource
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from urllib.parse import quote, urlsplit

import httpx2
import pytest

from server.app import create_app
from server.http import protocol
from server.settings import Settings
from tests.helpers.scenes import make_pair, write_raster
from tests.helpers.service import chosen, listening, serve_command

FEATURE = (
    b'{"type":"Feature","properties":{},"geometry":{"type":"Polygon","coordinates":'
    b"[[[15.001,41.54],[15.005,41.54],[15.005,41.545],[15.001,41.54]]]}}"
)

JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("connections")
    write_raster(folder / "target.tif", make_pair(size=(64, 64)).target)
    return folder


@contextmanager
def served(folder: Path, **settings: str) -> Iterator[str]:
    """A server in this process as `clearsky serve` runs it."""
    given = Settings(**chosen(folder, settings))  # type: ignore[arg-type]
    with listening(create_app(given), http=protocol.PatientProtocol, ws="none") as base:
        yield base


def connect(base: str) -> socket.socket:
    line = socket.create_connection(("127.0.0.1", urlsplit(base).port or 0))
    line.settimeout(20)
    return line


def seconds_until_closed(line: socket.socket, trickle: bytes, pause: float) -> float:
    """Send byte after byte until the server closes."""
    begun = time.monotonic()
    line.settimeout(pause)
    for byte in trickle:
        try:
            line.sendall(bytes([byte]))
            if line.recv(65536) == b"":
                break
        except TimeoutError:
            continue
        except OSError:
            break
    return time.monotonic() - begun


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounds of a second or so, in the place of ten and thirty."""
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 1.0)
    monkeypatch.setattr(protocol, "STALL_SECONDS", 1.0)


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("begin", [b"", b"GET /healthz HTTP/1.1\r\n", b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"])
def test_a_head_that_drips_is_cut_off(folder: Path, begin: bytes) -> None:
    """On a new connection and on one that was used before."""
    with served(folder) as base, connect(base) as line:
        line.sendall(begin)
        head = b"X-Slow: " if begin.endswith(b"1.1\r\n") else b"GET / HTTP/1.1\r\nX-Slow: "
        spent = seconds_until_closed(line, head + b"x" * 200, 0.1)
        assert 0.5 < spent < 5
        assert httpx2.get(base + "/healthz", timeout=60).status_code == 200


@pytest.mark.usefixtures("hasty")
def test_a_connection_that_says_nothing_is_cut_off(folder: Path) -> None:
    with served(folder) as base, connect(base) as line:
        begun = time.monotonic()
        assert line.recv(100) == b""
        assert time.monotonic() - begun < 5


@pytest.mark.parametrize(
    "flood",
    [
        b"GET /" + b"a" * 400_000,
        b"GET / HTTP/1.1\r\n" + b"X-Many: 1\r\n" * 40_000,
        b"GET / HTTP/1.1\r\nX-One: " + b"x" * 10**6,
    ],
    ids=["address", "headers", "header"],
)
def test_a_head_without_end_is_refused(folder: Path, flood: bytes) -> None:
    with served(folder) as base, connect(base) as line:
        with contextlib.suppress(OSError):
            line.sendall(flood)
        with contextlib.suppress(ConnectionResetError):
            assert line.recv(65536).split(b"\r\n")[0] in (b"", b"HTTP/1.1 431 Request Header Fields Too Large")
        assert httpx2.get(base + "/healthz", timeout=60).status_code == 200


@pytest.mark.usefixtures("hasty")
def test_a_client_that_does_not_read_is_given_up(folder: Path) -> None:
    with served(folder) as base, connect(base) as line:
        path = f"/cog/preview/1500x1500.tif?url={quote(str(folder / 'target.tif'))}"
        line.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert line.recv(1000)
        time.sleep(3)  # of a receive buffer that is not read, the kernel makes no larger one
        received = 0
        with contextlib.suppress(OSError):
            while data := line.recv(1 << 20):
                received += len(data)
        assert received < 31_500_000  # of 1500 x 1500 pixels of 7 bands


@pytest.mark.usefixtures("hasty")
def test_a_client_that_reads_slowly_gets_all(folder: Path) -> None:
    with served(folder) as base, connect(base) as line:
        path = f"/cog/preview/700x700.tif?url={quote(str(folder / 'target.tif'))}"
        line.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        received = b""
        while data := line.recv(200_000):
            received += data
            time.sleep(0.05)
        head, _, body = received.partition(b"\r\n\r\n")
        length = next(part for part in head.split(b"\r\n") if part.lower().startswith(b"content-length:"))
        assert len(body) == int(length.split(b":")[1])


def post(base: str, path: str, headers: str, *parts: bytes, pause: float = 0) -> bytes:
    """What a POST is answered with, its body sent part by part."""
    with connect(base) as line:
        line.sendall(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{headers}\r\n\r\n".encode())
        with contextlib.suppress(OSError):
            for part in parts:
                line.sendall(part)
                time.sleep(pause)
        answer = b""
        with contextlib.suppress(OSError):
            while data := line.recv(65536):
                answer += data
                if b"}" in data:
                    break
        return answer


@pytest.fixture(scope="module")
def base(folder: Path) -> Iterator[str]:
    with served(folder, max_body_bytes="100000", request_timeout="2") as base:
        yield base


def address(folder: Path) -> str:
    return f"/cog/feature.png?bidx=1&url={quote(str(folder / 'target.tif'))}"


def test_a_body_within_the_bound(base: str, folder: Path) -> None:
    answer = httpx2.post(base + address(folder), content=FEATURE, headers=JSON, timeout=60)
    assert answer.status_code == 200, answer.text
    chunked = httpx2.post(base + address(folder), content=iter([FEATURE[:50], FEATURE[50:]]), headers=JSON, timeout=60)
    assert chunked.content == answer.content


def test_a_body_announced_too_large(base: str, folder: Path) -> None:
    answer = post(base, address(folder), "Content-Length: 600000000", b"{")
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"CLEARSKY_MAX_BODY_BYTES" in answer


def test_a_body_that_turns_out_too_large(base: str, folder: Path) -> None:
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    assert post(base, address(folder), "Transfer-Encoding: chunked", chunk, chunk, chunk).startswith(b"HTTP/1.1 413")


def test_a_body_that_drips(base: str, folder: Path) -> None:
    begun = time.monotonic()
    answer = post(base, address(folder), "Content-Length: 1000", *[b" "] * 8, pause=0.5)
    assert answer.startswith(b"HTTP/1.1 408")
    assert time.monotonic() - begun < 8


def test_a_client_that_hangs_up_in_its_body(base: str, folder: Path) -> None:
    with connect(base) as line:
        line.sendall(f"POST {address(folder)} HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\n{{".encode())
    assert httpx2.get(base + "/healthz", timeout=60).status_code == 200


def peak(process: subprocess.Popen[bytes]) -> int:
    """Largest resident memory of a process so far, MB."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))) // 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from Linux' /proc")
def test_a_flood_of_bodies_takes_no_memory(folder: Path) -> None:
    """600 MB in chunks, by four clients at a time, whatever the method."""
    chunk = b"100000\r\n" + b" " * 0x100000 + b"\r\n"

    def flood(server: str, method: str) -> None:
        with connect(server) as line, contextlib.suppress(OSError):
            head = f"{method} {address(folder)} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            line.sendall(head.encode())
            for _ in range(150):
                line.sendall(chunk)

    with serve_command(folder) as (process, base):
        httpx2.post(base + address(folder), content=FEATURE, headers=JSON, timeout=60)
        before = peak(process)
        with ThreadPoolExecutor() as pool:
            list(pool.map(partial(flood, base), ["POST", "GET", "POST", "PUT"]))
        assert peak(process) - before < 100
        assert httpx2.get(base + "/healthz", timeout=60).status_code == 200


def test_many_idle_connections_harm_nobody(folder: Path) -> None:
    count = min(300, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 3)
    with served(folder) as base, contextlib.ExitStack() as stack:
        for _ in range(count):
            stack.enter_context(connect(base)).sendall(b"GET /healthz HTTP/1.1\r\n")
        begun = time.monotonic()
        assert httpx2.get(base + "/healthz", timeout=60).status_code == 200
        assert time.monotonic() - begun < 5
