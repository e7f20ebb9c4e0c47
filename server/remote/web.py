"""Ranges of files over HTTP: every address checked, every answer complete, everything bounded in time."""

from __future__ import annotations

import re
import time
from http import HTTPStatus
from typing import Any, Final, NoReturn
from urllib.parse import urldefrag, urljoin

from urllib3 import Timeout
from urllib3.exceptions import ConnectTimeoutError, HTTPError, ReadTimeoutError

from server.errors import (
    SourceChangedError,
    SourceDeniedError,
    SourceFaultError,
    SourceForbiddenError,
    SourceMissingError,
    SourceTimeoutError,
)
from server.remote.allowlist import AllowList
from server.remote.connections import PrivatePeerError, connections, time_limit
from server.remote.names import WEB, Address, parse_address
from server.remote.redaction import redacted
from server.remote.signatures import unsigned, unsigned_name
from server.remote.transfer import ATTEMPTS, CONNECT, Part, Stamp

PAUSE: Final = 0.2
"""Seconds before the second attempt; doubled before each further one."""
HOPS: Final = 5
"""Redirects that are followed."""
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_TRANSIENT: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_PIECE: Final = 1 << 18
_CONTENT_RANGE: Final = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18})")
_LENGTH: Final = re.compile(r"[0-9]{1,18}")


class _TransientError(Exception):
    """A failure that another attempt may avoid."""

    def __init__(self, error: SourceFaultError) -> None:
        super().__init__(str(error))
        self.error = error


class WebTransfer:
    """Fetches ranges from `https` and, where the operator admits it, `http` addresses.

    Redirects are followed here, hop by hop, each checked like an address in a request. Connections to addresses
    that no prefix on the list names must end at a public peer.
    """

    def __init__(self, allowed: AllowList, *, timeout: float, agent: str) -> None:
        self._allowed = allowed
        self._timeout = timeout
        self._headers = {"User-Agent": agent, "Accept-Encoding": "identity"}
        self._listed = connections(public=False)
        self._public = connections(public=True)

    def fetch(self, url: str, start: int, stop: int, unless: Stamp | None = None) -> Part:
        """See `Transfer.fetch`."""
        deadline = time.monotonic() + self._timeout
        pause = PAUSE
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return self._attempt(url, start, stop, unless, deadline)
            except _TransientError as failure:
                if attempt == ATTEMPTS or time.monotonic() + pause >= deadline:
                    raise failure.error from failure
                time.sleep(pause)
                pause *= 2
        raise AssertionError

    def _attempt(self, url: str, start: int, stop: int, unless: Stamp | None, deadline: float) -> Part:
        headers = {"Range": f"bytes={start}-{stop - 1}"}
        if unless and unless.etag:
            headers["If-None-Match"] = unless.etag
        elif unless and unless.modified:
            headers["If-Modified-Since"] = unless.modified
        where, url = parse_address(url), unsigned_name(url)  # messages name the file
        try:
            for _ in range(HOPS + 1):
                answer = self._ask(where, headers, deadline)
                try:
                    target = answer.headers.get("location")
                    if answer.status not in _REDIRECTS or target is None:
                        return self._part(answer, url, str(where), (start, stop), unless, deadline)
                finally:
                    answer.close()
                where = self._hop(url, where, target)
        except (ConnectTimeoutError, ReadTimeoutError) as error:
            raise _TransientError(self._late(url)) from error
        except HTTPError as error:
            reason = redacted(" ".join(str(error).split()))[:200]
            raise _TransientError(
                SourceFaultError(f"{url!r} cannot be fetched: {reason}; try again or inform its provider")
            ) from error
        raise SourceFaultError(f"{url!r} redirects more than {HOPS} times; give the final address")

    def _hop(self, url: str, here: Address, target: str) -> Address:
        """Where a redirect leads, if a request might have named it."""
        try:
            written = target.encode("latin-1", "replace").decode("utf-8", "replace").replace(" ", "%20")
            address = parse_address(urldefrag(urljoin(str(here), written)).url)
            if address.scheme not in WEB:
                raise SourceForbiddenError(f"{str(unsigned(address))!r} is not a web address")
            return self._allowed.check_address(address)
        except SourceForbiddenError as error:
            raise SourceForbiddenError(f"{url!r} redirects: {error}") from error
        except ValueError as error:
            raise SourceForbiddenError(
                f"{url!r} redirects to {redacted(target)[:200]!r}, which is not an address"
            ) from error

    def _late(self, url: str) -> SourceTimeoutError:
        return SourceTimeoutError(
            f"{url!r} was not sent within {self._timeout:g} s; try again, or raise CLEARSKY_SOURCE_TIMEOUT"
        )

    def _ask(self, where: Address, headers: dict[str, str], deadline: float) -> Any:
        pools = self._listed if self._allowed.named(where) else self._public
        pool = pools.connection_from_host(where.host, where.port, where.scheme)
        silence = max(min(self._timeout / ATTEMPTS, deadline - time.monotonic()), 0.001)
        timeout = Timeout(connect=min(CONNECT, silence), read=silence)
        time_limit.set(silence=silence, deadline=deadline)
        try:
            return pool.urlopen(
                "GET",
                where.target,  # as it was compared: whole, and in its one form
                headers=self._headers | headers,
                timeout=timeout,
                redirect=False,
                retries=False,
                assert_same_host=False,
                preload_content=False,
            )
        except PrivatePeerError as error:
            raise SourceForbiddenError(
                f"{str(unsigned(where))!r} is not allowed: its host has the private address {error}; "
                "the operator can admit its URL prefix with CLEARSKY_ALLOWED_SOURCES"
            ) from error

    def _part(
        self, answer: Any, url: str, where: str, wanted: tuple[int, int], unless: Stamp | None, deadline: float
    ) -> Part:
        if answer.status == HTTPStatus.NOT_MODIFIED and unless:
            return Part(None, unless, where)
        if answer.status not in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
            _refuse(url, answer.status, wanted[0])
        first, last, size = _span(answer, url, wanted)
        stamp = Stamp(size, _validator(answer, "etag"), _validator(answer, "last-modified"))
        data = self._body(answer, url, last - first, deadline)
        return Part(data, stamp, where)

    def _body(self, answer: Any, url: str, length: int, deadline: float) -> bytes:
        """The whole body, and no more than was announced."""
        pieces: list[bytes] = []
        got = 0
        while piece := answer.read1(_PIECE, decode_content=False):
            got += len(piece)
            pieces.append(piece)
            if got > length:
                break
            if time.monotonic() > deadline:
                raise self._late(url)
        if got != length:
            raise _TransientError(
                SourceFaultError(f"{url!r} came with {got} bytes instead of {length}; try again or inform its provider")
            )
        return b"".join(pieces)


