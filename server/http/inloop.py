"""Dependencies that only read a query, called without threads, which would cost more than they do."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any


@lru_cache(maxsize=256)
def in_loop(dependency: Callable[..., Any]) -> Any:
    """A dependency that FastAPI calls without a thread of its own, the same one for the same.

    Args:
        dependency: a function or class that neither waits nor computes for long.
    """

    @wraps(dependency, updated=())
    async def called(*args: Any, **kwargs: Any) -> Any:
        return dependency(*args, **kwargs)

    return called


async def no_environment() -> dict[str, Any]:
    """No options of GDAL for a request alone."""
    return {}
