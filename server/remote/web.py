"""Ranges of files over HTTP: every address checked, every answer complete, everything bounded in time."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any, Final, TypeVar
from urllib.parse import urldefrag, urljoin

from urllib3 import Timeout
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NameResolutionError, ReadTimeoutError

from server.errors import SourceDeniedError, SourceFaultError, SourceForbiddenError
from server.remote.allowlist import AllowList
from server.remote.connections import PrivatePeerError, connections, time_limit
from server.remote.logins import Logins
from server.remote.names import WEB, Address, parse_address
from server.remote.planetary import DENIED_STATUSES, TokenService, signable
from server.remote.redaction import redacted
from server.remote.rules import SETTING
from server.remote.signatures import shown_name, unsigned
from server.remote.transfer import ATTEMPTS, CONNECT, Part, Stamp
from server.remote.webanswers import REFUSED_STATUSES, Deadline, TransientError, read_part, read_whole

PAUSE: Final = 0.2
"""Seconds before the second attempt; doubled before each further one."""
HOPS: Final = 5
"""Redirects that are followed."""
LARGEST_DOCUMENT: Final = 1 << 16
"""Bytes of a document about credentials."""
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_KEPT_REDIRECTS: Final = frozenset({307, 308})

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class WebDocument:
    """What an address answers, whole."""

    data: bytes
    """The body."""
    where: str
    """Address that sent it, after redirects."""


@dataclass(frozen=True, slots=True)
class _Message:
    """What is sent to an address."""

    headers: dict[str, str]
    body: str | None = None
    """What is posted; None: a GET."""

    @property
    def method(self) -> str:
        return "GET" if self.body is None else "POST"

    @property
    def redirects(self) -> frozenset[int]:
        """Statuses of redirects that are followed: of a POST those that keep it one."""
        return _REDIRECTS if self.body is None else _KEPT_REDIRECTS

    def also(self, headers: Mapping[str, str]) -> _Message:
        """With further headers."""
        return replace(self, headers=self.headers | dict(headers))


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

        def read(answer: Any, where: str, deadline: Deadline) -> Part:
            return read_part(answer, shown_name(url), where, (start, stop), unless, deadline)

        return self._repeated(url, _Message(headers), read)

    def document(self, url: str, *, most_bytes: int, body: str | None = None) -> WebDocument:
        """The whole answer of a service, such as a page of a search.

        Args:
            url: its address, checked.
            most_bytes: how long it may be.
            body: JSON to post; None: it is asked for by GET.

        Raises:
            SourceMissingError, SourceForbiddenError, SourceTimeoutError. SourceFaultError: also an answer that is
                longer, compressed or cut off.
        """

        def read(answer: Any, where: str, deadline: Deadline) -> WebDocument:
            return WebDocument(read_whole(answer, shown_name(url), most_bytes, deadline), where)

        message = _Message({"Accept": "application/geo+json, application/json"})
        if body is not None:
            message = _Message(message.headers | {"Content-Type": "application/json"}, body)
        return self._repeated(url, message, read)

    def _repeated(self, url: str, message: _Message, read: Callable[[Any, str, Deadline], T]) -> T:
        """What is read of an address's answer, requested again where that may help."""
        deadline = Deadline(time.monotonic() + self._timeout, self._timeout)
        pause = PAUSE
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return self._attempt(url, message, read, deadline)
            except TransientError as failure:
                if attempt == ATTEMPTS or time.monotonic() + pause >= deadline.at:
                    raise failure.error from failure
                time.sleep(pause)
                pause *= 2
        raise AssertionError

    def _attempt(self, url: str, message: _Message, read: Callable[[Any, str, Deadline], T], deadline: Deadline) -> T:
        first, url = parse_address(url), shown_name(url)  # messages name the file
        where = first
        try:
            for _ in range(HOPS + 1):
                answer = self._let_in(first, where, message, deadline)
                try:
                    self._logins.keep(first, where, answer.headers.getlist("set-cookie"))
                    target = answer.headers.get("location")
                    if answer.status not in message.redirects or target is None:
                        if where != first and answer.headers.get("content-type", "").startswith("text/html"):
                            raise SourceDeniedError(
                                f"{url!r} leads to a log-in page of {where.host!r}; the operator can set "
                                f"credentials with {SETTING}"
                            )
                        return read(answer, str(where), deadline)
                finally:
                    answer.close()
                where = self._hop(url, where, target)
                if message.body is not None and where.host != first.host:
                    raise SourceForbiddenError(f"{url!r} redirects a POST to another host, {where.host!r}")
        except NameResolutionError as error:
            raise SourceFaultError(
                f"{url!r} cannot be fetched: its host {where.host!r} is unknown here; check the address"
            ) from error
        except (ConnectTimeoutError, ReadTimeoutError) as error:
            raise TransientError(deadline.error(url)) from error
        except HTTPError as error:
            reason = redacted(" ".join(str(error).split()))[:200]
            raise TransientError(
                SourceFaultError(f"{url!r} cannot be fetched: {reason}; try again or inform its provider")
            ) from error
        raise SourceFaultError(f"{url!r} redirects more than {HOPS} times; give the final address")

    def _let_in(self, first: Address, where: Address, message: _Message, deadline: Deadline) -> Any:
        """An answer, with the credentials that there are for an address on the way from `first`."""
        rule = self._logins.rule(where)
        told = rule is not None and rule.sign is not None
        blob = signable(where, told=told)
        sent = self._tokens.signed(where) if blob else where
        if blob and told and sent == where:
            sent = self._tokens.sign(where, where) or where
        answer = self._ask(sent, message.also(self._logins.headers(first, where)), deadline)
        # 404 with a token means what it says.
        denied = answer.status in (DENIED_STATUSES if sent == where else REFUSED_STATUSES)
        if blob and denied and (signed := self._tokens.sign(where, sent)):
            answer.close()
            answer = self._ask(signed, message, deadline)
        return answer

    def _document(self, where: Address, headers: Mapping[str, str]) -> bytes:
        """A small document, from the very address that was asked."""
        deadline = Deadline(time.monotonic() + self._timeout / ATTEMPTS, self._timeout / ATTEMPTS)
        self._allowed.check_address(where)
        try:
            answer = self._ask(where, _Message(dict(headers)), deadline)
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

    def _ask(self, where: Address, message: _Message, deadline: Deadline) -> Any:
        pools = self._listed if self._allowed.named(where) else self._public
        pool = pools.connection_from_host(where.host, where.port, where.scheme)
        silence = max(min(self._timeout / ATTEMPTS, deadline.at - time.monotonic()), 0.001)
        timeout = Timeout(connect=min(CONNECT, silence), read=silence)
        time_limit.set(silence=silence, deadline=deadline.at)
        try:
            return pool.urlopen(
                message.method,
                where.target,  # as it was compared: whole, and in its one form
                headers=self._headers | message.headers,
                body=message.body,
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
