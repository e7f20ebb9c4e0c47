"""Types and small helpers of ASGI that the middleware shares."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final, cast

from starlette.responses import Response

Scope = dict[str, Any]
Message = dict[str, Any]
Send = Callable[[Message], Awaitable[None]]
Receive = Callable[[], Awaitable[Message]]

PROBED: Final = frozenset({"/healthz", "/readyz", "/metrics"})
"""What machines ask for every few seconds: answered by the event loop, and all the more when threads are stuck."""

REPLAYED: Final = "clearsky.replayed"
"""In the scope of a request that the process makes of itself; no client can put it there."""


def below_root(scope: Scope) -> str:
    """The path; behind a proxy that keeps its prefix, it begins with that."""
    return str(scope["path"]).removeprefix(scope.get("root_path", ""))


async def respond(response: Response, scope: Scope, receive: Receive, send: Send) -> None:
    """Send a response instead of the application."""
    await response(scope, receive, cast(Any, send))
