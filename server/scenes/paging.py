"""What brings the next page of a search: an address, by GET or with a body by POST."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl, urljoin, urlsplit

from server.errors import SourceUnreadableError
from server.remote.names import LONGEST_ADDRESS
from server.scenes.bounded import mapping_of

LONGEST_BODY_BYTES: Final = 1 << 16
"""Bytes that are posted for a page: a search by an outline of a few thousand corners."""


@dataclass(frozen=True, slots=True)
class PageRequest:
    """What a page is asked for with."""

    address: str
    """Where."""
    body: str | None = None
    """JSON that is posted; None: the page is asked for by GET."""


def next_request(links: Iterable[Mapping[str, Any]], where: str, asked: PageRequest) -> PageRequest | None:
    """What brings the next page, by GET if that does; None where no link can be followed.

    A body is posted to the page's own host alone. Headers that a link names are not sent.

    Args:
        links: those to the next page.
        where: address of the page.
        asked: what has brought it.

    Raises:
        SourceUnreadableError: a link to what is no web address, or that posts too much, elsewhere or what is no JSON.
    """
    named = [link for link in links if isinstance(link.get("href"), str)]
    for method, request in (("GET", _got), ("POST", _posted)):
        for link in named:
            if str(link.get("method") or "GET").upper() == method:
                return request(link, joined_address(where, link["href"]), where, asked)
    return None


def joined_address(where: str, href: str) -> str:
    """The address that a document leads to.

    Args:
        where: the document's.
        href: what it says.

    Raises:
        SourceUnreadableError: that is no web address.
    """
    try:
        address = urljoin(where, href) if len(href) <= LONGEST_ADDRESS else ""
    except ValueError:
        address = ""
    if not address.isprintable() or not address.startswith(("https://", "http://")) or len(address) > LONGEST_ADDRESS:
        raise SourceUnreadableError(f"{where[:200]!r} leads to {href[:100]!r}, which is not a web address")
    return address


def _got(_link: Mapping[str, Any], address: str, _where: str, _asked: PageRequest) -> PageRequest:
    return PageRequest(address)


def _posted(link: Mapping[str, Any], address: str, where: str, asked: PageRequest) -> PageRequest:
    if urlsplit(address)[:2] != urlsplit(where)[:2]:
        raise SourceUnreadableError(
            f"{where[:200]!r} has its next page by POST at {address[:100]!r}, another host; name what it finds instead"
        )
    own = mapping_of(link.get("body"))
    # What is merged replaces members of the request that it continues.
    content = {**_parameters(asked), **own} if link.get("merge") is True else own
    try:
        body = json.dumps(content, sort_keys=True, allow_nan=False)
    except (ValueError, RecursionError) as error:  # numbers that JSON has not; nested too deep
        raise SourceUnreadableError(f"{where[:200]!r} wants posted for its next page what is no plain JSON") from error
    if len(body) > LONGEST_BODY_BYTES:
        raise SourceUnreadableError(
            f"{where[:200]!r} wants {len(body)} bytes posted for its next page; up to {LONGEST_BODY_BYTES} are"
        )
    return PageRequest(address, body)


def _parameters(asked: PageRequest) -> Mapping[str, Any]:
    """The members of a search, in the form of a body."""
    if asked.body is not None:
        return mapping_of(json.loads(asked.body))
    return {name: _member(name, text) for name, text in parse_qsl(urlsplit(asked.address).query)}


def _member(name: str, text: str) -> Any:
    """A parameter of a query as a member of a body; as it is where it has no other form."""
    read = _FORMS.get(name, str)
    try:
        return read(text)
    except (ValueError, RecursionError):
        return text


def _numbers(text: str) -> list[float]:
    return [float(number) for number in text.split(",")]


_FORMS: Final[dict[str, Callable[[str], Any]]] = {
    "collections": lambda text: text.split(","),
    "ids": lambda text: text.split(","),
    "bbox": _numbers,
    "limit": int,
    "intersects": json.loads,
    "query": json.loads,
}


__all__ = ["LONGEST_BODY_BYTES", "PageRequest", "joined_address", "next_request"]
