"""Values shared between processes and hosts: looked up, computed by one of them, and never in the way of an answer."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, TypeVar

import cachetools

from server.work.codec import Codec, DamagedValueError
from server.work.figures import CacheFigures
from server.work.heartbeat import MOST_CLAIMED_SECONDS, Heartbeat
from server.work.pool import stepped_aside
from server.work.readiness import Dependency
from server.work.store import MOST_STORED_BYTES, Store, StoreFailedError
from server.work.ticket import Ticket, check_wanted, current_ticket

V = TypeVar("V")

logger = logging.getLogger("clearsky")

CLAIM_SECONDS: Final = 20.0
"""Time after which a claim ends that its holder does not renew: it is gone."""
CLAIM_POLL_SECONDS: Final = 0.05
"""Time between two looks for what another process computes."""
SLOW_SECONDS: Final = 0.1
"""An answer of the store that takes longer counts as slow."""
MOST_SLOW: Final = 5
"""Slow answers in a row after which the store is left alone for a while."""
REST_SECONDS: Final = (2.0, 30.0)
"""How long it is left alone: at first, and at most after failing again and again."""
ABSENT_SECONDS: Final = 5.0
"""How long it is remembered that a value was not there; whoever claims its name sees it if it is by then."""
REMEMBERED_ABSENT: Final = 4096
"""Names of which that is remembered."""
WEIGHED_SECONDS: Final = 10.0
"""How often a process that writes asks how much the store holds."""
ASKED_AT_ONCE: Final = 64
"""Values looked up in one request."""


@dataclass(frozen=True, slots=True)
class SharedState:
    """How a shared cache is doing."""

    store: str
    """Where it is, without secrets."""
    working: bool
    """Whether it answers in time, as far as is known."""
    trouble: str | None
    """The last failure, until the next success."""


def _always(_: object) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class NamedKey:
    """The key of a value that is told apart by words of its own."""

    kind: str
    """What is kept under such keys: a word."""
    words: tuple[str, ...]
    """All that the value depends on."""
    fits: Callable[[object], bool] = field(default=_always, compare=False, repr=False)
    """Whether what is found can be its value."""


def _any_fits(_key: Hashable, _value: object) -> bool:
    return True


class SharedCache:
    """A store behind the caches of several processes.

    A value that one process computes is found by the others; two that need the same at a time compute it once. A store
    that fails, answers slowly or sends garbage costs a bounded time: it is left alone for a while, and everything is
    computed as without it.
    """

    def __init__(
        self,
        store: Store,
        codec: Codec,
        name: Callable[[Hashable], str | None],
        fits: Callable[[Hashable, Any], bool] = _any_fits,
    ) -> None:
        """Make it.

        Args:
            store: where the values are kept.
            codec: values as bytes.
            name: the name of a key's value, the same in every process; None for keys whose values are not shared.
            fits: whether what is found under a key can be its value; what cannot is garbage.
        """
        self._store = store
        self._fits = fits
        self._codec = codec
        self._name = name
        self._lock = threading.Lock()
        self._resting_until = 0.0
        self._rest = REST_SECONDS[0]
        self._slow = 0
        self._left = 0
        self._trouble: str | None = None
        self._held = 0
        self._weighed = -WEIGHED_SECONDS
        self._absent: cachetools.TTLCache[str, bool] = cachetools.TTLCache(REMEMBERED_ABSENT, ABSENT_SECONDS)
        self._heartbeat = Heartbeat(self._renew, CLAIM_SECONDS)
        self.counts: Final[Counter[str]] = Counter()
        """Values found (`hits`), not found (`misses`), written (`writes`), and garbage (`damaged`)."""

    @property
    def state(self) -> SharedState:
        """How it is doing."""
        with self._lock:
            return SharedState(self._store.describe(), self._trouble is None, self._trouble)

    @property
    def figures(self) -> CacheFigures:
        """What the store held when this process last wrote to it, and how often a value was there."""
        with self._lock:
            return CacheFigures("shared", "shared", self._held, self.counts["hits"], self.counts["misses"])

    def dependency(self) -> Dependency:
        """Whether it works, for whoever asks whether the service does: it can do without."""
        state = self.state
        if state.trouble is None:
            return Dependency("ok", state.store)
        return Dependency("degraded", f"{state.store}: {state.trouble}; each process computes for itself meanwhile")

    def find(self, keys: Iterable[Hashable], *, counted: bool = True) -> dict[Hashable, Any]:
        """The values that are there, of any number of keys; looking again is not `counted`."""
        named = [(key, name) for key in keys if (name := self._name(key)) is not None]
        found: dict[Hashable, Any] = {}
        for start in range(0, len(named), ASKED_AT_ONCE):
            part = named[start : start + ASKED_AT_ONCE]
            names = [name for _, name in part]
            answers = self._ask(partial(self._store.get_many, names), patience=len(part))
            for (key, name), data in zip(part, answers or (), strict=False):  # none while the store is left alone
                value = _NOTHING if data is None else self._decoded(key, name, data)
                if value is not _NOTHING:
                    found[key] = value
                if counted or value is not _NOTHING:
                    self._count("misses" if value is _NOTHING else "hits")
                if data is None:
                    with self._lock:
                        self._absent[name] = True
        return found

    def get(self, key: Hashable, compute: Callable[[], V], *, lasting: Callable[[V], bool] = _always) -> V:
        """The value of a key: what another process has computed or is about to, else computed here and shared.

        Args:
            key: all that the value depends on.
            compute: computes it.
            lasting: whether a value that was computed is to be shared.

        Raises:
            AbandonedError, OverdueError: nobody waits for it any more. Whatever `compute` raises.
        """
        name = self._name(key)
        if name is None:
            return compute()
        with self._lock:
            absent = name in self._absent
        if not absent and key in (found := self.find([key])):
            value: V = found[key]
            return value
        token = secrets.token_hex(8)
        ticket = current_ticket.get() or Ticket()
        while True:
            claim = self._ask(lambda: self._store.claim(name, token, CLAIM_SECONDS))
            if claim == "there" and key in (found := self.find([key], counted=False)):
                late: V = found[key]
                return late
            # Without an answer, or with garbage in place of the value, there is nobody to wait for.
            if claim != "taken" or ticket.waited > MOST_CLAIMED_SECONDS:
                return self._computed(key, name, token, compute, lasting)
            with stepped_aside(), ticket.waiting():
                time.sleep(CLAIM_POLL_SECONDS)
            check_wanted()

    def _computed(
        self, key: Hashable, name: str, token: str, compute: Callable[[], V], lasting: Callable[[V], bool]
    ) -> V:
        try:
            with self._heartbeat.holding(name, token):
                value = compute()
            if lasting(value):
                self._put(key, name, value)
            return value
        finally:
            self._ask(lambda: self._store.release(name, token))

    def _renew(self, name: str, token: str) -> None:
        self._ask(lambda: self._store.renew(name, token, CLAIM_SECONDS))

    def put(self, key: Hashable, value: object) -> None:
        """Share a value."""
        if (name := self._name(key)) is not None:
            self._put(key, name, value)

    def _put(self, key: Hashable, name: str, value: object) -> None:
        data = self._codec.encode(value)
        if len(data) > MOST_STORED_BYTES or not self._fits(key, value):  # others would drop it
            return

        def write() -> None:
            self._store.put(name, data)
            self._count("writes")

        self._ask(write, patience=len(data) >> 16)
        if time.monotonic() - self._weighed >= WEIGHED_SECONDS:
            self._weighed = time.monotonic()
            if (held := self._ask(self._store.nbytes)) is not None:
                self._held = held

    def _decoded(self, key: Hashable, name: str, data: bytes) -> Any:
        try:
            value = self._codec.decode(data)
            if not self._fits(key, value):
                raise DamagedValueError("a value of another kind")
            return value
        except DamagedValueError as error:
            logger.warning("the shared cache has garbage under %s, which is dropped: %s", name, error)
            self._count("damaged")
            self._ask(lambda: self._store.drop(name))
            return _NOTHING

    def _ask(self, ask: Callable[[], V], *, patience: int = 1) -> V | None:
        """An answer of the store; None while it is left alone, and where it fails.

        Args:
            ask: the request.
            patience: how many times as long as a small request it may take.
        """
        with self._lock:
            if time.monotonic() < self._resting_until:
                return None
            left = self._left
        start = time.monotonic()
        try:
            answer = ask()
        except StoreFailedError as error:
            self._leave(str(error), left)
            return None
        late = time.monotonic() - start > SLOW_SECONDS * max(1, patience)
        with self._lock:
            if left != self._left:  # asked before the store was left alone: says nothing of how it does since
                return answer
            self._slow = self._slow + 1 if late else 0
            slow = self._slow >= (MOST_SLOW if self._trouble is None else 1)
            recovered = self._trouble is not None and not late
            if recovered:
                self._trouble, self._rest = None, REST_SECONDS[0]
                logger.warning("the shared cache %s works again", self._store.describe())
        if slow:
            self._leave(f"answers took more than {SLOW_SECONDS:g} s", left)
        return answer

    def _leave(self, trouble: str, left: int) -> None:
        """Leave the store alone for a while, unless that was done since it had been `left` so often."""
        with self._lock:
            if left != self._left:
                return
            self._left += 1
            first = self._trouble is None
            self._trouble, self._slow = trouble, 0
            self._resting_until = time.monotonic() + self._rest
            self._rest = min(2 * self._rest, REST_SECONDS[1])
            if first:  # within the lock, so that the log has both in their order
                logger.warning("going on without the shared cache %s: %s", self._store.describe(), trouble)
        self._count("failures")

    def _count(self, what: str) -> None:
        with self._lock:
            self.counts[what] += 1


_NOTHING: Final = object()
