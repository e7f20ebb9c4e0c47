"""A store of shared values: what every kind of it can do, whether a Redis server or a folder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Store(Protocol):
    """Bytes by name, and claims on names, shared by processes; any method may raise `StoreFailedError`."""

    def get_many(self, names: Sequence[str]) -> list[bytes | None]:
        """What is kept under names; None where nothing is."""

    def put(self, name: str, value: bytes) -> None:
        """Keep a value, whole or not at all."""

    def drop(self, name: str) -> None:
        """Keep it no longer."""

    def claim(self, name: str, token: str, seconds: float) -> bool:
        """Whether nobody else claims a name; the claim ends by itself after a time."""

    def release(self, name: str, token: str) -> None:
        """Give a claim back, if it is still this one."""

    def describe(self) -> str:
        """Where it is, without secrets."""


class StoreFailedError(Exception):
    """The store does not work at the moment; the server goes on without it."""
