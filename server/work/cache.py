"""Byte-bounded caches with single flight: one computation however many requests wait for it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import Any, Protocol, TypeVar

import cachetools


class Sized(Protocol):
    """What the cache can hold: anything that knows its size in bytes."""

    @property
    def nbytes(self) -> int:
        """Size in bytes."""


T = TypeVar("T", bound=Sized)


class TileCache:
    """Least-recently-used cache of arrays, bounded by bytes.

    Only `condition=` makes cachetools compute a key once for all who ask at the same time; `lock=` guards no
    more than lookup and store.
    """

    def __init__(self, max_bytes: int) -> None:
        self._entries: cachetools.LRUCache[Hashable, Any] = cachetools.LRUCache(max_bytes, getsizeof=lambda v: v.nbytes)
        self._condition = threading.Condition()
        self._fetch = cachetools.cached(self._entries, key=lambda key, _: key, condition=self._condition)(
            lambda _, compute: compute()
        )

    def get(self, key: Hashable, compute: Callable[[], T]) -> T:
        """The cached value of `key`, computed by the first who asks; an error is raised to each and not kept."""
        value: T = self._fetch(key, compute)
        return value

    def peek(self, key: Hashable) -> bool:
        """Whether a value is there now."""
        with self._condition:
            return key in self._entries

    @property
    def nbytes(self) -> int:
        """Bytes held now."""
        with self._condition:
            return int(self._entries.currsize)
