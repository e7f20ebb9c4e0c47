"""ASGI middleware that sees every request from its arrival to the end of its answer: metrics and the access log."""

from __future__ import annotations

import time
from typing import Any, Final

from fastapi import FastAPI
from starlette.datastructures import Headers
from starlette.middleware import Middleware

from server.http.access import Access, log_access
from server.http.asgi import Message, Receive, Scope, Send, below_root
from server.work.metrics import Metrics
from server.work.trace import Trace, current

GONE: Final = 499
"""Status of a request whose client has gone before there was an answer."""


class RouteNote:
    """The innermost middleware: notes which route answers, as a template, so that it can label figures."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the request, and look at what the router has found."""
        try:
            await self.app(scope, receive, send)
        finally:
            trace = current.get()
            if trace is not None and (route := scope.get("route")) is not None:
                trace.route = route_template(below_root(scope), route.path_format, scope.get("path_params", {}))


def route_template(path: str, template: str, values: dict[str, Any]) -> str:
    """The whole template of a path of which a router may know only the end.

    Args:
        path: what was asked for, `/recipes/lazio/info`.
        template: the end of it as its router has it, `/info`.
        values: of the parameters of the whole path, `{"name": "lazio"}`.
    """
    end = template
    for name, value in values.items():
        end = end.replace(f"{{{name}}}", str(value))
    if not path.endswith(end):
        return template
    segments = path[: len(path) - len(end)].split("/")
    for name, value in values.items():
        if f"{{{name}}}" not in template and str(value) in segments[1:]:
            segments[len(segments) - 1 - segments[::-1].index(str(value))] = f"{{{name}}}"
    return "/".join(segments) + template


class Observed:
    """The outermost middleware: whatever is answered, and by whom, is measured and logged here."""

    def __init__(self, app: Any, *, metrics: Metrics) -> None:
        self.app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the request with a trace."""
        if scope["type"] != "http":
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
            log_access(Access.of(scope, number=number, status=status, seconds=seconds, sent=sent, trace=trace))


def observe(app: FastAPI, metrics: Metrics) -> None:
    """Put an application between both; its own middleware and routes have been added."""
    app.user_middleware.append(Middleware(RouteNote))
    app.add_middleware(Observed, metrics=metrics)
