"""Headers of every answer: entity tags, cache control, timing, cloud fractions; and answers that are kept."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qsl

from anyio import CapacityLimiter, to_thread
from rio_tiler.errors import RioTilerError
from starlette.datastructures import Headers, MutableHeaders

from algorithms.errors import ClearSkyError
from server import __version__
from server.http.answers import Answers
from server.http.asgi import REPLAYED, Message, Receive, Scope, Send, below_root
from server.http.knownstates import NAMING, KnownStates
from server.http.states import Resolver
from server.remote.redaction import redacted
from server.work.ticket import holding
from server.work.trace import Trace, current

CHECKERS = 2
"""Threads that look up the state of datasets, per request thread: apart from these, so that a server that stalls does
not block them, and more than all servers that stall can hold (see `Gate`), so that local files do not wait for any."""


def entity_tag(scope: Scope, states: Sequence[str]) -> str:
    """Strong tag of an answer, from what it depends on: states of files, parameters, software."""
    query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    # Addresses count as they are admitted: without their signatures.
    query = [(name, "" if name in NAMING and "://" in value else value) for name, value in query]
    parts = [__version__, scope["path"], repr(query), Headers(scope=scope).get("accept", ""), *states]
    return '"' + hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32] + '"'


def _known_tags(scope: Scope) -> set[str]:
    """Tags of the answers that the client has, weak ones as if they were strong; `*` stands for any answer."""
    parts = ",".join(Headers(scope=scope).getlist("if-none-match")).split(",")
    return {part.strip().removeprefix("W/") for part in parts}


async def _send_not_modified(send: Send, tag: bytes, cachecontrol: bytes) -> None:
    headers = [(b"etag", tag), (b"cache-control", cachecontrol)]
    await send({"type": "http.response.start", "status": 304, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


def _unless_there(send: Send) -> Send:
    """Send 304 in place of an answer with a tag; errors pass, since preconditions do not hold for them (RFC 9110)."""
    replaced = False

    async def answer(message: Message) -> None:
        nonlocal replaced
        if message["type"] == "http.response.start":
            headers = dict(message["headers"])
            if replaced := message["status"] == 200 and b"etag" in headers:
                await _send_not_modified(send, headers[b"etag"], headers[b"cache-control"])
        if not replaced:
            await send(message)

    return answer


def _addressed(scope: Scope) -> tuple[Any, ...]:
    """What documents repeat of a request's address, and tags leave out: the service's own, and signatures."""
    headers = Headers(scope=scope)
    return scope["scheme"], headers.get("host"), scope.get("root_path"), scope["query_string"]


class PathPrefix:
    """ASGI middleware for a service under a path prefix, whether the proxy in front strips or keeps it."""

    def __init__(self, app: Any, prefix: str) -> None:
        self.app = app
        self.prefix = "/" + prefix.strip("/")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the prefix to the application, and put it before the path where it was stripped."""
        if scope["type"] in ("http", "websocket"):
            path = scope["path"]
            kept = path == self.prefix or path.startswith(self.prefix + "/")
            scope = scope | {"root_path": self.prefix, "path": path if kept else self.prefix + path}
        await self.app(scope, receive, send)


class ImageHeaders:
    """ASGI middleware for everything below the given prefixes, each with the one that knows its answers' inputs."""

    def __init__(
        self, app: Any, *, resolvers: Mapping[str, Resolver], cachecontrol: str, threads: int, answers: Answers
    ) -> None:
        self.app = app
        self._answers = answers
        self._cachecontrol = cachecontrol
        self._resolvers = dict(resolvers)
        self._known = KnownStates()
        self._checkers = CapacityLimiter(CHECKERS * threads)

    def _resolver(self, scope: Scope) -> Resolver | None:
        path = below_root(scope)
        return next((resolve for prefix, resolve in self._resolvers.items() if path.startswith(prefix)), None)

    async def _tag(self, scope: Scope, resolve: Resolver) -> str | None:
        """The tag, None where it is unknown.

        Unless the files' states can be looked at here, that is done in another thread: the state of a remote dataset is
        requested from its server.
        """
        states = self._known.recall(scope)
        if states is None:
            states = await to_thread.run_sync(self._states, scope, resolve, limiter=self._checkers)
        return None if states is None else entity_tag(scope, states)

    def _states(self, scope: Scope, resolve: Resolver) -> list[str] | None:
        with holding(), suppress(ClearSkyError, RioTilerError, OSError):
            return self._known.resolve(scope, resolve)
        return None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 304 where the client's copy is good; else send the answer that is kept, or run the request."""
        resolve = self._resolver(scope) if scope["type"] == "http" else None
        if resolve is None:
            await self.app(scope, receive, send)
            return
        tag = await self._tag(scope, resolve) if scope["method"] in ("GET", "HEAD") else None
        known = _known_tags(scope)
        if tag and tag in known:
            await _send_not_modified(send, tag.encode(), self._cachecontrol.encode())
            return
        if tag and "*" in known:
            send = _unless_there(send)
        # Admitted to all files, or there would be no tag. What is made again at start is to load what answers rest on.
        key = None if tag is None or REPLAYED in scope else (tag, *_addressed(scope))
        await self._answers.respond(key, lambda answer: self._run(scope, receive, answer, tag, resolve), send)

    async def _run(self, scope: Scope, receive: Receive, send: Send, tag: str | None, resolve: Resolver) -> None:
        """Run the request with a trace and add the headers."""
        trace = current.get() or Trace()
        token = current.set(trace)

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                if message["status"] == 200:
                    # What changed under the request's hands must not be kept under either tag.
                    changed = tag is not None and tag != await self._tag(scope, resolve)
                    headers["Cache-Control"] = "no-store" if changed else self._cachecontrol
                    if tag and not changed:
                        headers["ETag"] = tag
                    if trace.cloud_fraction is not None:
                        headers["X-Clearsky-Cloud-Fraction"] = f"{trace.cloud_fraction:.4f}"
                        headers["X-Clearsky-Filled-Fraction"] = f"{trace.filled_fraction:.4f}"
                if trace.replacements:
                    headers["X-Clearsky-Replacements"] = redacted(trace.chosen())
                if trace.warnings:
                    headers["X-Clearsky-Warning"] = redacted(trace.warning())
                if trace.seconds:
                    headers["Server-Timing"] = trace.server_timing()
            await send(message)

        try:
            await self.app(scope, receive, answer)
        finally:
            current.reset(token)
