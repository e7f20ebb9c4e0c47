"""The warm start: what maps lately showed is loaded before anybody asks for it, by a process that starts."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, Final, TypeVar

import anyio
from anyio import to_thread

from algorithms.loops import compiled_loops
from server.http.asgi import REPLAYED, Message, Scope
from server.http.recent import RecentViews
from server.work.metrics import Metrics
from server.work.readiness import Dependency
from server.work.shared import REST_SECONDS

WARM_CACHE_SHARE: Final = 0.5
"""Share of a cache that is filled at start."""
END_SECONDS: Final = 2.0
"""Time for what is under way when the process ends, and for the last notes."""
RETRY_SECONDS: Final = REST_SECONDS[0] + 0.1
"""After which a shared cache that did not answer is asked for the notes once more: it has been left alone so long."""
_PAUSE_SECONDS: Final = 0.02
"""Between two looks whether clients' requests are answered, which go first."""

T = TypeVar("T")

logger = logging.getLogger("clearsky")


class WarmStart:
    """Asks the application for the tiles that were lately asked for, as a client would.

    Whatever guards requests guards these: who writes to the shared cache can make a server do nothing that a client
    could not. They are made one after the other, while no client waits, in a bounded time; nothing remote is read for
    them, and their answers are dropped.
    """

    def __init__(
        self,
        recent: RecentViews,
        *,
        seconds: float,
        busy: Callable[[], bool],
        filled: Callable[[], float],
        metrics: Metrics,
    ) -> None:
        """Make it.

        Args:
            recent: the tiles.
            seconds: time for all; 0: nothing is loaded.
            busy: whether clients' requests are answered.
            filled: share of their bounds that the caches hold.
            metrics: where what is loaded is counted.
        """
        self._recent = recent
        self._seconds = seconds
        self._busy = busy
        self._filled = filled
        self._metrics = metrics
        self._running = False
        self._loaded = self._failed = 0
        self._taken = 0.0

    def state(self) -> Dependency:
        """For whoever asks whether the service can work: not before this is over."""
        done = f"{self._loaded} views loaded, {self._failed} that cannot be had"
        if self._running:
            return Dependency("failed", f"loads what was lately looked at: {done}; at most {self._seconds:g} s in all")
        return Dependency("ok", f"{done}, in {self._taken:.1f} s")

    @asynccontextmanager
    async def around(self, app: Any) -> AsyncIterator[None]:
        """Load while the application begins to serve, and save what it was asked for, now and then and at its end."""
        self._running = self._seconds > 0
        ended = asyncio.Event()
        tasks = [asyncio.create_task(self._load(app, ended)), asyncio.create_task(self._save(ended))]
        try:
            yield
        finally:
            ended.set()
            _, late = await asyncio.wait(tasks, timeout=END_SECONDS)
            for task in late:
                task.cancel()
            await _bounded(END_SECONDS, partial(self._recent.save, at_once=True))

    async def _save(self, ended: asyncio.Event) -> None:
        while not await _passed(ended, 1.0):
            await to_thread.run_sync(self._recent.save, abandon_on_cancel=True)

    async def _load(self, app: Any, ended: asyncio.Event) -> None:
        begun = time.monotonic()
        deadline = begun + self._seconds
        try:
            views = await self._noted(ended) if self._running else ()
            loops = compiled_loops()  # in a thread that holds up all others: a shared cache seems slow meanwhile
            for view in views:
                while time.monotonic() < deadline and self._busy() and not await _passed(ended, _PAUSE_SECONDS):
                    pass
                if ended.is_set() or time.monotonic() >= deadline or self._filled() > WARM_CACHE_SHARE:
                    break
                await self._ask(app, view, ended, deadline)
            if views and not ended.is_set():
                await _bounded(deadline - time.monotonic(), loops.wait)
        except Exception:
            logger.exception("the warm start was given up")
        finally:
            self._running, self._taken = False, time.monotonic() - begun
            if self._loaded or self._failed:
                logger.info("warm start: %s", self.state().detail)

    async def _noted(self, ended: asyncio.Event) -> tuple[str, ...]:
        """The notes; none where the shared cache fails, or is busy, twice."""
        deadline = time.monotonic() + self._seconds
        views = await _bounded(self._seconds, self._recent.saved)
        if views is None and not await _passed(ended, min(RETRY_SECONDS, deadline - time.monotonic())):
            views = await _bounded(deadline - time.monotonic(), self._recent.saved)
        return views or ()

    async def _ask(self, app: Any, view: str, ended: asyncio.Event, deadline: float) -> None:
        """Ask for one tile; at the deadline as a client that hangs up."""
        path, _, query = view.partition("?")
        status = 0
        asked = False

        async def receive() -> Message:
            nonlocal asked
            if not asked:
                asked = True
                return {"type": "http.request", "body": b"", "more_body": False}
            await _passed(ended, deadline - time.monotonic())
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)

        scope: Scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(b"host", b"localhost")],
            "client": None,
            "server": ("localhost", 80),
            REPLAYED: True,
        }
        try:
            await app(scope, receive, send)
        except Exception:  # whoever asks for it gets the error
            logger.debug("a view cannot be loaded", exc_info=True)
            status = 500
        self._loaded += status == 200
        self._failed += status != 200
        self._metrics.warmed(loaded=status == 200)


async def _bounded(seconds: float, call: Callable[[], T]) -> T | None:
    """The result of a call in another thread, which is left to itself after a time; None then."""
    with anyio.move_on_after(max(seconds, 0.0)):
        return await to_thread.run_sync(call, abandon_on_cancel=True)
    return None


async def _passed(event: asyncio.Event, seconds: float) -> bool:
    """Wait for an event, at most so long; whether it has come."""
    with suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), max(seconds, 0.0))
    return event.is_set()
