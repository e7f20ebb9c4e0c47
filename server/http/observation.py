"""ASGI middleware that sees every request from its arrival to the end of its answer: metrics and the access log."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from typing import Any, Final

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from starlette.datastructures import Headers
from starlette.routing import BaseRoute

from server.http.access import Access, log_access
from server.http.asgi import REPLAYED, Message, Receive, Scope, Send, below_root
from server.http.recent import RecentViews
from server.work.metrics import Metrics
from server.work.trace import Trace, current

GONE: Final = 499
"""Status of a request whose client has gone before there was an answer."""


class RouteNote:
    """Middleware inside the path prefix: notes the template of the path, so that it labels figures whoever answers."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self._templates: Templates | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Look the template up, then run the request."""
        if scope["type"] == "http" and (trace := current.get()) is not None:
            if self._templates is None:  # the first request: all routes are there
                self._templates = Templates(scope["app"].routes)
            trace.route = self._templates.find(below_root(scope), scope["method"])
        await self.app(scope, receive, send)


class Templates:
    """The templates of an application's paths, by their first segment."""

    def __init__(self, routes: Sequence[BaseRoute]) -> None:
        self._by_segment: dict[str, list[tuple[re.Pattern[str], frozenset[str], str]]] = {}
        for route in iter_route_contexts(routes):
            methods = frozenset(route.methods or ())
            entry = route.path_regex, methods, str(route.path_format)
            self._by_segment.setdefault(_first_segment(entry[2]), []).append(entry)

    def find(self, path: str, method: str) -> str:
        """The template of a path as the router finds it; empty where no route has the path.

        A route that takes the method goes before one that does not: its path is asked for, whatever the answer.
        """
        method = "GET" if method == "HEAD" else method
        other = ""
        for pattern, methods, template in self._by_segment.get(_first_segment(path), ()):
            if pattern.match(path):
                if method in methods:
                    return template
                other = other or template
        return other


def _first_segment(path: str) -> str:
    return path.split("/", 2)[1] if path.startswith("/") else ""


class Observed:
    """The outermost middleware: whatever is answered, and by whom, is measured and logged here."""

    def __init__(self, app: Any, *, metrics: Metrics, recent: RecentViews) -> None:
        self.app = app
        self._metrics = metrics
        self._recent = recent

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the request with a trace."""
        if scope["type"] != "http" or REPLAYED in scope:
            await self.app(scope, receive, send)
            return
        trace, start = Trace(), time.perf_counter()
        token = current.set(trace)
        status, number, sent = GONE, "-", 0

        async def answer(message: Message) -> None:
            nonlocal status, number, sent
            if message["type"] == "http.response.start":
                status, number = message["status"], Headers(raw=message["headers"]).get("x-request-id", "-")
            elif message["type"] == "http.response.body":
                sent += len(message.get("body", b""))
            await send(message)

        try:
            await self.app(scope, receive, answer)
        except BaseException:
            status = status if status != GONE else 500
            raise
        finally:
            current.reset(token)
            seconds = time.perf_counter() - start
            self._metrics.request(scope["method"], status, seconds, trace)
            if status == 200 and scope["method"] == "GET" and not trace.remote:
                self._recent.note(scope["path"], scope["query_string"])
            log_access(Access.of(scope, number=number, status=status, seconds=seconds, sent=sent, trace=trace))


def observe(app: FastAPI, metrics: Metrics, recent: RecentViews) -> None:
    """Put an application inside the middleware that observes it; its own has been added."""
    app.add_middleware(Observed, metrics=metrics, recent=recent)
