"""Byte-bounded caches with single flight: one computation however many requests wait for it."""

from __future__ import annotations

import dataclasses
import sys
import threading
from collections.abc import Callable, Hashable
from typing import Any, Final, TypeVar

import cachetools

from server.work.figures import CacheFigures
from server.work.ticket import check_wanted

T = TypeVar("T")


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
    """Least-recently-used cache, bounded by the bytes of its values.

    Only `condition=` makes cachetools compute a key once for all who ask at the same time; `lock=` guards no
    more than lookup and store.
    """

    def __init__(self, max_bytes: int, *, name: str = "tiles", size: Callable[[Any], int] = size_of) -> None:
        self.name: Final = name
        """What is kept, for whoever watches the figures."""
        self._entries: cachetools.LRUCache[Hashable, Any] = cachetools.LRUCache(max_bytes, getsizeof=size)
        self._condition = threading.Condition()
        self._fetch = cachetools.cached(self._entries, key=lambda key, _: key, condition=self._condition, info=True)(
            lambda _, compute: compute()
        )

    def get(self, key: Hashable, compute: Callable[[], T]) -> T:
        """The cached value of `key`, computed by the first who asks; an error is raised to each and not kept.

        Raises:
            AbandonedError, OverdueError: it is not there, and nobody waits for it any more.
        """

        def still_wanted() -> T:
            check_wanted()
            return compute()

        value: T = self._fetch(key, still_wanted)
        return value

    def peek(self, key: Hashable) -> bool:
        """Whether a value is cached now."""
        with self._condition:
            return key in self._entries

    @property
    def nbytes(self) -> int:
        """Bytes held now."""
        with self._condition:
            return int(self._entries.currsize)

    @property
    def figures(self) -> CacheFigures:
        """Bytes held now, and how often a value was there."""
        known = self._fetch.cache_info()
        return CacheFigures(self.name, "memory", int(known.currsize), known.hits, known.misses)
