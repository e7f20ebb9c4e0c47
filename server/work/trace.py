"""What one request did: stage times for `Server-Timing`, cloud fractions and warnings for the headers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Final

LONGEST_WARNING: Final = 1000
"""Most characters of a header: servers in between refuse longer ones."""


@dataclass
class Trace:
    """Collected while a request runs, also across the threads that work for it."""

    seconds: dict[str, float] = field(default_factory=dict)
    """Wall time by stage: read, mask, adjust, encode."""
    cloud_fraction: float | None = None
    """Share of the image's valid pixels that are cloud or its buffer."""
    filled_fraction: float | None = None
    """Share of the image's valid pixels that were filled."""
    warnings: list[str] = field(default_factory=list)
    """What the client should know, each once."""

    replacements: tuple[str, ...] = ()
    """Ids of the scenes that were chosen to fill from."""

    remote: bool = False
    """Whether the state of a remote file was asked for."""

    route: str = ""
    """Template of the path that was asked for; empty where no route has it."""

    def warning(self) -> str:
        """Value of the `X-Clearsky-Warning` header."""
        return _header("; ".join(self.warnings))

    def chosen(self) -> str:
        """Value of the `X-Clearsky-Replacements` header."""
        return _header(",".join(self.replacements))

    def server_timing(self) -> str:
        """Value of the `Server-Timing` header, milliseconds."""
        return ", ".join(f"{stage};dur={1000 * spent:.1f}" for stage, spent in self.seconds.items())


def _header(text: str) -> str:
    """Text as a header may have it: printable ASCII, of bounded length."""
    plain = text.encode("ascii", "backslashreplace").decode()
    return "".join(c if c.isprintable() else "?" for c in plain)[:LONGEST_WARNING]


current: ContextVar[Trace | None] = ContextVar("clearsky_trace", default=None)
"""The running request's trace; threads started for a request inherit it."""


def warn(message: str) -> None:
    """Inform the client of the running request of something that is not an error."""
    if (trace := current.get()) is not None and message not in trace.warnings:
        trace.warnings.append(message)


def note_replacements(ids: tuple[str, ...]) -> None:
    """Name the scenes that the running request's answer is filled from, chosen for it."""
    if (trace := current.get()) is not None:
        trace.replacements = ids


@contextmanager
def untraced() -> Iterator[None]:
    """Work for a request that is not about its own image, so that the headers do not count it."""
    token = current.set(None)
    try:
        yield
    finally:
        current.reset(token)


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Add the time spent inside to a stage of the running request."""
    trace = current.get()
    start = time.perf_counter()
    try:
        yield
    finally:
        if trace is not None:
            trace.seconds[name] = trace.seconds.get(name, 0.0) + time.perf_counter() - start


request_id: ContextVar[str] = ContextVar("clearsky_request_id", default="-")
"""The running request's number, for the log and for `X-Request-Id`."""
