"""Redirects and names that resolve to private addresses."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from unittest import mock
from uuid import uuid4

import numpy as np
import pytest
from starlette.testclient import TestClient

from tests.helpers.rangeserver import RangeServer, range_server
from tests.helpers.remote import (
    PATH,
    PLAIN,
    address,
    at,
    good,
)
from tests.helpers.scenes import read_raster
from tests.helpers.service import application, sources_by


@pytest.fixture
def other(folder: Path) -> Iterator[RangeServer]:
    """A second server, which no list admits."""
    with range_server(folder) as other:
        yield other


@pytest.mark.parametrize("late", [False, True], ids=["opening", "reading"])
def test_a_redirect_leads_nowhere_a_request_may_not_go(
    client: TestClient, served: RangeServer, other: RangeServer, fresh: Path, late: bool
) -> None:
    served.trouble = lambda path, start: f"{other.base}target.tif" if (start > 0) == late else None
    answer = client.get(PATH, params=at(address(served, fresh)))
    assert answer.status_code == 403, answer.text
    assert "redirects" in answer.json()["detail"]
    assert other.base in answer.json()["detail"]
    assert other.counts.requests == 0


def test_a_redirect_to_an_admitted_address_is_followed(
    folder: Path, served: RangeServer, other: RangeServer, fresh: Path
) -> None:
    served.trouble = lambda path, start: f"{other.base}{path.rsplit('/', 1)[-1]}?signed=1"
    with application(f"{folder},{served.base},{other.base}", source_check="600") as client:
        assert good(client, at(address(served, fresh))) == good(client, at(f"{folder}/"))
    # Only the look at each file's state goes through the first server.
    assert served.counts.requests == 3
    assert other.counts.requests > 3


def test_a_signed_address_that_expired_is_asked_for_again(
    folder: Path, served: RangeServer, other: RangeServer, fresh: Path
) -> None:
    valid = ["1"]
    served.trouble = lambda path, start: f"{other.base}{path.rsplit('/', 1)[-1]}?signed={valid[0]}"
    other.trouble = lambda path, start: None if path.endswith(f"signed={valid[0]}") else 403
    sources = sources_by(f"{served.base},{other.base}", source_check="600")
    with sources.open(f"{served.base}target.tif") as src:
        valid[0] = "2"
        remote = src.read()
    np.testing.assert_array_equal(remote, read_raster(folder / "target.tif"))


def test_redirects_without_end(client: TestClient, served: RangeServer, fresh: Path) -> None:
    served.trouble = lambda path, start: path
    answer = client.get(PATH, params=at(address(served, fresh)))
    assert answer.status_code == 502
    assert "redirects more than 5 times" in answer.json()["detail"]


@pytest.mark.parametrize("target", ["file:///etc/hostname", "ftp://127.0.0.1/x.tif", "s3://bucket/x.tif"])
def test_a_redirect_to_what_is_no_web_address(
    client: TestClient, served: RangeServer, fresh: Path, target: str
) -> None:
    served.trouble = lambda path, start: (302, {"Location": target})
    answer = client.get(PATH, params=at(address(served, fresh)))
    assert answer.status_code == 403
    assert target in answer.json()["detail"]


@pytest.mark.parametrize("allowed", ["{name}", "https:*", ""])
@pytest.mark.parametrize("first", ["93.184.216.34", "127.0.0.1"])
def test_a_name_that_resolves_to_a_private_address_in_the_end(served: RangeServer, allowed: str, first: str) -> None:
    """DNS rebinding: whatever a name resolves to later, the connection goes to the address that was checked."""
    name = f"{uuid4().hex}.example"  # another each time: addresses are kept for a while
    url = f"https://{name}:{served.port}/target.tif"
    served.reset()
    left, dialled = [first, "127.0.0.1"], []

    def resolve(host: str, port: int | None, *_: object, **__: object) -> list[tuple[object, ...]]:
        if host != name:
            dialled.append(host)
            raise socket.gaierror("no network here")
        address = left.pop(0) if len(left) > 1 else left[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", (address, port or 0))]

    with (
        application(allowed.format(name=name), source_timeout="1") as client,
        mock.patch.object(socket, "getaddrinfo", resolve),
    ):
        answer = client.get(PATH, params=PLAIN | {"url": url})
    assert answer.status_code in ((403,) if first == "127.0.0.1" else (403, 502, 504)), answer.text
    assert set(dialled) <= {"93.184.216.34"}
    assert served.reset().requests == 0
