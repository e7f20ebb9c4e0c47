"""Types and small helpers of ASGI that the middleware shares."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

Scope = dict[str, Any]
Message = dict[str, Any]
Send = Callable[[Message], Awaitable[None]]
Receive = Callable[[], Awaitable[Message]]


def below_root(scope: Scope) -> str:
    """The path; behind a proxy that keeps its prefix, it begins with that."""
    return str(scope["path"]).removeprefix(scope.get("root_path", ""))
