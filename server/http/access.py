"""The access log: a line for every request, without secrets."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, Final

from server.http.asgi import PROBED, Scope, below_root
from server.remote.redaction import redacted
from server.work.trace import Trace

_access_logger: Final = logging.getLogger("clearsky.access")

LONGEST_TARGET: Final = 2000
"""Characters of a path and its query in the log."""


@dataclass(frozen=True, slots=True)
class Access:
    """What the log says of a request."""

    number: str
    """The request's number, as in `X-Request-Id`."""
    method: str
    """Its method."""
    target: str
    """Path and query, percent-encoded, without the values of signatures and tokens."""
    status: int
    """Of the answer; 499 where the client has gone before."""
    seconds: float
    """From its arrival to the end of its answer."""
    sent: int
    """Bytes of the answer's body."""
    stages: dict[str, float]
    """Seconds by stage."""
    cloud: float | None
    """Share of the image that is cloud, where it is an image."""
    filled: float | None
    """Share of the image that is filled."""
    probe: bool
    """Whether a machine asks for it every few seconds."""

    @classmethod
    def of(cls, scope: Scope, *, number: str, status: int, seconds: float, sent: int, trace: Trace) -> Access:
        """What is known of a request that is over."""
        path = (scope.get("raw_path") or scope["path"].encode()).decode("latin-1")
        query = scope["query_string"].decode("latin-1")
        target = redacted(f"{path}?{query}" if query else path)[:LONGEST_TARGET]
        return cls(
            number,
            scope["method"],
            _printable(target),
            status,
            round(seconds, 6),
            sent,
            {stage: round(spent, 6) for stage, spent in trace.seconds.items()},
            trace.cloud_fraction,
            trace.filled_fraction,
            below_root(scope) in PROBED,
        )

    def __str__(self) -> str:
        stages = "".join(f" {stage}={1000 * spent:.1f}" for stage, spent in self.stages.items())
        return f"{self.method} {self.target} {self.status} {1000 * self.seconds:.1f} ms {self.sent} B{stages}"

    def fields(self) -> dict[str, Any]:
        """The same for a log in JSON."""
        known = {
            "method": self.method,
            "path": self.target,
            "status": self.status,
            "seconds": self.seconds,
            "bytes": self.sent,
            "stages": self.stages,
            "cloud_fraction": self.cloud,
            "filled_fraction": self.filled,
        }
        return {name: value for name, value in known.items() if value is not None}


def log_access(access: Access) -> None:
    """Write a line."""
    level = logging.DEBUG if access.probe else logging.INFO
    if _access_logger.isEnabledFor(level):
        _access_logger.log(level, "%s", access, extra={"request": access.number, "fields": access.fields()})


def _printable(text: str) -> str:
    """Text in which nothing looks like the end of a word or of a line."""
    if text.isprintable() and " " not in text:
        return text
    return "".join(c if c.isprintable() and c != " " else f"%{ord(c):02X}" for c in text)
