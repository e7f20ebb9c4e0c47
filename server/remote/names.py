r"""Addresses of datasets in one form: what is compared with the allow-list is what is requested.

Servers differ in what they make of `%2e%2e`, `..;`, `\\` or `//host`: every name that any of them may take for another
place is refused, and the rest is written in one way (RFC 3986, section 6) before it is used.
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from typing import Final
from urllib.parse import quote, unquote_to_bytes, urlsplit

from server.errors import SourceForbiddenError
from server.remote.redaction import redacted

WEB: Final = ("https", "http")
OBJECTS: Final = ("s3", "gs", "az")
SCHEMES: Final = (*WEB, *OBJECTS)
"""Schemes of addresses that can be read."""
LONGEST_ADDRESS: Final = 8192
"""Characters of an address: signed ones take 2,000."""

_PORTS: Final = {"https": 443, "http": 80}
_LABELS: Final = re.compile(
    r"(?=.{1,253}\Z)[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?)*"
)
_BUCKET: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,253}[A-Za-z0-9])?")
_AUTHORITY: Final = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^:\[\]@%/?#]*)(?::(?P<port>[0-9]{0,5}))?")
_ESCAPE: Final = re.compile(r"%([0-9A-Fa-f]{2})?")
_PLAIN: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_PATH: Final = "/!$&'()*+,;=:@-._~"
_QUERY: Final = _PATH + "?"
_ROUNDS: Final = 4
"""Times that a path is decoded to find what nested servers and proxies may make of it."""


@dataclass(frozen=True, slots=True)
class Address:
    """An address in its one form."""

    scheme: str
    """One of `SCHEMES`."""
    host: str
    """Host in lower case without a final dot, IPv6 without brackets; or a bucket."""
    port: int | None
    """None where it is the scheme's own."""
    path: str
    """Beginning with `/`, percent-encoded only where it must be."""
    query: str
    """Without `?`, as it was given."""

    @property
    def target(self) -> str:
        """Path and query, as they are sent."""
        return f"{self.path}?{self.query}" if self.query else self.path

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = f":{self.port}" if self.port else ""
        return f"{self.scheme}://{host}{port}{self.target}"

    def below(self, prefix: Address) -> bool:
        """Whether a prefix names this address: the same, or one that the prefix's path is a folder of."""
        if (self.scheme, self.host, self.port) != (prefix.scheme, prefix.host, prefix.port):
            return False
        if self.target == prefix.target:
            return True
        return not prefix.query and self.path.startswith(prefix.path.rstrip("/") + "/")


@lru_cache(maxsize=4096)
def parse_address(text: str) -> Address:
    """An address in its one form.

    Raises:
        SourceForbiddenError: it is malformed, or can be understood in more than one way.
    """
    if len(text) > LONGEST_ADDRESS:
        raise _refuse(text, f"it has {len(text)} characters, more than {LONGEST_ADDRESS}")
    if any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") or c in " \\" for c in text):
        raise _refuse(text, "it has spaces, backslashes or control characters; percent-encode them")
    try:
        parts = urlsplit(text)
    except ValueError as error:
        raise _refuse(text, f"it is malformed ({error})") from error
    scheme = parts.scheme.lower()
    if scheme not in SCHEMES:
        raise _refuse(text, f"scheme {text[: len(scheme)][:20]!r} is not one of file, {', '.join(SCHEMES)}")
    if "@" in parts.netloc:
        raise _refuse(text, "credentials in a URL are not accepted")
    if "#" in text:
        raise _refuse(text, "it has a fragment; write `#` in a name as %23")
    host, port = _authority(text, scheme, parts.netloc)
    path = _path(text, parts.path or "/")
    if scheme in OBJECTS:
        if "?" in text:
            raise _refuse(text, "an object has no query; write `?` in a key as %3F")
        if "//" in path:
            raise _refuse(text, "the key has an empty part")
    return Address(scheme, host, port, path, _encoded(text, parts.query, _QUERY))


def _refuse(text: str, why: str) -> SourceForbiddenError:
    return SourceForbiddenError(f"{redacted(text)[:200]!r} is not allowed: {why}")


def _authority(text: str, scheme: str, netloc: str) -> tuple[str, int | None]:
    """Host and port."""
    if scheme in OBJECTS:
        if not _BUCKET.fullmatch(netloc) or ".." in netloc:
            raise _refuse(text, f"{netloc[:80]!r} is not the name of a bucket")
        return netloc, None
    match = _AUTHORITY.fullmatch(netloc)
    if match is None:
        raise _refuse(text, f"{netloc[:80]!r} is not a host (names of other scripts are written xn--...)")
    port = int(match["port"] or _PORTS[scheme])
    if not 0 < port < 1 << 16:
        raise _refuse(text, f"there is no port {port}")
    return _host(text, match["host"]), None if port == _PORTS[scheme] else port


def _host(text: str, host: str) -> str:
    """A host name or IP address in its one form."""
    try:
        if host.startswith("["):
            return ipaddress.IPv6Address(host[1:-1]).compressed
        name = host.lower().removesuffix(".")
        last = name.rsplit(".", 1)[-1]
        if last.isdigit() or re.fullmatch("0x[0-9a-f]*", last):  # 127.1, 0x7f.1, 2130706433: one form is enough
            return str(ipaddress.IPv4Address(name))
    except ValueError as error:
        raise _refuse(text, f"{host[:80]!r} is not an IP address as it is usually written") from error
    if not name.isascii() or not _LABELS.fullmatch(name) or any(len(label) > 63 for label in name.split(".")):
        raise _refuse(text, f"{host[:80]!r} is not a host (names of other scripts are written xn--...)")
    return name


def _path(text: str, path: str) -> str:
    """A path with one way to write each character, in which nothing leads upwards."""
    if path.startswith("//"):
        raise _refuse(text, "its path begins with `//`, which some servers take for a host")
    written = _encoded(text, path, _PATH)
    decoded = written
    for _ in range(_ROUNDS):
        before, decoded = decoded, _decoded(text, decoded)
        for part in re.split(r"[/\\]", unicodedata.normalize("NFKC", decoded)):
            name = part.split(";", 1)[0]
            if name and not name.strip(". "):
                raise _refuse(text, f"the part {part[:20]!r} of its path leads upwards")
        if decoded == before:
            return _ESCAPE.sub(_shortest, written)
    raise _refuse(text, "its path is percent-encoded over and over")


def _encoded(text: str, part: str, safe: str) -> str:
    """Percent-encoded where it must be, escapes in upper case."""
    written = quote(part, safe=safe + "%")
    if any(match[1] is None for match in _ESCAPE.finditer(written)):
        raise _refuse(text, "it has a `%` that encodes nothing; write %25")
    return _ESCAPE.sub(lambda match: match[0].upper(), written)


def _decoded(text: str, path: str) -> str:
    try:
        decoded = unquote_to_bytes(path).decode()
    except UnicodeDecodeError as error:
        raise _refuse(text, "its path is not UTF-8") from error
    if any(unicodedata.category(c) == "Cc" for c in decoded):
        raise _refuse(text, "its path has control characters")
    return decoded


def _shortest(escape: re.Match[str]) -> str:
    """An escape, or the character where that needs none."""
    code = int(escape[1], 16)
    return chr(code) if code in _PLAIN else escape[0]
