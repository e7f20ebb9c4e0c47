"""Signed addresses: the file's own address apart from its signature, and who has proved that it may be read.

A signature opens a file and says nothing of what is in it, so names, cache keys and entity tags go without. A token
says who asks, and a server may send everybody something else: a digest of it is part of the name. What has
been read by one signature is kept under the file's name; `server.remote.files` therefore lets nobody near a name who
has not been let in by the file's own server, with the signature that was given or with none. What a request still
has to ask that server, it asks with its own signature, never with that of another client.
"""

from __future__ import annotations

import hashlib
import threading
from dataclasses import replace
from functools import lru_cache
from typing import Final
from urllib.parse import unquote_plus

import cachetools

from server.errors import SourceForbiddenError
from server.remote.names import Address, parse_address
from server.remote.redaction import TOKEN_DIGITS, TOKEN_MARK, is_secret, is_token, redacted
from server.work.ticket import current_ticket

SIGNED_FILES: Final = 4096
"""Files whose signatures are remembered."""
MOST_SIGNATURES: Final = 8
"""Signatures remembered of one file: those of clients that each made their own."""


@lru_cache(maxsize=4096)
def unsigned(address: Address) -> Address:
    """An address without the parameters that sign it; the others as they are."""
    if not address.query:
        return address
    parts = address.query.split("&")
    names = [unquote_plus(part.split("=", 1)[0]).lower() for part in parts]
    kept = [part for name, part in zip(names, parts, strict=True) if not is_secret(name, names)]
    return address if len(kept) == len(parts) else replace(address, query="&".join(kept))


def unsigned_name(url: str) -> str:
    """The name of a file: its address without signature in its one form, with a digest of the tokens; a path as it is.

    Nobody can give such a name in place of the tokens: no address has a fragment. Raises as `parse_address` does.
    """
    if "://" not in url:
        return url
    address = parse_address(url)
    parts = [part.partition("=") for part in address.query.split("&")]
    tokens = [(name, unquote_plus(value)) for key, _, value in parts if is_token(name := unquote_plus(key).lower())]
    name = str(unsigned(address))
    if not tokens:
        return name
    return name + TOKEN_MARK + hashlib.sha256(repr((name, tokens)).encode()).hexdigest()[:TOKEN_DIGITS]


def plain_name(name: str) -> str:
    """The address in a file's name, without a digest."""
    return name.partition(TOKEN_MARK)[0] if "://" in name else name


def shown_name(url: str) -> str:
    """How to write an address or a name in an answer: without its secrets, otherwise as it is given."""
    try:
        shown = plain_name(unsigned_name(url))
        return url if "://" in url and shown == str(parse_address(url)) else shown
    except SourceForbiddenError:
        return redacted(url)


class Signatures:
    """By which addresses files may be had: each was let in by its server a moment ago."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: cachetools.LRUCache[str, tuple[str, ...]] = cachetools.LRUCache(SIGNED_FILES)

    def add(self, name: str, url: str) -> None:
        """Note that a file is had by an address, with a signature or without; the last one noted is asked first."""
        self.bind(name, url)
        with self._lock:
            known = self._known.get(name, ())
            if known or url != name:
                self._known[name] = (url, *(other for other in known if other != url))[:MOST_SIGNATURES]

    @staticmethod
    def bind(name: str, url: str) -> None:
        """Note the address by which the running request has a file."""
        if (ticket := current_ticket.get()) is not None and ticket.signatures is not None:
            ticket.signatures[name] = url

    def of(self, name: str) -> tuple[str, ...]:
        """Addresses to ask for a file, the first one in front; its own name where no signature is known.

        For a request only the one that it was let in by; for work of the process itself all that are known.
        """
        if (ticket := current_ticket.get()) is not None and ticket.signatures is not None:
            return (ticket.signatures.get(name, name),)
        return self.known(name)

    def known(self, name: str) -> tuple[str, ...]:
        """Addresses of a file by which anybody has had it."""
        with self._lock:
            return self._known.get(name) or (name,)

    def any(self, name: str) -> bool:
        """Whether somebody has had a file by a signature."""
        with self._lock:
            return name in self._known

    def drop(self, name: str, url: str) -> None:
        """Note that an address is refused."""
        with self._lock:
            left = tuple(other for other in self._known.pop(name, ()) if other != url)
            if left:
                self._known[name] = left
