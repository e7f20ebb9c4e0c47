"""Signatures of the Planetary Computer: tokens for containers of Azure Blob Storage, each asked for once.

The service's own Python package does this, too, but brings pystac and requests along and asks whatever host it likes.
"""

from __future__ import annotations

import json
import os
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

import cachetools

from algorithms.errors import ClearSkyError
from server.remote.names import Address, parse_address

SIGNING_SERVICE: Final = "https://planetarycomputer.microsoft.com/api/sas/v1/token"
"""Address of the service, unless `PC_SDK_SAS_URL` names another."""
BLOB_HOSTS: Final = ".blob.core.windows.net"
"""Hosts whose files may need a signature."""
DENIED: Final = frozenset({401, 403, 404, 409})
"""What Azure answers where an unsigned request may not read; 404 for some containers, whatever is in them."""
RENEWAL_SECONDS: Final = 120.0
"""Seconds before its end after which a token is renewed."""
LONGEST_TOKEN_SECONDS: Final = 86_400.0
"""Most seconds for which a token is used."""
REFUSED_SECONDS: Final = 60.0
"""Seconds for which a container without a token counts as such."""
KNOWN_CONTAINERS: Final = 1024
"""Containers that are remembered."""
_NAME: Final = re.compile(r"[a-z0-9$][a-z0-9-]{1,62}")

Fetch = Callable[[Address, Mapping[str, str]], bytes]
"""Gives a small document, from an address that the allow-list admits."""


@dataclass(frozen=True, slots=True)
class _Token:
    query: str | None
    """Parameters to add; None where there are none to be had."""
    asked: float
    """When it was asked for, on the monotonic clock."""
    until: float
    """Its end, on the same."""


def signable(address: Address, *, told: bool) -> bool:
    """Whether an address may be one of the Planetary Computer's, and is not signed.

    Args:
        address: any.
        told: whether the operator says that it is one.
    """
    names = [part.split("=", 1)[0].lower() for part in address.query.split("&")]
    return (told or address.host.endswith(BLOB_HOSTS)) and "sig" not in names


def _place(address: Address) -> tuple[str, str] | None:
    """Account and container of a blob; of another host's, as its emulators write it, the first parts of the path."""
    parts = address.path.split("/")[1:]
    if address.host.endswith(BLOB_HOSTS):
        parts.insert(0, address.host.removesuffix(BLOB_HOSTS))
    account, container = (*parts, "", "")[:2]
    return (account, container) if _NAME.fullmatch(account) and _NAME.fullmatch(container) else None


class TokenService:
    """Tokens by container, kept until shortly before they end; one request at a time for each."""

    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch
        self._base = (os.environ.get("PC_SDK_SAS_URL") or SIGNING_SERVICE).rstrip("/")
        self._lock = threading.Lock()
        self._asking: cachetools.LRUCache[tuple[str, str], threading.Lock] = cachetools.LRUCache(KNOWN_CONTAINERS)
        self._tokens: cachetools.LRUCache[tuple[str, str], _Token] = cachetools.LRUCache(KNOWN_CONTAINERS)

    def signed(self, address: Address) -> Address:
        """An address with the token that is there for its container; as it is where none is."""
        place = _place(address)
        return _with(address, self._known(place)) if place else address

    def sign(self, address: Address, refused: Address) -> Address | None:
        """An address with a token, asked for if need be.

        Args:
            address: without signature.
            refused: the form of it that has just been refused.

        Returns:
            None where there is no token, or no other than the one refused.
        """
        place = _place(address)
        if place is None:
            return None
        with self._lock:
            asking = self._asking.setdefault(place, threading.Lock())
        with asking:
            known = self._known(place)
            if known is None or (_with(address, known) == refused != address and _is_old(known)):
                known = self._ask(place)
                with self._lock:
                    self._tokens[place] = known
        found = _with(address, known)
        return None if found in (address, refused) else found

    def _known(self, place: tuple[str, str]) -> _Token | None:
        with self._lock:
            token = self._tokens.get(place)
        return token if token and time.monotonic() < token.until else None

    def _ask(self, place: tuple[str, str]) -> _Token:
        key = os.environ.get("PC_SDK_SUBSCRIPTION_KEY")
        headers = {"Accept": "application/json"} | ({"Ocp-Apim-Subscription-Key": key} if key else {})
        now = time.monotonic()
        try:
            answer = json.loads(self._fetch(parse_address("/".join((self._base, *place))), headers))
            token, end = str(answer["token"]), datetime.fromisoformat(answer["msft:expiry"])
            end = end if end.tzinfo else end.replace(tzinfo=UTC)
            left = (end - datetime.now(UTC)).total_seconds()
        except (ClearSkyError, ValueError, KeyError, TypeError):
            return _Token(None, now, now + REFUSED_SECONDS)
        # One that is about to end serves the request at hand.
        return _Token(token.lstrip("?"), now, now + min(max(left - RENEWAL_SECONDS, 1.0), LONGEST_TOKEN_SECONDS))


def _is_old(token: _Token) -> bool:
    """Whether another token might be better than this one, rather than just as bad."""
    return time.monotonic() - token.asked > REFUSED_SECONDS


def _with(address: Address, token: _Token | None) -> Address:
    if token is None or not token.query:
        return address
    return replace(address, query="&".join(filter(None, (address.query, token.query))))
