"""HTTP/1.1 connections that end when their client dawdles: what uvicorn leaves open."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MOST_CONNECTIONS: Final = 1000
"""Connections of one process: each may hold a body of `CLEARSKY_MAX_BODY_BYTES`; most systems allow 1024 open files."""
SILENT_WORKER_SECONDS: Final = 30
"""Time without a sign of life after which one of several processes is replaced: starting, or with all cores at work
for other processes, one may be silent for more than uvicorn's 5 s."""
HEAD_SECONDS: Final = 10.0
"""Time for a request line and its headers to arrive, from the connection or the request's first byte on."""
HEADERS_BYTES: Final = 128 << 10
"""Request line, headers, trailers and what frames a chunked body; a query alone may have 64 kB."""
STALL_SECONDS: Final = 30.0
"""Time after which a client that takes less than `LEAST_PROGRESS` of its answer is given up."""
LEAST_PROGRESS: Final = 16 << 10
"""Bytes."""
_TOO_LARGE: Final = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: application/json\r\ncontent-length: 41\r\n"
    b'connection: close\r\n\r\n{"detail":"the headers are over 128 kB."}'
)


class PatientProtocol(HttpToolsProtocol):
    """Uvicorn's connection with bounds on the size and the time of headers, and on clients that do not read.

    Bodies are bounded where they are read, in `server.http.bodies`; idle connections by uvicorn's own time-out.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head_timer: asyncio.TimerHandle | None = None
        self._stall_timer: asyncio.TimerHandle | None = None
        self._framing = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request."""
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timers."""
        self._head_arrived()
        self._stop_stall_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on, unless headers grow beyond the bound."""
        if self._head_timer is None and (self.cycle is None or self.cycle.response_complete):
            self._expect_head()
        self._framing += len(data)
        super().data_received(data)
        if self._framing > HEADERS_BYTES and not self.transport.is_closing():
            self.transport.write(_TOO_LARGE)
            self.transport.close()

    def on_message_begin(self) -> None:
        """Start the count again for each request of a connection."""
        self._framing = 0
        super().on_message_begin()

    def on_body(self, body: bytes) -> None:
        """Bodies are bounded elsewhere."""
        self._framing -= len(body)
        super().on_body(body)

    def on_headers_complete(self) -> None:
        """The head has arrived in time."""
        self._head_arrived()
        super().on_headers_complete()

    def _expect_head(self) -> None:
        self._head_timer = self.loop.call_later(HEAD_SECONDS, self._give_up)

    def _head_arrived(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _give_up(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()

    def pause_writing(self) -> None:
        """The client reads slower than the answer comes: watch whether it reads at all."""
        super().pause_writing()
        self._watch(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        """The client has caught up."""
        self._stop_stall_timer()
        super().resume_writing()

    def _watch(self, waiting: int) -> None:
        self._stop_stall_timer()
        self._stall_timer = self.loop.call_later(STALL_SECONDS, self._check_progress, waiting)

    def _stop_stall_timer(self) -> None:
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None

    def _check_progress(self, before: int) -> None:
        waiting = self.transport.get_write_buffer_size()
        if before - waiting < LEAST_PROGRESS:
            self.transport.abort()
        else:
            self._watch(waiting)
