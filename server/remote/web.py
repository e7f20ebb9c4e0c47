"""Ranges of files over HTTP: every address checked, every answer complete, everything bounded in time."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any, Final, NoReturn, TypeVar
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
from server.remote.logins import Logins
from server.remote.names import WEB, Address, parse_address
from server.remote.planetary import DENIED_STATUSES, TokenService, signable
from server.remote.redaction import redacted
from server.remote.rules import SETTING
from server.remote.signatures import shown_name, unsigned
from server.remote.transfer import ATTEMPTS, CONNECT, Part, Stamp

PAUSE: Final = 0.2
"""Seconds before the second attempt; doubled before each further one."""
MOST_JSON_BYTES: Final = 8 << 20
"""Bytes of a document in JSON that may be sent whole where its beginning was requested."""
HOPS: Final = 5
"""Redirects that are followed."""
LARGEST_DOCUMENT: Final = 1 << 16
"""Bytes of a document about credentials."""
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_REFUSED: Final = frozenset({401, 403, 409})
"""Statuses of who may not read; Azure answers 409 where a container is not public."""
_TRANSIENT: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_PIECE: Final = 1 << 18
_CONTENT_RANGE: Final = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18})")
_LENGTH: Final = re.compile(r"[0-9]{1,18}")
_JSON: Final = re.compile(r"application/(?:[\w.+-]{1,40}\+)?json\b", re.IGNORECASE)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class WebDocument:
    """What an address answers, whole."""

    data: bytes
    """The body."""
    where: str
    """Address that sent it, after redirects."""


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

    def __init__(self, allowed: AllowList, *, timeout: float, agent: str, logins: Logins) -> None:
        self._allowed = allowed
        self._logins = logins
        self._tokens = TokenService(self._document)
        self._timeout = timeout
        self._headers = {"User-Agent": agent, "Accept-Encoding": "identity"}
        self._listed = connections(public=False)
        self._public = connections(public=True)

    def fetch(self, url: str, start: int, stop: int, unless: Stamp | None = None) -> Part:
        """See `Transfer.fetch`."""
        headers = {"Range": f"bytes={start}-{stop - 1}"}
        if unless and unless.etag:
            headers["If-None-Match"] = unless.etag
        elif unless and unless.modified:
            headers["If-Modified-Since"] = unless.modified

        def read(answer: Any, where: str, deadline: float) -> Part:
            return self._part(answer, shown_name(url), where, (start, stop), unless, deadline)

        return self._repeated(url, headers, read)

    def document(self, url: str, *, most_bytes: int) -> WebDocument:
        """The whole answer of a service, such as a page of a search.

        Args:
            url: its address, checked.
            most_bytes: how long it may be.

        Raises:
            SourceMissingError, SourceForbiddenError, SourceTimeoutError. SourceFaultError: also an answer that is
                longer, compressed or cut off.
        """

        def read(answer: Any, where: str, deadline: float) -> WebDocument:
            return WebDocument(self._whole(answer, shown_name(url), most_bytes, deadline), where)

        return self._repeated(url, {"Accept": "application/geo+json, application/json"}, read)

    def _repeated(self, url: str, headers: dict[str, str], read: Callable[[Any, str, float], T]) -> T:
        """What is read of an address's answer, requested again where that may help."""
        deadline = time.monotonic() + self._timeout
        pause = PAUSE
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return self._attempt(url, headers, read, deadline)
            except _TransientError as failure:
                if attempt == ATTEMPTS or time.monotonic() + pause >= deadline:
                    raise failure.error from failure
                time.sleep(pause)
                pause *= 2
        raise AssertionError

    def _attempt(self, url: str, headers: dict[str, str], read: Callable[[Any, str, float], T], deadline: float) -> T:
        first, url = parse_address(url), shown_name(url)  # messages name the file
        where = first
        try:
            for _ in range(HOPS + 1):
                answer = self._let_in(first, where, headers, deadline)
                try:
                    self._logins.keep(first, where, answer.headers.getlist("set-cookie"))
                    target = answer.headers.get("location")
                    if answer.status not in _REDIRECTS or target is None:
                        if where != first and answer.headers.get("content-type", "").startswith("text/html"):
                            raise SourceDeniedError(
                                f"{url!r} leads to a page of {where.host!r}, to log in on; the operator can set "
                                f"credentials with {SETTING}"
                            )
                        return read(answer, str(where), deadline)
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

    def _let_in(self, first: Address, where: Address, headers: dict[str, str], deadline: float) -> Any:
        """An answer, with the credentials that there are for an address on the way from `first`."""
        rule = self._logins.rule(where)
        told = rule is not None and rule.sign is not None
        blob = signable(where, told=told)
        sent = self._tokens.signed(where) if blob else where
        if blob and told and sent == where:
            sent = self._tokens.sign(where, where) or where
        answer = self._ask(sent, headers | self._logins.headers(first, where), deadline)
        # 404 with a token means what it says.
        denied = answer.status in (DENIED_STATUSES if sent == where else _REFUSED)
        if blob and denied and (signed := self._tokens.sign(where, sent)):
            answer.close()
            answer = self._ask(signed, headers, deadline)
        return answer

    def _document(self, where: Address, headers: Mapping[str, str]) -> bytes:
        """A small document, from the very address that was asked."""
        deadline = time.monotonic() + self._timeout / ATTEMPTS
        self._allowed.check_address(where)
        try:
            answer = self._ask(where, dict(headers), deadline)
            try:
                if answer.status != HTTPStatus.OK:
                    raise SourceDeniedError(f"{str(where)!r} answers {answer.status}")
                data: bytes = answer.read(LARGEST_DOCUMENT, decode_content=False)
            finally:
                answer.close()
        except HTTPError as error:
            raise SourceFaultError(f"{str(where)!r} cannot be fetched") from error
        return data

    def _hop(self, url: str, here: Address, target: str) -> Address:
        """Where a redirect leads, if a request might have named it."""
        try:
            written = target.encode("latin-1", "replace").decode("utf-8", "replace").replace(" ", "%20")
            address = parse_address(urldefrag(urljoin(str(here), written)).url)
            if address.scheme not in WEB:
                raise SourceForbiddenError(f"{str(unsigned(address))!r} is not a web address")
        except SourceForbiddenError as error:
            raise SourceForbiddenError(f"{url!r} redirects: {error}") from error
        except ValueError as error:
            raise SourceForbiddenError(
                f"{url!r} redirects to {redacted(target)[:200]!r}, which is not an address"
            ) from error
        try:
            return self._allowed.check_address(address)
        except SourceForbiddenError as error:
            why = str(error).partition(" is not allowed: ")[2]
            # A login's answer would be in the query.
            shown = str(replace(address, query=""))[:200]
            raise SourceForbiddenError(f"{url!r} redirects: {shown!r} is not allowed: {why}") from error

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
        data = self._bytes(answer, url, length, deadline)
        if len(data) != length:
            raise _TransientError(
                SourceFaultError(
                    f"{url!r} came with {len(data)} bytes instead of {length}; try again or inform its provider"
                )
            )
        return data

    def _whole(self, answer: Any, url: str, most: int, deadline: float) -> bytes:
        """The body of an answer whose length may not be announced."""
        if answer.status != HTTPStatus.OK:
            _refuse(url, answer.status, 0)
        if answer.headers.get("content-encoding", "identity") != "identity":
            raise SourceFaultError(f"{url!r} is sent compressed, though that was not asked for; inform its provider")
        announced = answer.headers.get("content-length", "")
        if _LENGTH.fullmatch(announced) and int(announced) <= most:
            return self._body(answer, url, int(announced), deadline)
        data = b"" if announced else self._bytes(answer, url, most, deadline)
        if announced or len(data) > most:
            raise SourceFaultError(f"{url!r} answers with more than {most} bytes, the most that are read")
        return data

    def _bytes(self, answer: Any, url: str, most: int, deadline: float) -> bytes:
        """The body, or somewhat more than `most` bytes of a longer one."""
        pieces: list[bytes] = []
        got = 0
        while got <= most and (piece := answer.read1(_PIECE, decode_content=False)):
            got += len(piece)
            pieces.append(piece)
            if time.monotonic() > deadline:
                raise self._late(url)
        return b"".join(pieces)


def _validator(answer: Any, name: str) -> str | None:
    """A header to send with the next request, unless it contains what no header may."""
    value: str | None = answer.headers.get(name)
    return value if value and value.isascii() and value.isprintable() and len(value) <= 1024 else None


def _refuse(url: str, status: int, start: int) -> NoReturn:
    """The error for an answer without bytes."""
    if status in (404, 410):
        raise SourceMissingError(f"{url!r} does not exist (its server answers {status}); check the name")
    if status in _REFUSED:
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
        # A server may send a small file whole; of a large one that would be paid again with every part. Services that
        # answer in JSON know no parts.
        most = max(stop, MOST_JSON_BYTES if _JSON.match(answer.headers.get("content-type", "")) else 0)
        if start == 0 and _LENGTH.fullmatch(length) and int(length) <= most:
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
