"""What is fetched of remote files, whatever the protocol."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Protocol
from urllib.parse import urlsplit

from algorithms.errors import ClearSkyError

ATTEMPTS: Final = 3
"""Times a request is made before its failure counts."""
CONNECT: Final = 5.0
"""Seconds for a connection."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """What a server says of the state of a file."""

    size: int
    """Bytes."""
    etag: str | None = None
    """Entity tag, `W/` included."""
    modified: str | None = None
    """Time of the last modification, as the server writes it."""

    def agrees(self, other: Stamp) -> bool:
        """Whether both can be of one state: what only one of them states is no contradiction."""
        pairs = ((self.etag, other.etag), (self.modified, other.modified))
        return self.size == other.size and all(a == b for a, b in pairs if a is not None and b is not None)


@dataclass(frozen=True, slots=True)
class Part:
    """Bytes of a file."""

    data: bytes | None
    """None where the file is still in the state that the request named."""
    stamp: Stamp
    """State of the file they are from."""
    where: str
    """Address that sent them, after redirects."""


@dataclass(frozen=True, slots=True)
class Identity:
    """State of a remote file."""

    url: str
    """Its name."""
    version: str
    """Changes when the content changes."""
    stamp: Stamp
    """What the server said."""
    where: str = field(repr=False)
    """Address that sent it, after redirects."""
    asked: str = field(repr=False)
    """Address that was asked: the name, signed if it was had by a signature."""

    @property
    def host(self) -> str:
        """The host or bucket that was asked."""
        return host_of(self.url)


def host_of(url: str) -> str:
    """The host or bucket of an address."""
    return urlsplit(url).netloc


def again(error: ClearSkyError) -> ClearSkyError:
    """The same error for another request: one object raised by many threads would keep all their frames."""
    return type(error)(*error.args)


class Transfer(Protocol):
    """Fetches ranges of files by one protocol; bounded in time, retries included."""

    def fetch(self, url: str, start: int, stop: int, unless: Stamp | None = None) -> Part:
        """Bytes `start` to `stop` (excluded; fewer where the file ends), or the news that nothing changed.

        Raises:
            SourceMissingError, SourceForbiddenError, SourceTimeoutError, SourceFaultError.
        """
