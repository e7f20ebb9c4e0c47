"""Logging in to web servers: which credentials go to which host, on the way through redirects.

As `curl --netrc --location` with a cookie file does it: every host on the way gets the name and password that the netrc
file has for just this host, and the cookies that it has set itself; a bearer token goes to the addresses it is for.
"""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterable
from contextlib import suppress
from http.cookies import CookieError, Morsel, SimpleCookie
from typing import Final

import cachetools

from server.remote.allowlist import AllowList
from server.remote.names import Address
from server.remote.ownkeys import logins
from server.remote.rules import Rules, WebRule

COOKIE_HOSTS: Final = 256
"""Hosts whose cookies are kept."""
MOST_COOKIES: Final = 32
"""Cookies kept of one host."""
LONGEST_COOKIE: Final = 4096
"""Characters of one."""

_Origin = tuple[str, str, int | None]


class Logins:
    """Credentials for web servers, and the cookies of those that were logged in to."""

    def __init__(self, rules: Rules, allowed: AllowList) -> None:
        self._rules = rules
        self._allowed = allowed
        self._lock = threading.Lock()
        self._cookies: cachetools.LRUCache[_Origin, dict[str, str]] = cachetools.LRUCache(COOKIE_HOSTS)
        every = [rule for _, rule in rules.entries]
        self._logins = logins() if any(isinstance(rule, WebRule) and rule.netrc for rule in every) else {}

    def rule(self, address: Address) -> WebRule | None:
        """What the operator says of an address."""
        rule = self._rules.of(address)
        return rule if isinstance(rule, WebRule) else None

    def headers(self, start: Address, here: Address) -> dict[str, str]:
        """What to send to prove who asks.

        Args:
            start: the address that was asked for; where a redirect leads it decides whether there is a login at all.
            here: the address on the way that is asked now.
        """
        if here.scheme != "https" and not self._allowed.named(here):
            return {}  # anybody on the way could read it
        own, first = self.rule(here), self.rule(start)
        if own is not None and (token := own.token()):
            return {"Authorization": f"Bearer {token}"}
        if first is None or not first.netrc:
            return {}
        headers = {}
        with self._lock:
            cookies = self._kept(here)
        if cookies:
            headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in cookies.items())
        if login := self._logins.get(here.host):
            headers["Authorization"] = "Basic " + base64.b64encode(":".join(login).encode()).decode()
        return headers

    def keep(self, start: Address, here: Address, cookies: Iterable[str]) -> None:
        """Keep the cookies (`Set-Cookie`) that a host on the way has set, for itself only."""
        first = self.rule(start)
        if first is None or not first.netrc:
            return
        found: dict[str, str] = {}
        for text in cookies:
            if len(text) <= LONGEST_COOKIE:
                with suppress(CookieError):
                    found |= {name: _value(morsel) for name, morsel in SimpleCookie(text).items()}
        if found:
            with self._lock:
                kept = {name: value for name, value in (self._kept(here) | found).items() if value}
                self._cookies[_origin(here)] = dict(list(kept.items())[-MOST_COOKIES:])

    def _kept(self, here: Address) -> dict[str, str]:
        return self._cookies.get(_origin(here), {})


def _value(morsel: Morsel[str]) -> str:
    """A cookie's value as it was written; nothing for one that is taken back."""
    return "" if morsel["max-age"] == "0" else morsel.coded_value


def _origin(address: Address) -> _Origin:
    return (address.scheme, address.host, address.port)
