"""Answers kept in memory: a repeated request is answered at once, identical ones under way are computed once."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass
from enum import Enum
from typing import Final

import cachetools
from anyio import to_thread
from starlette.datastructures import Headers, MutableHeaders
from titiler.core.resources.enums import ImageType

from server.http.asgi import Message, Send
from server.work.figures import CacheFigures
from server.work.shared import NamedKey, SharedCache

LARGEST_SHARE: Final = 8
"""An answer may take up to one in so many of the bytes of all; larger ones are not shared."""
ENTRY_BYTES: Final = 512
"""What an answer counts on top of its body and headers."""
GIVEN_UP: Final = frozenset({499, 503})
"""Statuses of requests that ended for reasons of their own: the next one makes the answer."""


SHARED_HEADERS: Final = frozenset(
    {
        b"cache-control",
        b"content-bbox",
        b"content-crs",
        b"content-crs-json",
        b"content-length",
        b"content-type",
        b"etag",
        b"server-timing",
        b"x-clearsky-cloud-fraction",
        b"x-clearsky-filled-fraction",
        b"x-clearsky-replacements",
        b"x-clearsky-warning",
    }
)
"""Headers that an image from another process may have: those that this service gives it."""
_SHARED_CONTENT: Final = frozenset(kind.mediatype.encode() for kind in ImageType if kind.mediatype.startswith("image/"))


@dataclass(frozen=True, slots=True)
class Answer:
    """A finished answer with status 200."""

    headers: tuple[tuple[bytes, bytes], ...]
    """As they were sent."""
    body: bytes
    """All of it."""

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return len(self.body) + sum(len(name) + len(value) for name, value in self.headers) + ENTRY_BYTES

    @property
    def is_image(self) -> bool:
        """Whether it is a picture: documents may repeat signatures of the addresses in them."""
        return any(name == b"content-type" and value.startswith(b"image/") for name, value in self.headers)


class _End(Enum):
    """How a request ends that has no answer for others."""

    UNSHARED = "unshared"
    """By an error, or an answer that is not kept: each makes its own."""
    GIVEN_UP = "given up"
    """Its client has gone, or its time is over: the next one makes the answer."""


Flight = Future["Answer | _End"]


class Answers:
    """Finished answers, bounded by their bytes, and the requests under way that others wait for.

    A request that waits takes no thread, and is answered, given up or cancelled by its own ticket.
    """

    def __init__(self, max_bytes: int, *, shared: SharedCache | None = None) -> None:
        """Make it; without any bytes every request is answered for itself.

        Args:
            max_bytes: bound on the answers, together.
            shared: where other processes find images, and this one theirs.
        """
        self._shared = shared
        self._kept: cachetools.LRUCache[Hashable, Answer] = cachetools.LRUCache(max_bytes, lambda a: a.nbytes)
        self._flights: dict[Hashable, Flight] = {}
        self._largest = max_bytes // LARGEST_SHARE
        self._lock = threading.Lock()
        self._hits = self._misses = 0

    @property
    def nbytes(self) -> int:
        """Bytes held now."""
        with self._lock:
            return int(self._kept.currsize)

    @property
    def figures(self) -> CacheFigures:
        """Bytes held now, and how often an answer was there or on its way."""
        with self._lock:
            return CacheFigures("answers", "memory", int(self._kept.currsize), self._hits, self._misses)

    async def respond(self, key: Hashable | None, make: Callable[[Send], Awaitable[None]], send: Send) -> None:
        """Send the answer for a key: the kept one, the one that an identical request makes now, or a new one.

        Args:
            key: all that the answer depends on; None where that is unknown.
            make: makes the answer. It is kept if its status is 200 and its headers do not forbid it.
            send: takes the answer.
        """
        if key is None or self._largest == 0:
            await make(send)
            return
        begun, how = time.perf_counter(), "kept"
        while True:
            with self._lock:
                found: Answer | _End | None = self._kept.get(key)
                flight = None if found else self._flights.get(key)
                self._hits += found is not None or (flight is not None and how == "kept")
                self._misses += found is None and flight is None
                if found is None and flight is None:
                    mine: Flight = Future()
                    self._flights[key] = mine
            if flight is not None:
                how = "shared"
                # Shielded: who waits and is cancelled cancels nobody else.
                found = await asyncio.shield(asyncio.wrap_future(flight))
            if isinstance(found, Answer):
                await _repeat(found, f"{how};dur={1000 * (time.perf_counter() - begun):.1f}", send)
                return
            if found is _End.UNSHARED:
                await make(send)
                return
            if found is None:
                await self._lead(key, mine, make, send)
                return

    async def _lead(self, key: Hashable, flight: Flight, make: Callable[[Send], Awaitable[None]], send: Send) -> None:
        """Make the answer, also for those who wait for it."""

        def end(result: Answer | _End) -> None:
            with self._lock:
                if flight.done():
                    return
                del self._flights[key]
                if isinstance(result, Answer) and result.nbytes <= self._largest:
                    self._kept[key] = result
            flight.set_result(result)

        try:
            if (answer := await self._found(key)) is not None:
                end(answer)
                await _repeat(answer, "kept", send)
                return
            recorder = _Recorder(send, end, self._largest)
            await make(recorder)
            if self._shared is not None and recorder.answer is not None and recorder.answer.is_image:
                answer = recorder.answer
                headers = tuple((name.lower(), value) for name, value in answer.headers)
                await to_thread.run_sync(self._shared.put, _shared_key(key), (headers, answer.body))
        except Exception:
            end(_End.UNSHARED)
            raise
        finally:
            end(_End.GIVEN_UP)

    async def _found(self, key: Hashable) -> Answer | None:
        """The answer of another process."""
        if self._shared is None:
            return None
        place = _shared_key(key)
        found = await to_thread.run_sync(self._shared.find, [place])
        return _stored(found.get(place))


def _stored(value: object) -> Answer | None:
    """What another process has left; None for what is no answer of this service's making."""
    match value:
        case (tuple(headers), bytes(body)) if all(map(_is_header, headers)):
            named = dict(headers)
            length = named.get(b"content-length", b"%d" % len(body))
            if len(named) == len(headers) and length == b"%d" % len(body) and b"content-type" in named:
                return Answer(headers, body)
    return None


