"""Byte-bounded caches with single flight: one computation however many requests wait for it."""

from __future__ import annotations

import dataclasses
import sys
import threading
from collections.abc import Callable, Hashable, Iterable, Sequence
from contextlib import suppress
from typing import Any, Final, TypeVar

import cachetools

from server.work.figures import CacheFigures
from server.work.flight import Flights
from server.work.shared import SharedCache

T = TypeVar("T")

_NOTHING: Final[Any] = object()


def size_of(value: object) -> int:
    """Bytes that a value holds: the arrays in it, with what Python itself takes for the rest.

    Looks into dataclasses, tuples, lists and dictionaries; what two values share counts for each.
    """
    if (nbytes := getattr(value, "nbytes", None)) is not None:
        return int(nbytes)
    parts: list[Any] = []
    if dataclasses.is_dataclass(value):
        parts = [getattr(value, field.name) for field in dataclasses.fields(value)]
    elif isinstance(value, (tuple, list)):
        parts = list(value)
    elif isinstance(value, dict):
        parts = [*value.keys(), *value.values()]
    return sys.getsizeof(value) + sum(size_of(part) for part in parts)


class TileCache:
    """Least-recently-used cache, bounded by the bytes of its values."""

    def __init__(
        self,
        max_bytes: int,
        *,
        name: str = "tiles",
        size: Callable[[Any], int] = size_of,
        shared: SharedCache | None = None,
        lender: TileCache | None = None,
    ) -> None:
        """Make it.

        Args:
            max_bytes: bound on the values, together.
            name: what is kept, for whoever watches the figures.
            size: bytes of a value.
            shared: where other processes' values are found and this one's are left.
            lender: a cache whose free bytes are used, too, until it needs them itself; it lends to one alone.
        """
        self._name = name
        self._shared = shared
        self._max_bytes = max_bytes
        self._lender = lender
        self._borrower: TileCache | None = None
        if lender is not None:
            lender._borrower = self
        most = max_bytes if lender is None else max_bytes + lender._max_bytes
        self._entries: cachetools.LRUCache[Hashable, Any] = cachetools.LRUCache(most, getsizeof=size)
        self._lock = threading.Lock()
        self._flights = Flights()
        self._hits = self._misses = 0

    def get(self, key: Hashable, compute: Callable[[], T]) -> T:
        """The cached value of `key`, computed by the first who asks; an error is not kept.

        Raises:
            AbandonedError, OverdueError: it is not there, and nobody waits for it any more. See `Flights.run`.
        """
        found: T = self._found(key)
        return self._flights.run(key, lambda: self._made(key, compute)) if found is _NOTHING else found

    def _found(self, key: Hashable) -> Any:
        with self._lock:
            try:
                found = self._entries[key]  # `get` hashes the key twice as often
            except KeyError:
                return _NOTHING
            self._hits += 1
            return found

    def _made(self, key: Hashable, compute: Callable[[], T]) -> T:
        found: T = self._found(key)
        if found is not _NOTHING:  # by another, in the meantime
            return found
        with self._lock:
            self._misses += 1
        value = compute() if self._shared is None else self._shared.get(key, compute)
        self._keep(key, value)
        return value

    def _keep(self, key: Hashable, value: object) -> None:
        with self._lock, suppress(ValueError):  # larger than the cache
            self._entries[key] = value
        for cache in (self, self._borrower):
            if cache is not None and cache._lender is not None:
                cache._give_back()

    @property
    def _bound(self) -> int:
        """Bytes that may be held now."""
        return self._max_bytes + (0 if self._lender is None else self._lender._max_bytes - self._lender.nbytes)

    def _give_back(self) -> None:
        bound = self._bound
        with self._lock:
            while self._entries and self._entries.currsize > bound:
                self._entries.popitem()

    def load(self, keys: Iterable[Hashable]) -> None:
        """Take what other processes have computed already of several keys, in few requests."""
        if self._shared is None:
            return
        wanted = tuple(keys)  # made without the lock: their maker may look into the cache
        with self._lock:
            missing = [key for key in wanted if key not in self._entries]
        for key, value in self._shared.find(missing).items():
            self._keep(key, value)

    def held(self, keys: Iterable[Hashable]) -> list[Any]:
        """What is cached now of several keys, None for what is not."""
        wanted, found = tuple(keys), list[Any]()
        with self._lock:
            for key in wanted:
                try:
                    found.append(self._entries[key])
                    self._hits += 1
                except KeyError:
                    found.append(None)
        return found

    def drop(self, keys: Sequence[Hashable]) -> None:
        """Keep several values no longer, in this process."""
        with self._lock:
            for key in keys:
                self._entries.pop(key, None)

    @property
    def keys(self) -> tuple[Hashable, ...]:
        """Keys of all that is cached now."""
        with self._lock:
            return tuple(self._entries)

    def peek(self, key: Hashable) -> bool:
        """Whether a value is cached now."""
        with self._lock:
            return key in self._entries

    @property
    def nbytes(self) -> int:
        """Bytes held now."""
        with self._lock:
            return int(self._entries.currsize)

    @property
    def share(self) -> float:
        """Share of its bound that it holds now."""
        return self.nbytes / self._bound

    @property
    def figures(self) -> CacheFigures:
        """Bytes held now, and how often a value was there."""
        with self._lock:
            return CacheFigures(self._name, "memory", int(self._entries.currsize), self._hits, self._misses)