def _validator(answer: Any, name: str) -> str | None:
    """A header to send with the next request, unless it contains what no header may."""
    value: str | None = answer.headers.get(name)
    return value if value and value.isascii() and value.isprintable() and len(value) <= 1024 else None


def _refuse(url: str, status: int, start: int) -> NoReturn:
    """The error for an answer without bytes."""
    if status in (404, 410):
        raise SourceMissingError(f"{url!r} does not exist (its server answers {status}); check the name")
    if status in (401, 403):
        raise SourceDeniedError(f"{url!r} is refused by its server ({status}); give a public or signed address")
    if status == 416 and start:
        raise SourceChangedError(f"{url!r} changed while it was read: it is shorter now; try again")
    error = SourceFaultError(
        f"{url!r} cannot be fetched: its server answers {status}; try again or inform its provider"
    )
    if status in _TRANSIENT:
        raise _TransientError(error)
    raise error


def _span(answer: Any, url: str, wanted: tuple[int, int]) -> tuple[int, int, int]:
    """First and last byte (excluded) of the body, and the file's size."""
    start, stop = wanted
    length = answer.headers.get("content-length", "")
    if answer.headers.get("content-encoding", "identity") != "identity":
        raise SourceFaultError(f"{url!r} is sent compressed, so its parts cannot be read; inform its provider")
    if answer.status == HTTPStatus.OK:
        # A server may send a small file whole; of a large one that would be paid again with every part.
        if start == 0 and _LENGTH.fullmatch(length) and int(length) <= stop:
            return 0, int(length), int(length)
        raise SourceFaultError(
            f"the server of {url!r} sends no parts of files (it ignores `Range`); use a server that supports ranges"
        )
    match = _CONTENT_RANGE.fullmatch(answer.headers.get("content-range", ""))
    if match is None:
        raise SourceFaultError(f"the server of {url!r} does not say which part it sends (`Content-Range`)")
    first, last, size = (int(group) for group in match.groups())
    if first != start or last != min(stop, size) - 1:
        raise SourceFaultError(f"the server of {url!r} sends bytes {first}-{last} instead of {start}-{stop - 1}")
    return first, last + 1, size
