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
from server.work.store import MOST_STORED_BYTES, Claim, store_failures
from server.work.timely import TimelySocket, allowing

REDIS_SECONDS: Final = 0.5
"""Time for one exchange with Redis without values, and for a connection to it."""
REDIS_BYTES_PER_SECOND: Final = 20e6
"""Values are given as much more time as they take at this rate."""
REDIS_KEPT_SECONDS: Final = 30 * 24 * 3600
"""Time after which Redis forgets a value that nobody wrote again."""
ANSWER_BYTES: Final = 64 << 10
"""Bound on an answer without values."""
READ_AT_ONCE_BYTES: Final = 64 << 20
"""Values that are read in one exchange, together; what is more is read in the next."""


class _Connection(redis.Connection):
    def _connect(self) -> Any:
        return TimelySocket(super()._connect())  # type: ignore[no-untyped-call]


class _SSLConnection(redis.SSLConnection):
    def _connect(self) -> Any:
        return TimelySocket(super()._connect())  # type: ignore[no-untyped-call]


class _UnixConnection(redis.UnixDomainSocketConnection):
    def _connect(self) -> Any:
        return TimelySocket(super()._connect())  # type: ignore[no-untyped-call]


_CONNECTIONS: Final = {"redis": _Connection, "rediss": _SSLConnection, "unix": _UnixConnection}


@contextmanager
def _exchange(nbytes: int = 0) -> Iterator[None]:
    """Bound what is exchanged meanwhile, next to values of so many bytes.

    What is no answer of a Redis server makes its client fail in any way.
    """
    errors = (redis.RedisError, OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError)
    seconds = REDIS_SECONDS + nbytes / REDIS_BYTES_PER_SECOND
    with store_failures(*errors), allowing(seconds=seconds, nbytes=nbytes + ANSWER_BYTES):
        yield


class RedisStore:
    """A Redis server, which bounds its memory by itself (`maxmemory`, `maxmemory-policy allkeys-lru`)."""

    # Compare and delete in one step: a claim that has run out may be somebody else's by now.
    _RELEASE: Final = (
        "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) else return 0 end"
    )

    _RENEW: Final = (
        "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('pexpire', KEYS[1], ARGV[2]) else return 0 end"
    )

    def __init__(self, url: str) -> None:
        """Connect at first use.

        Raises:
            ParameterError: the address cannot be read.
        """
        parts = urlsplit(url)
        try:
            self._client = redis.Redis.from_url(
                url,
                connection_class=_CONNECTIONS[parts.scheme],
                socket_timeout=REDIS_SECONDS,
                socket_connect_timeout=REDIS_SECONDS,
                retry=Retry(NoBackoff(), 0),
            )
        except (ValueError, KeyError) as error:
            raise ParameterError(f"CLEARSKY_CACHE_URL cannot be read: {error}") from error
        self._where = f"{parts.scheme}://{parts.hostname or ''}{f':{parts.port}' if parts.port else ''}{parts.path}"

    def get_many(self, names: Sequence[str]) -> list[bytes | None]:
        """See `Store`."""
        found: dict[str, bytes | None] = {}
        batch: list[str] = []
        total = 0
        for name, size in zip(names, self._sizes(names), strict=True):
            if size == 0:
                found[name] = None
            elif size > MOST_STORED_BYTES:
                found[name] = b""
            else:
                if total + size > READ_AT_ONCE_BYTES:
                    found |= self._values(batch, total)
                    batch, total = [], 0
                batch.append(name)
                total += size
        found |= self._values(batch, total)
        return [found[name] for name in names]

    def _sizes(self, names: Sequence[str]) -> list[int]:
        """Bytes under names, before any are read; of what is no value more than any has."""
        with _exchange(), self._client.pipeline(transaction=False) as asked:
            for name in names:
                asked.strlen(name)
            answers = asked.execute(raise_on_error=False)
            if any(isinstance(answer, redis.ResponseError) and "WRONGTYPE" not in str(answer) for answer in answers):
                raise next(answer for answer in answers if isinstance(answer, redis.ResponseError))
            return [answer if isinstance(answer, int) else MOST_STORED_BYTES + 1 for answer in answers]

    def _values(self, names: Sequence[str], nbytes: int) -> dict[str, bytes | None]:
        if not names:
            return {}
        with _exchange(nbytes + ANSWER_BYTES):
            values: Any = self._client.mget(names)
            return {
                name: value if isinstance(value, bytes) else None for name, value in zip(names, values, strict=True)
            }

    def put(self, name: str, value: bytes) -> None:
        """See `Store`."""
        with _exchange(len(value)):
            self._client.set(name, value, ex=REDIS_KEPT_SECONDS)

    def drop(self, name: str) -> None:
        """See `Store`."""
        with _exchange():
            self._client.delete(name)

    def claim(self, name: str, token: str, seconds: float) -> Claim:
        """See `Store`."""
        with _exchange(), self._client.pipeline(transaction=False) as asked:
            asked.set(name + ":claim", token, nx=True, px=int(1000 * seconds))
            asked.exists(name)  # looked up after the claim: its last holder may just have finished
            mine, there = asked.execute()
        if there:
            if mine:
                self.release(name, token)
            return "there"
        return "mine" if mine else "taken"

    def renew(self, name: str, token: str, seconds: float) -> None:
        """See `Store`."""
        with _exchange():
            self._client.eval(self._RENEW, 1, name + ":claim", token, str(int(1000 * seconds)))

    def release(self, name: str, token: str) -> None:
        """See `Store`."""
        with _exchange():
            self._client.eval(self._RELEASE, 1, name + ":claim", token)

    def nbytes(self) -> int:
        """See `Store`; all that the server holds, other users' values included."""
        with _exchange():
            memory: Any = self._client.info("memory")
            return int(memory["used_memory"])

    def describe(self) -> str:
        """See `Store`."""
        return self._where
