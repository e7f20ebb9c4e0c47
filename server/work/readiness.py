"""Whether the service can work: the state of what it depends on, looked up part by part."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "degraded", "failed"]
"""`degraded`: the service works, with less than was set up. `failed`: it cannot answer requests."""


@dataclass(frozen=True, slots=True)
class Dependency:
    """The state of one part that the service depends on."""

    state: State
    """Whether it works."""
    detail: str
    """What was found; where something is wrong, with the remedy."""


class Readiness:
    """Checks by name, run whenever somebody asks; each takes milliseconds and raises nothing it foresees."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._checks: dict[str, Callable[[], Dependency]] = {}

    def add(self, name: str, check: Callable[[], Dependency]) -> None:
        """Register the check of a part; one of the same name is replaced."""
        with self._lock:
            self._checks[name] = check

    def states(self) -> dict[str, Dependency]:
        """The state of every part, by name; a check that fails itself counts as failed."""
        with self._lock:
            checks = dict(self._checks)
        return {name: _checked_part(check) for name, check in checks.items()}


def _checked_part(check: Callable[[], Dependency]) -> Dependency:
    try:
        return check()
    except Exception as error:
        return Dependency("failed", f"cannot be checked: {type(error).__name__}: {error}")


def is_ready(states: Mapping[str, Dependency]) -> bool:
    """Whether the service can answer requests: nothing that it depends on has failed."""
    return all(part.state != "failed" for part in states.values())
