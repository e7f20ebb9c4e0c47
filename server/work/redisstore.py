"""A Redis server as the store of shared values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import urlsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from algorithms.errors import ParameterError
from server.work.store import StoreFailedError

REDIS_SECONDS: Final = 0.5
"""Time for one answer of Redis, and for a connection to it."""
REDIS_KEPT_SECONDS: Final = 30 * 24 * 3600
"""Time after which Redis forgets a value that nobody wrote again."""


@contextmanager
def _failures() -> Iterator[None]:
    try:
        yield
    # What is no answer of a Redis server makes its client fail in any way.
    except (redis.RedisError, OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise StoreFailedError(f"{type(error).__name__}: {error}") from error


class RedisStore:
    """A Redis server, which bounds its memory by itself (`maxmemory`, `maxmemory-policy allkeys-lru`)."""

    # Compare and delete in one step: a claim that has run out may be somebody else's by now.
    _RELEASE: Final = (
        "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) else return 0 end"
    )

    def __init__(self, url: str) -> None:
        """Connect at first use.

        Raises:
            ParameterError: the address cannot be read.
        """
        try:
            self._client = redis.Redis.from_url(
                url,
                socket_timeout=REDIS_SECONDS,
                socket_connect_timeout=REDIS_SECONDS,
                retry=Retry(NoBackoff(), 0),
            )
        except ValueError as error:
            raise ParameterError(f"CLEARSKY_CACHE_URL cannot be read: {error}") from error
        parts = urlsplit(url)
        self._where = f"{parts.scheme}://{parts.hostname or ''}{f':{parts.port}' if parts.port else ''}{parts.path}"

    def get_many(self, names: Sequence[str]) -> list[bytes | None]:
        """See `Store`."""
        with _failures():
            found: Any = self._client.mget(names)
            return [value if isinstance(value, bytes) else None for value in found]

    def put(self, name: str, value: bytes) -> None:
        """See `Store`."""
        with _failures():
            self._client.set(name, value, ex=REDIS_KEPT_SECONDS)

    def drop(self, name: str) -> None:
        """See `Store`."""
        with _failures():
            self._client.delete(name)

    def claim(self, name: str, token: str, seconds: float) -> bool:
        """See `Store`."""
        with _failures():
            return bool(self._client.set(name + ":claim", token, nx=True, px=int(1000 * seconds)))

    def release(self, name: str, token: str) -> None:
        """See `Store`."""
        with _failures():
            self._client.eval(self._RELEASE, 1, name + ":claim", token)

    def describe(self) -> str:
        """See `Store`."""
        return self._where
