"""A store of shared values: what every kind of it can do, whether a Redis server or a folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final, Literal, Protocol

MOST_STORED_BYTES: Final = 32 << 20
"""Size of a value up to which it is kept and read; a fill of 13 bands takes about 2 MB."""

Claim = Literal["mine", "taken", "there"]
"""Of whoever claims a name: nobody else does and nothing is kept under it; somebody else does; its value is there."""


class Store(Protocol):
    """Bytes by name, and claims on names, shared by processes; any method may raise `StoreFailedError`."""

    def get_many(self, names: Sequence[str]) -> list[bytes | None]:
        """What is kept under names; None where nothing is, no bytes where it is nothing that a store would keep."""

    def put(self, name: str, value: bytes) -> None:
        """Keep a value, whole or not at all."""

    def drop(self, name: str) -> None:
        """Keep it no longer."""

    def claim(self, name: str, token: str, seconds: float) -> Claim:
        """Claim a name whose value is to be computed; the claim ends by itself after a time."""

    def renew(self, name: str, token: str, seconds: float) -> None:
        """Let a claim end so much later, if it is still this one."""

    def release(self, name: str, token: str) -> None:
        """Give a claim back, if it is still this one."""

    def nbytes(self) -> int:
        """Bytes that it holds, as it last counted them."""

    def describe(self) -> str:
        """Where it is, without secrets."""


class StoreFailedError(Exception):
    """The store does not work at the moment; the server goes on without it."""


@contextmanager
def store_failures(*kinds: type[Exception]) -> Iterator[None]:
    """Errors of some kinds as `StoreFailedError`."""
    try:
        yield
    except kinds as error:
        what = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise StoreFailedError(f"{type(error).__name__}: {what}") from error
