"""Which IP addresses are public, and how names become addresses."""

from __future__ import annotations

import ipaddress
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.errors import SourceBusyError, SourceTimeoutError
from server.remote import addresses
from server.remote.addresses import is_public_address, resolve

PRIVATE_V4 = """
    0.0.0.0 0.1.2.3 10.0.0.1 100.64.0.1 100.100.100.200 100.127.255.255 127.0.0.1 127.255.255.254 168.63.129.16
    169.254.169.254 169.254.0.1 172.16.0.1 172.31.255.255 192.0.0.1 192.0.0.192 192.0.0.9 192.0.2.1
    192.31.196.1 192.52.193.1 192.88.99.1 192.168.1.1 192.175.48.1 198.18.0.1 198.19.255.255 198.51.100.1
    203.0.113.1 224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255
""".split()  # noqa: SIM905
PUBLIC_V4 = ["8.8.8.8", "1.1.1.1", "93.184.216.34", "168.63.129.15", "100.63.255.255", "100.128.0.0", "223.255.255.255"]
PRIVATE_V6 = """
    :: ::1 ::127.0.0.1 ::8.8.8.8 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:169.254.169.254 ::ffff:0:127.0.0.1
    ::ffff:0:8.8.8.8 64:ff9b::127.0.0.1 64:ff9b::8.8.8.8 64:ff9b:1::1 100::1 2001::1
    2001:0:4136:e378:8000:63bf:3fff:fdd2 2001:2::1 2001:10::1 2001:20::1 2001:1ff::1 2001:db8::1 2002:7f00:1::
    2002:808:808::1 2620:4f:8000::1 3fff::1 5f00::1 fc00::1 fd00:ec2::254 fd20:ce::254 fe80::1 fe80::1%eth0
    fec0::1 ff02::1 ff0e::1 4000::1 2606:4700:4700::1111%1
""".split()  # noqa: SIM905
PUBLIC_V6 = ["2606:4700:4700::1111", "2001:4860:4860::8888", "2a00:1450:4001::1", "::ffff:8.8.8.8", "2001:200::1"]


@pytest.mark.parametrize("address", PRIVATE_V4 + PRIVATE_V6)
def test_special_addresses_are_not_public(address: str) -> None:
    assert not is_public_address(address)


@pytest.mark.parametrize("address", PUBLIC_V4 + PUBLIC_V6)
def test_ordinary_addresses_are(address: str) -> None:
    assert is_public_address(address)


@pytest.mark.parametrize("text", ["", "localhost", "1.2.3", "0x7f.0.0.1", "1.2.3.4.5", "::1::", "8.8.8.8 "])
def test_what_is_no_address_is_not_public(text: str) -> None:
    assert not is_public_address(text)


@given(st.ip_addresses())
def test_nothing_is_public_that_python_knows_not_to_be(ip: Any) -> None:
    if ip.is_private or ip.is_reserved or ip.is_multicast or ip.is_link_local or ip.is_loopback or ip.is_unspecified:
        mapped = isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped
        assert not is_public_address(str(ip)) or mapped


@given(st.ip_addresses(v=4))
def test_no_notation_in_ipv6_makes_an_address_public(ip: ipaddress.IPv4Address) -> None:
    low = int(ip)
    forms = [
        low,
        low | 0xFFFF << 32 + 16,
        0x64FF9B << 96 | low,
        0x2002 << 112 | low << 80,
        0x2001 << 112 | low ^ 0xFFFFFFFF,
    ]
    for number in forms:
        assert not is_public_address(str(ipaddress.IPv6Address(number)))
    assert is_public_address(f"::ffff:{ip}") == is_public_address(str(ip))


@pytest.fixture
def lookups(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Names that were looked up; `slow-*` takes 0.2 s, `stuck-*` for ever, `no-*` is unknown."""
    asked: list[str] = []
    stuck = threading.Event()

    def look_up(host: str, *_: Any, **__: Any) -> list[Any]:
        asked.append(host)
        if host.startswith("stuck"):
            stuck.wait(20)
        if host.startswith("slow"):
            time.sleep(0.2)
        if host.startswith("no"):
            raise socket.gaierror("unknown")
        if host.startswith("odd"):
            raise UnicodeError("label too long")
        return [(0, 0, 0, "", ("93.184.216.34", 0)), (0, 0, 0, "", ("93.184.216.34", 0))]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    monkeypatch.setattr(addresses, "CONNECT", 0.4)
    yield asked
    stuck.set()


def test_a_name_is_looked_up_once_however_many_ask(lookups: list[str]) -> None:
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(resolve("slow-once"))) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [("93.184.216.34",)] * 12
    assert resolve("slow-once") == ("93.184.216.34",)
    assert lookups == ["slow-once"]


def test_unknown_and_impossible_names_have_no_addresses(lookups: list[str]) -> None:
    assert resolve("no-such") == () == resolve("odd-name")
    assert resolve("127.0.0.1") == ("127.0.0.1",)
    assert resolve("::1") == ("::1",)
    assert lookups == ["no-such", "odd-name"]


def test_a_name_that_is_never_answered_holds_few_and_not_for_long(lookups: list[str]) -> None:
    ended: list[Any] = []

    def attempt(name: str) -> None:
        try:
            ended.append(resolve(name))
        except (SourceTimeoutError, SourceBusyError) as error:
            ended.append(type(error))

    begun = time.monotonic()
    threads = [threading.Thread(target=attempt, args=("stuck-1",)) for _ in range(20)]
    for thread in threads:
        thread.start()
    assert resolve("other-name") == ("93.184.216.34",)
    assert time.monotonic() - begun < 0.3
    for thread in threads:
        thread.join()
    assert set(ended) <= {SourceTimeoutError, SourceBusyError}
    assert len(ended) == 20
    assert time.monotonic() - begun < 3
    with mock.patch.object(addresses, "CONNECT", 0.1):
        attempt("stuck-1")
    assert lookups.count("stuck-1") == 1
