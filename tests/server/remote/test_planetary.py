"""The Planetary Computer on the loopback: a blob store that answers nobody without a token, and who gives tokens."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from server.errors import SourceForbiddenError, SourceMissingError
from server.raster.sources import Sources
from tests.helpers.rangeserver import RangeServer, range_server
from tests.helpers.scenes import read_raster
from tests.helpers.service import application, sources_by

HOST = "pretend.blob.core.windows.net"


@dataclass
class Planet:
    """The service: one server plays blob store and giver of tokens."""

    served: RangeServer
    denies: int = 409
    lasts: float = 3600
    """Seconds of a token."""
    tokens: list[str] = field(default_factory=list)
    """Tokens given."""
    valid: Callable[[str], bool] = lambda _: True
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def blobs(self) -> str:
        return f"http://{HOST}:{self.served.port}/container/"

    def answer(self, path: str, headers: Any) -> Any:
        if path.startswith("/sas/"):
            if path != "/sas/pretend/container":
                return 404
            with self.lock:
                token = f"st=2026&sp=rl&sig=token-{len(self.tokens)}"
                self.tokens.append(token)
            end = (datetime.now(UTC) + timedelta(seconds=self.lasts)).isoformat()
            return 200, {}, json.dumps({"msft:expiry": end, "token": token}).encode()
        given = next((token for token in self.tokens if path.endswith(token)), None)
        return None if given and self.valid(given) else self.denies


@pytest.fixture
def planet(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Planet]:
    (tmp_path / "container").symlink_to(folder)
    real = socket.getaddrinfo

    def resolve(host: str, *args: Any, **options: Any) -> Any:
        return real("127.0.0.1" if host == HOST else host, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with range_server(tmp_path) as served:
        planet = Planet(served)
        served.doorman = planet.answer
        monkeypatch.setenv("PC_SDK_SAS_URL", f"{served.base}sas")
        yield planet


def sources(planet: Planet, *others: str, **settings: str) -> Sources:
    return sources_by(",".join([planet.blobs, *(others or [f"{planet.served.base}sas"])]), **settings)


@pytest.mark.parametrize("denies", [401, 403, 404, 409])
def test_a_refused_blob_is_signed(planet: Planet, folder: Path, denies: int) -> None:
    planet.denies = denies
    made = sources(planet)
    name = made.check(f"{planet.blobs}target.tif")
    assert name == f"{planet.blobs}target.tif"
    with made.open(name) as src:
        assert (src.read() == read_raster(folder / "target.tif")).all()
    made.version(made.check(f"{planet.blobs}mask.tif"))
    assert len(planet.tokens) == 1  # for the whole container
    for _ in range(2):
        with pytest.raises(SourceMissingError, match=r"container/none\.tif"):
            made.check(f"{planet.blobs}none.tif")
    assert len(planet.tokens) == 1


def test_an_answer_names_no_token(planet: Planet) -> None:
    with application(f"{planet.blobs},{planet.served.base}sas") as client:
        answer = client.get("/cog/scene", params={"url": f"{planet.blobs}target.tif"})
        assert answer.status_code == 200, answer.text
        assert f"{planet.blobs}target.tif" in answer.text
        assert "token-" not in answer.text + str(answer.headers)


def test_one_token_however_many_want_it(planet: Planet) -> None:
    made = sources(planet)
    barrier, failed = threading.Barrier(6), []

    def ask(name: str) -> None:
        barrier.wait()
        try:
            made.check(planet.blobs + name)
        except SourceMissingError:
            failed.append(name)

    names = ["target.tif", "replacement.tif", "mask.tif", "a.tif", "b.tif", "c.tif"]
    threads = [threading.Thread(target=ask, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(failed) == ["a.tif", "b.tif", "c.tif"]
    assert len(planet.tokens) == 1


def test_a_token_is_renewed_before_it_ends(planet: Planet) -> None:
    made = sources(planet, source_check="0")
    url = f"{planet.blobs}target.tif"
    made.check(url)
    now = time.monotonic
    for later, tokens in ((3000, 1), (3540, 2)):
        with mock.patch("time.monotonic", lambda by=later: now() + by):
            made.state(url)
        assert len(planet.tokens) == tokens


def test_the_service_is_asked_only_where_the_list_admits_it(planet: Planet) -> None:
    made = sources(planet, "example.com")
    with pytest.raises(SourceForbiddenError):
        made.check(f"{planet.blobs}target.tif")
    assert planet.tokens == []


@pytest.mark.parametrize("answer", [500, (200, {}, b"no JSON"), (200, {}, b"{}"), (302, {"Location": "/sas/other"})])
def test_a_service_that_fails_changes_nothing(planet: Planet, answer: Any) -> None:
    calls = []

    def fail(path: str, headers: Any) -> Any:
        calls.append(path)
        return answer if path.startswith("/sas/") else 409

    planet.served.doorman = fail
    made = sources(planet, source_check="0")
    for _ in range(3):
        with pytest.raises(SourceForbiddenError, match=r"target\.tif' is refused by its server \(409\)"):
            made.check(f"{planet.blobs}target.tif")
    assert sum(path.startswith("/sas/") for path in calls) == 1  # not again for a while


def test_an_address_signed_by_its_user_is_sent_as_it_is(planet: Planet) -> None:
    planet.tokens.append("sig=mine")
    made = sources(planet)
    made.check(f"{planet.blobs}target.tif?sig=mine")
    with pytest.raises(SourceForbiddenError):
        made.check(f"{planet.blobs}target.tif?sig=stolen")
    assert planet.tokens == ["sig=mine"]


def test_a_prefix_is_signed_at_once_where_the_operator_says_so(planet: Planet, tmp_path: Path, folder: Path) -> None:
    """Also of another host, as emulators write it: the account is the first part of the path."""
    (tmp_path / "pretend").mkdir()
    (tmp_path / "pretend" / "container").symlink_to(folder)
    prefix = f"{planet.served.base}pretend/"
    rules = tmp_path / "sources.yaml"
    rules.write_text(f"{prefix}:\n  sign: planetary-computer\n")
    made = sources_by(f"{prefix},{planet.served.base}sas", sources_file=str(rules))
    planet.served.reset()
    made.check(f"{prefix}container/target.tif")
    assert planet.served.reset().requests == 2  # the token, and the file
    assert len(planet.tokens) == 1
