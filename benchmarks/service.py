"""The application in this process, and a file server that counts what it is asked for."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from socket import socket
from typing import Any

import uvicorn
from starlette.staticfiles import StaticFiles
from starlette.testclient import TestClient
from starlette.types import Message, Receive, Scope, Send

from server.app import create_app
from server.settings import Settings


@contextmanager
def application(allowed: Path | str, **settings: Any) -> Iterator[TestClient]:
    """A client of an application with empty caches, without work ahead and, unless asked for, without kept answers."""
    settings = {"answer_cache_bytes": 0, **settings}
    given = Settings(allowed_sources=str(allowed), prefetch=False, **settings)  # type: ignore[arg-type]
    with TestClient(create_app(given), raise_server_exceptions=False) as client:
        yield client


def free_port() -> int:
    """A loopback port that nobody listens on."""
    with socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@dataclass
class Counts:
    """What a server was asked for."""

    requests: int = 0
    """Requests answered or refused."""
    sent: int = 0
    """Bytes of bodies."""


@dataclass
class FileServer:
    """Files below a folder, ranges of them included; an ASGI application that counts."""

    folder: Path
    base: str
    """Address, with a slash at its end."""
    counts: Counts = field(default_factory=Counts)

    def __post_init__(self) -> None:
        self._files = StaticFiles(directory=self.folder)

    def reset(self) -> Counts:
        """Count from zero again; gives the counts so far."""
        before, self.counts = self.counts, Counts()
        return before

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.counts.requests += 1

        async def counting(message: Message) -> None:
            self.counts.sent += len(message.get("body", b""))
            await send(message)

        await self._files(scope, receive, counting)


@contextmanager
def file_server(folder: Path) -> Iterator[FileServer]:
    """Serve a folder on a loopback port."""
    port = free_port()
    files = FileServer(folder, f"http://127.0.0.1:{port}/")
    server = uvicorn.Server(uvicorn.Config(files, port=port, lifespan="off", log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the file server ended at start"
            time.sleep(0.01)
        yield files
    finally:
        server.should_exit = True
        thread.join()
