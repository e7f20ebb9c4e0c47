"""A file server on a loopback port that answers range requests, counts them, and misbehaves on demand."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

Trouble = Any
"""What a server does instead of answering well: `stall`, `whole`, `garbage`, `cut`, `pause`, `drip`, an address to
redirect to, a status, or a status with headers and perhaps a body."""


@dataclass
class Counts:
    """What a server was asked for."""

    requests: int = 0
    """Requests answered or refused."""
    sent: int = 0
    """Bytes of bodies."""


@dataclass
class RangeServer:
    """Files below a folder; `trouble` decides what happens to a request."""

    folder: Path
    port: int
    validators: tuple[str, ...] = ("etag", "last-modified")
    trouble: Any = None
    """Called with the path and the first byte asked for; gives what to do wrong, or None."""
    doorman: Callable[[str, Mapping[str, str]], Trouble] | None = None
    """The same by the path and the headers of a request; asked first."""
    counts: Counts = field(default_factory=Counts)
    released: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def wrong(self, path: str, headers: Mapping[str, str], start: int) -> Trouble:
        """What to do wrong with a request."""
        trouble = self.doorman(path, headers) if self.doorman else None
        return trouble if trouble is not None or not self.trouble else self.trouble(path, start)

    def reset(self) -> Counts:
        """Start counting again; gives the counts so far."""
        with self.lock:
            before, self.counts = self.counts, Counts()
        return before


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    state: RangeServer

    def log_message(self, *_: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, *, body: bool) -> None:
        state = self.state
        with state.lock:
            state.counts.requests += 1
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)?", self.headers.get("Range", ""))
        trouble = state.wrong(self.path, dict(self.headers.items()), int(asked[1]) if asked else 0)
        if trouble == "stall":
            state.released.wait(20)
            self.close_connection = True
            return
        if isinstance(trouble, int):
            trouble = trouble, {}
        if isinstance(trouble, str) and trouble.startswith(("http:", "/")):
            trouble = 302, {"Location": trouble}
        if isinstance(trouble, tuple):
            self.plain(*trouble)
            return
        path = state.folder / unquote(self.path.split("?")[0]).lstrip("/")
        if not path.is_file():
            self.plain(404)
            return
        content, headers = path.read_bytes(), self.validators(path)
        if self.unchanged(headers):
            self.plain(304, headers)
            return
        if asked and trouble != "whole":
            start = int(asked[1])
            stop = min(int(asked[2]) + 1 if asked[2] else len(content), len(content))
            if start >= len(content):
                self.plain(416, {"Content-Range": f"bytes */{len(content)}"})
                return
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(content)}"
            status, content = 206, content[start:stop]
        else:
            status = 200
        if trouble == "garbage":
            content = bytes(255 - byte for byte in content)
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.body(content, trouble)

    def body(self, content: bytes, trouble: Trouble) -> None:
        if trouble in ("cut", "pause", "drip"):
            self.close_connection = True
            half = content[: len(content) // 2]
            if trouble == "drip":
                for byte in half:
                    self.wfile.write(bytes([byte]))
                    if self.state.released.wait(0.05):
                        return
            self.wfile.write(half)
            if trouble == "pause":
                self.state.released.wait(20)
            return
        with self.state.lock:
            self.state.counts.sent += len(content)
        self.wfile.write(content)

    def validators(self, path: Path) -> dict[str, str]:
        stat = path.stat()
        told = {
            "etag": f'"{stat.st_size}-{stat.st_mtime_ns}"',
            "weak": f'W/"{stat.st_size}"',
            "last-modified": formatdate(stat.st_mtime, usegmt=True),
        }
        names = {"etag": "ETag", "weak": "ETag", "last-modified": "Last-Modified"}
        return {names[name]: told[name] for name in self.state.validators}

    def unchanged(self, headers: dict[str, str]) -> bool:
        if (tag := self.headers.get("If-None-Match")) is not None:
            return tag == headers.get("ETag")
        since = self.headers.get("If-Modified-Since")
        return since is not None and since == headers.get("Last-Modified")

    def plain(self, status: int, headers: dict[str, str] | None = None, body: bytes = b"") -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if status != 304:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is part of the game."""


@contextmanager
def range_server(folder: Path) -> Iterator[RangeServer]:
    """Serve a folder."""

    class Handler(_Handler):
        """Handlers of this server, with a state of their own."""

    server = _Server(("127.0.0.1", 0), Handler)
    state = Handler.state = RangeServer(folder, server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        state.released.set()
        server.shutdown()
        server.server_close()
        thread.join()