def _is_header(value: object) -> bool:
    match value:
        case (bytes(name), bytes(text)) if name in SHARED_HEADERS and all(32 <= c < 127 for c in text):
            return name != b"content-type" or text in _SHARED_CONTENT
    return False


def _is_answer(value: object) -> bool:
    return _stored(value) is not None


def _shared_key(key: Hashable) -> NamedKey:
    return NamedKey("Answer", (repr(key),), _is_answer)


class _Recorder:
    """Passes an answer on, and ends with it before its last part is sent."""

    def __init__(self, send: Send, end: Callable[[Answer | _End], None], largest: int) -> None:
        self._send = send
        self._end = end
        self._largest = largest
        self._headers: tuple[tuple[bytes, bytes], ...] | None = None
        self._parts: list[bytes] = []
        self.answer: Answer | None = None
        """The whole answer, once it is there and can be kept."""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = Headers(scope=message)
            if message["status"] == 200 and "no-store" not in headers.get("cache-control", ""):
                self._headers = tuple(message["headers"])
            else:
                self._end(_End.GIVEN_UP if message["status"] in GIVEN_UP else _End.UNSHARED)
        elif message["type"] == "http.response.body" and self._headers is not None:
            self._parts.append(message.get("body", b""))
            if sum(map(len, self._parts)) > self._largest - ENTRY_BYTES:
                self._drop()
            elif not message.get("more_body", False):
                answer = Answer(self._headers, b"".join(self._parts))
                self._parts = []  # else they stay until the shared cache has the answer
                if answer.nbytes <= self._largest:
                    self.answer = answer
                self._end(self.answer or _End.UNSHARED)
        await self._send(message)

    def _drop(self) -> None:
        self._headers, self._parts = None, []
        self._end(_End.UNSHARED)


async def _repeat(answer: Answer, timing: str, send: Send) -> None:
    """Send an answer again, with a `Server-Timing` of its own."""
    start: Message = {"type": "http.response.start", "status": 200, "headers": list(answer.headers)}
    MutableHeaders(scope=start)["Server-Timing"] = timing
    await send(start)
    await send({"type": "http.response.body", "body": answer.body})
