"""IP addresses: which of them are public, and which ones a host name stands for."""

from __future__ import annotations

import ipaddress
import socket
import threading
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import suppress
from typing import Final

from cachetools import TTLCache

from server.errors import SourceTimeoutError
from server.remote.gate import Gate
from server.remote.transfer import CONNECT

KNOWN_SECONDS: Final = 60.0
"""Seconds for which a name's addresses are remembered."""
UNKNOWN_SECONDS: Final = 5.0
"""The same for a name without addresses."""
MOST_NAMES: Final = 4096
"""Names that are remembered."""
PER_NAME: Final = 4
"""Most threads that wait for one name's addresses."""
WAITING: Final = 8
"""Most threads that wait for any name's."""

SPECIAL: Final = tuple(
    ipaddress.ip_network(text)
    for text in (
        # IANA's IPv4 Special-Purpose Address Registry, whether or not it calls a range globally reachable
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
        "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24",
        "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4",
        "224.0.0.0/4",  # multicast
        "168.63.129.16/32",  # Azure's own services, on a public address
        # IANA's IPv6 Special-Purpose Address Registry inside 2000::/3, which is all that is public
        "2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20",
    )
)  # fmt: skip
"""Ranges that are not public. Metadata services of clouds lie in them: 169.254.169.254 (most), 100.100.100.200
(Alibaba), 192.0.0.192 (Oracle). IPv6 addresses that carry an IPv4 one (compatible, translated, NAT64, 6to4, Teredo)
count as special whatever they carry: it is unknown here who is behind the gateway."""
_GLOBAL_UNICAST: Final = ipaddress.IPv6Network("2000::/3")


def is_public_address(address: str) -> bool:
    """Whether an IP address is reached through the public internet; an IPv4 one in IPv6 notation counts as itself."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:  # with a zone, hence of one link; or no address at all
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            ip = ip.ipv4_mapped
        elif ip not in _GLOBAL_UNICAST or ip.scope_id is not None:
            return False
    return ip.is_global and not any(ip in network for network in SPECIAL if network.version == ip.version)


_lock: Final = threading.Lock()
_known: Final[TTLCache[str, tuple[str, ...]]] = TTLCache(MOST_NAMES, KNOWN_SECONDS)
_failed: Final[TTLCache[str, tuple[str, ...]]] = TTLCache(MOST_NAMES, UNKNOWN_SECONDS)
_coming: Final[dict[str, Future[tuple[str, ...]]]] = {}
_gate: Final = Gate(per_host=PER_NAME, total=WAITING, patience=1.0)


def resolve(host: str) -> tuple[str, ...]:
    """Addresses of a host, none where its name is unknown; asked for once however many want them.

    Raises:
        SourceTimeoutError: no answer within `CONNECT` seconds. SourceBusyError: too many wait for answers already.
    """
    with suppress(ValueError):
        return (str(ipaddress.ip_address(host)),)
    with _lock:
        found = _known.get(host, _failed.get(host))
    if found is not None:
        return found
    with _gate.waiting(host):
        with _lock:
            found = _known.get(host, _failed.get(host))
            if found is not None:  # while this thread queued
                return found
            future = _coming.get(host)
            if future is None:
                future = _coming[host] = Future()
                # A thread of its own: the system's resolver cannot be interrupted, and ends when it likes.
                threading.Thread(target=_look_up, args=(host, future), name="resolve", daemon=True).start()
        try:
            return future.result(CONNECT)
        except FutureTimeoutError as error:
            raise SourceTimeoutError(
                f"the address of {host!r} was not found within {CONNECT:g} s; try again"
            ) from error


def _look_up(host: str, future: Future[tuple[str, ...]]) -> None:
    try:
        found = tuple(sorted({str(info[4][0]) for info in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}))
    except (OSError, ValueError):  # unknown; or no name at all
        found = ()
    with _lock:
        (_known if found else _failed)[host] = found
        _coming.pop(host, None)
    future.set_result(found)
