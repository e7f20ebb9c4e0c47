"""Which datasets a request may name: the allow-list, applied to every dataset parameter."""

from __future__ import annotations

import ipaddress
import socket
from functools import lru_cache
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from cachetools import TTLCache, cached

from server.errors import SourceForbiddenError, SourceMissingError
from server.settings import get_settings

_REMEDY = "the operator can admit it with CLEARSKY_ALLOWED_SOURCES"
_REMOTE = ("https", "http", "s3", "gs", "az")


def _forbid(url: str, why: str) -> SourceForbiddenError:
    return SourceForbiddenError(f"{url!r} is not allowed: {why}; {_REMEDY}")


@lru_cache(maxsize=8)
def _local_roots(allowed: tuple[str, ...], demo: Path) -> tuple[Path, ...]:
    folders = [Path(entry) for entry in allowed if "://" not in entry and _looks_local(entry)]
    return tuple(folder.resolve() for folder in [*folders, demo])


def _looks_local(entry: str) -> bool:
    """A folder or file rather than a host name: absolute, relative with a dot, or there."""
    return entry.startswith(("/", ".", "~")) or "/" in entry or Path(entry).exists()


@cached(TTLCache(maxsize=1024, ttl=60))
def _addresses(host: str) -> tuple[str, ...]:
    try:
        return tuple(sorted({str(info[4][0]) for info in socket.getaddrinfo(host, None)}))
    except OSError:
        return ()


def is_public_address(address: str) -> bool:
    """Whether an IP address is reached through the public internet, seen through IPv6's ways to write an IPv4 one."""
    ip = ipaddress.ip_address(address.split("%", maxsplit=1)[0])
    if isinstance(ip, ipaddress.IPv6Address):
        ip = ip.ipv4_mapped or ip.sixtofour or ip
    return ip.is_global and not ip.is_multicast


def _is_public(host: str) -> bool:
    addresses = _addresses(host)
    return bool(addresses) and all(is_public_address(address) for address in addresses)


_own: Final[set[str]] = set()
"""Addresses that the user of this very process named on the command line; a server has none."""


def admit_own(url: str) -> None:
    """Admit an address that the process's own user named: who can run a command can fetch it anyway."""
    _own.add(url)


def named_by_prefix(url: str) -> bool:
    """Whether the list names a URL by prefix: the operator's word that its host may be fetched from, private or not."""
    if url in _own:
        return True
    prefixes = [entry for entry in get_settings().allowed_sources if "://" in entry]
    return any(url == prefix or url.startswith(prefix.rstrip("/") + "/") for prefix in prefixes)


def _host_admitted(host: str, allowed: tuple[str, ...]) -> bool:
    return any(
        host == entry.lower() or (entry.startswith("*.") and host.endswith(entry[1:].lower()))
        for entry in allowed
        if "://" not in entry
    )


def _check_local(url: str) -> str:
    settings = get_settings()
    path = Path(url.removeprefix("file://")).expanduser()
    resolved = path.resolve()
    if not any(resolved.is_relative_to(root) for root in _local_roots(settings.allowed_sources, settings.demo)):
        raise _forbid(url, "local files are served only from admitted folders")
    if not resolved.is_file():
        raise SourceMissingError(f"{url!r} does not exist; check the path")
    return str(resolved)


def check_source(url: str) -> str:
    """The dataset name to open, if a request may name it.

    Default-deny: local files only below the admitted folders (symbolic links resolved), remote ones only with
    a known scheme; without a list any https host whose every address is public.

    Raises:
        SourceForbiddenError: not admitted. SourceMissingError: a local file that does not exist.
    """
    if "\0" in url or url.lower().startswith("/vsi"):
        raise _forbid(url, "GDAL's virtual file names are not accepted")
    if "://" not in url:
        if ":" in url.split("/", 1)[0]:
            raise _forbid(url, "GDAL's connection strings are not accepted")
        return _check_local(url)
    parts = urlsplit(url)
    if parts.scheme == "file":
        return _check_local(url)
    if parts.scheme not in _REMOTE:
        raise _forbid(url, f"scheme {parts.scheme!r} is not one of file, {', '.join(_REMOTE)}")
    if parts.username or parts.password:
        raise _forbid(url, "credentials in a URL are not accepted")
    if ".." in parts.path.split("/"):
        raise _forbid(url, "the path climbs up")
    allowed = get_settings().allowed_sources
    host = (parts.hostname or "").lower()
    if named_by_prefix(url) or (parts.scheme != "http" and _host_admitted(host, allowed)):
        return url
    has_remote_list = any("://" in entry or not _looks_local(entry) for entry in allowed)
    if has_remote_list or parts.scheme != "https":
        raise _forbid(url, "neither its host nor its prefix is on the list")
    if not _is_public(host):
        raise _forbid(url, f"host {host!r} is unknown or has a private address")
    return url
