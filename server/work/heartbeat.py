"""Claims on names of a store, renewed while those who hold them compute: who is gone renews none."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

RENEWALS: Final = 4
"""How often a claim is renewed in the time for which it holds."""
MOST_CLAIMED_SECONDS: Final = 60.0
"""Time for which a claim is renewed, and waited for, at most: what takes longer may never end."""


class Heartbeat:
    """Renews claims from a thread of its own, which lives as long as there are any."""

    def __init__(self, renew: Callable[[str, str], object], seconds: float) -> None:
        """Make it.

        Args:
            renew: renews the claim on a name by its token.
            seconds: for how long a claim holds.
        """
        self._renew = renew
        self._every = seconds / RENEWALS
        self._held: dict[tuple[str, str], float] = {}
        self._changed = threading.Condition()
        self._beating = False

    @contextmanager
    def holding(self, name: str, token: str) -> Iterator[None]:
        """Renew a claim meanwhile."""
        with self._changed:
            self._held[name, token] = time.monotonic() + MOST_CLAIMED_SECONDS
            if not self._beating:
                self._beating = True
                threading.Thread(target=self._beat, name="claims", daemon=True).start()
        try:
            yield
        finally:
            with self._changed:
                del self._held[name, token]
                self._changed.notify()

    def _beat(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: not self._held, self._every)
                if not self._held:
                    self._beating = False
                    return
                due = [claim for claim, until in self._held.items() if time.monotonic() < until]
            for name, token in due:
                self._renew(name, token)
