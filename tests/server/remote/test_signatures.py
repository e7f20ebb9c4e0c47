"""Signed addresses: one file whatever signs it, and nothing of it for whoever has no signature that opens it."""

from __future__ import annotations

import json
import logging
import re
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import numpy as np
import pytest
from starlette.testclient import TestClient

from algorithms.sessions import SESSIONS
from server.errors import SourceDeniedError, SourceForbiddenError
from server.raster.sources import Sources
from server.remote.names import parse_address
from server.remote.pieces import CHUNK_BYTES
from server.remote.redaction import redacted
from server.remote.signatures import shown_name, unsigned
from server.work.pool import FairPool
from server.work.ticket import Ticket, current_ticket
from tests.helpers.rangeserver import RangeServer
from tests.helpers.remote import CHECK, NAMES, PATH, address, at, good, settled
from tests.helpers.scenes import read_raster
from tests.helpers.service import sources_by, sources_of

SECRETS = ("first-secret", "second-secret", "wrong-secret")


def sas(secret: str) -> str:
    """A query as Azure's, with another time each."""
    return urlencode({"st": "2026-01-01", "se": f"2026-01-0{1 + SECRETS.index(secret)}", "sv": "2024", "sig": secret})


@pytest.fixture
def private(served: RangeServer, fresh: Path) -> Iterator[set[str]]:
    """Only these signatures open a file."""
    valid = set(SECRETS[:2])
    served.trouble = lambda path, _: None if any(f"sig={secret}" in path for secret in valid) else 403
    yield valid
    served.trouble = None


def signed(base: str, secret: str) -> dict[str, Any]:
    """The image of the rasters under an address, each signed."""
    return at(base) | {name: f"{base}{file}?{sas(secret)}" for name, file in NAMES.items()}


@pytest.mark.parametrize(
    ("query", "kept"),
    [
        ("sig=x&se=1&sp=r&sv=2&sr=b&skoid=a", ""),
        ("X-Amz-Signature=x&X-Amz-Date=1&versionId=3", "versionId=3"),
        ("AWSAccessKeyId=k&Signature=x&Expires=9", ""),
        ("Expires=9&Signature=x&Key-Pair-Id=k&Policy=p&page=2", "page=2"),
        ("GoogleAccessId=a&Expires=1&Signature=x", ""),
        ("X-Goog-Algorithm=a&X-Goog-Signature=x&generation=7", "generation=7"),
        ("snapshot=2026&token=x", "snapshot=2026"),
        ("SIG=x&a=1", "a=1"),
        ("%73ig=x", ""),
        ("sr=4326&st=7&sv=2", "sr=4326&st=7&sv=2"),  # no signature: anybody's own parameters
        ("expires=9&policy=1", "expires=9&policy=1"),
        ("a=1&b=%2F", "a=1&b=%2F"),
    ],
)
def test_an_address_without_its_signature(query: str, kept: str) -> None:
    address = parse_address(f"https://example.com/a.tif?{query}")
    assert unsigned(address).query == kept
    assert unsigned(address).path == address.path
    assert unsigned(unsigned(address)) == unsigned(address)


@pytest.mark.parametrize("name", ["sig", "X-Amz-Signature", "Signature", "token", "x-goog-credential", "Policy"])
@pytest.mark.parametrize("quoted", [False, True])
def test_no_text_shows_a_signature(name: str, quoted: bool) -> None:
    address = f"https://example.com/a.tif?page=2&{name}=SECRET%2Fx&b=1"
    text = f"'{quote(address, safe='') if quoted else address}' is refused"
    assert "SECRET" not in redacted(text)
    assert redacted(redacted(text)) == redacted(text)
    assert redacted(text).endswith("b%3D1' is refused" if quoted else "b=1' is refused")


@pytest.mark.parametrize("times", range(4))
@pytest.mark.parametrize("text", ["https://SECRET@host/a", "https://me:SECRET@host/a", "https://host/a?sig=SECRET&b=1"])
def test_nor_a_login_nor_what_is_quoted_more_than_once(text: str, times: int) -> None:
    shown = text
    for _ in range(times):
        shown = quote(shown, safe="")
    assert "SECRET" not in redacted(shown)
    assert "host" in redacted(shown)
    assert redacted(text.replace("SECRET@", "").replace("me:", "").replace("sig", "size")).count("...") == 0


def test_a_new_signature_computes_nothing(
    client: TestClient, served: RangeServer, fresh: Path, private: set[str]
) -> None:
    base = address(served, fresh)
    others = {"mask": [], "reflectance_scale": 1e-4}  # the model looks for clouds
    runs = SESSIONS.inferences()
    first = client.get(PATH, params=signed(base, SECRETS[0]) | others)
    assert first.status_code == 200, first.text
    assert SESSIONS.inferences() > runs
    private.discard(SECRETS[0])  # the newest one is sent from now on
    settled()
    served.reset()
    runs = SESSIONS.inferences()
    second = client.get(PATH, params=signed(base, SECRETS[1]) | others)
    assert second.content == first.content
    assert SESSIONS.inferences() == runs
    assert second.headers["etag"] == first.headers["etag"]
    # Only headers, since a signature is checked by a request that is not conditional; and no pixel is read again. Both
    # files are looked at a second time where the answer takes longer than a look is good for.
    assert served.reset().requests in (2, 4)
    settled()
    good(client, signed(base, SECRETS[1]) | others)
    assert served.reset().sent == 0
    again = {"If-None-Match": first.headers["etag"]}
    assert client.get(PATH, params=signed(base, SECRETS[1]) | others, headers=again).status_code == 304


@pytest.mark.parametrize("wrong", [sas(SECRETS[2]), "", "sig=", "token=first-secret"])
def test_what_one_signature_opened_stays_closed_to_others(
    client: TestClient,
    served: RangeServer,
    fresh: Path,
    private: set[str],
    wrong: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    base = address(served, fresh)
    params = signed(base, SECRETS[0])
    first = client.get(PATH, params=params)
    assert first.status_code == 200
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.WARNING, "httpx2")  # the client's own
    for name, file in NAMES.items():
        other = params | {name: f"{base}{file}?{wrong}".rstrip("?")}
        for headers in ({}, {"If-None-Match": first.headers["etag"]}):
            answer = client.get(PATH, params=other, headers=headers)
            assert answer.status_code == 403, name
            assert file in answer.json()["detail"]
            assert not any(secret in answer.text + str(answer.headers) for secret in SECRETS)
    assert not any(secret in caplog.text for secret in SECRETS)
    assert good(client, params) == first.content  # and the refusals spoil nothing for who may


@pytest.mark.parametrize("wrong", [sas(SECRETS[2]), ""])
@pytest.mark.parametrize("validators", [("etag",), ("last-modified",)])
def test_what_has_not_changed_is_not_open_to_all(
    client: TestClient,
    served: RangeServer,
    fresh: Path,
    private: set[str],
    wrong: str,
    validators: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Some servers answer a conditional request before they look at its signature."""
    strict, served.validators = served.trouble, validators
    served.trouble = None

    def lax(path: str, headers: Mapping[str, str]) -> int | None:
        return None if {"If-None-Match", "If-Modified-Since"} & headers.keys() else strict(path, 0)

    monkeypatch.setattr(served, "doorman", lax)
    url = f"{address(served, fresh)}target.tif"
    refused = {"url": f"{url}?{wrong}".rstrip("?")}
    assert client.get("/cog/info", params=refused).status_code == 403
    settled()
    assert client.get("/cog/info", params={"url": f"{url}?{sas(SECRETS[0])}"}).status_code == 200
    for _ in range(2):
        settled()
        for path in ("/cog/info", "/cog/preview.png"):
            assert client.get(path, params=refused).status_code == 403
    assert client.get("/cog/info", params={"url": f"{url}?{sas(SECRETS[0])}"}).status_code == 200


def test_files_of_a_list_are_signed_one_by_one(served: RangeServer, fresh: Path, private: set[str]) -> None:
    sources = sources_by(served.base)
    folder = f"{served.base}{fresh.name}/"
    names = ("target.tif", "replacement.tif")
    name = sources.check("{" + ",".join(f"{folder}{file}?{sas(SECRETS[0])}" for file in names) + "}")
    scene = sources.scene(name)
    assert scene is not None
    with sources.open_described(sources.composed(scene)) as src:
        for number, file in enumerate(names, start=1):
            np.testing.assert_array_equal(src.read(number), read_raster(fresh / file)[0])
    with pytest.raises(SourceForbiddenError):
        sources.check("{" + ",".join(f"{folder}{file}" for file in names) + "}")


TOKENS = ["access_token", "token", "api_key", "apikey", "key", "Subscription-Key", "%74oken"]
PERSONAL = {"alice": "target.tif", "bob": "replacement.tif", "": "mask.tif"}
"""What Alice, Bob and whoever has no token get of one address."""


@pytest.fixture
def personal(served: RangeServer, fresh: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of a file that is another one for everybody: Alice's, Bob's, and for whoever has no token."""

    def own(path: str, _: Mapping[str, str]) -> str | None:
        who = next((name for name in PERSONAL if name and f"={name}" in path), "")
        return f"/{fresh.name}/{PERSONAL[who]}" if "/me.tif" in path else None

    monkeypatch.setattr(served, "doorman", own)
    return f"{address(served, fresh)}me.tif"


@pytest.mark.parametrize("token", TOKENS)
@pytest.mark.parametrize("listed", [False, True])
def test_a_token_may_select_what_is_read(
    served: RangeServer, fresh: Path, personal: str, token: str, listed: bool
) -> None:
    sources = sources_by(served.base)
    addresses = {who: f"{personal}?{token}={who}&page=2" if who else personal for who in ("alice", "bob", "")}
    names = {}
    for who, url in addresses.items():
        names[who] = sources.check(f"{{{url},{served.base}{fresh.name}/target.tif}}" if listed else url)
    for who in ("alice", "bob", "", "alice"):
        dataset = sources.composed(scene) if (scene := sources.scene(names[who])) else sources.dataset(names[who])
        with sources.open_described(dataset) as src:
            np.testing.assert_array_equal(src.read(1), read_raster(fresh / PERSONAL[who])[0])
    for name in names.values():
        assert not {"alice", "bob"} & set(re.split("[^a-z]", name))
        assert shown_name(name) == redacted(name)
        assert "#" not in shown_name(name)


@pytest.mark.parametrize("validators", [("etag", "last-modified"), ()])
def test_two_tokens_share_no_answer(
    client: TestClient, served: RangeServer, fresh: Path, personal: str, validators: tuple[str, ...]
) -> None:
    served.validators = validators
    base = address(served, fresh)
    others = {"mask": [], "reflectance_scale": 1e-4, "replacement": f"{base}replacement.tif"}
    seen = {}
    for who, file in list(PERSONAL.items())[:2]:
        runs = SESSIONS.inferences()
        answer = client.get(PATH, params=at(base) | others | {"url": f"{personal}?access_token={who}"})
        assert answer.content == good(client, at(base) | others | {"url": f"{fresh}/{file}"})
        assert SESSIONS.inferences() > runs
        seen[answer.headers["etag"]] = answer.content
    assert len(seen) == len(set(seen.values())) == 2
    for who, tag in zip(("bob", "alice"), seen, strict=True):
        params = at(base) | others | {"url": f"{personal}?access_token={who}"}
        assert client.get(PATH, params=params, headers={"If-None-Match": tag}).status_code == 200


def test_the_digest_of_a_token_is_neither_shown_nor_taken(
    client: TestClient, served: RangeServer, fresh: Path, personal: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "clearsky")
    url = f"{personal}?access_token=alice"
    name = sources_of(client).check(url)
    assert name.startswith(personal)
    assert client.get("/cog/info", params={"url": name}).status_code == 403
    asset = {"href": name, "type": "image/tiff", "eo:bands": [{"name": "B04", "common_name": "red"}]}
    item = {"type": "Feature", "id": "a", "properties": {}, "assets": {"data": asset}}
    (fresh / "item.json").write_text(json.dumps(item))
    assert client.get("/stac/preview.png", params={"url": str(fresh / "item.json")}).status_code == 403
    for path in ("/cog/info", "/cog/scene", "/cog/validate", "/cog/WMTSCapabilities.xml"):
        answer = good_answer(client, path, {"url": url})
        assert "#token" not in answer, path
        assert path.endswith(".xml") or "alice" not in answer
    served.trouble = lambda path, _: "cut"
    refused = client.get("/cog/preview.png", params={"url": f"{personal}?access_token=bob"})
    assert refused.status_code == 502
    assert "#token" not in refused.text + caplog.text


def good_answer(client: TestClient, path: str, params: dict[str, Any]) -> str:
    answer = client.get(path, params=params)
    assert answer.status_code == 200, answer.text
    return answer.text


def test_a_signature_that_expires_closes_the_file(
    client: TestClient, served: RangeServer, fresh: Path, private: set[str]
) -> None:
    params = signed(address(served, fresh), SECRETS[0])
    good(client, params)
    private.clear()
    settled()
    assert client.get(PATH, params=params).status_code == 403
    private.add(SECRETS[1])
    good(client, signed(address(served, fresh), SECRETS[1]))


def test_a_public_file_takes_no_harm_from_signatures(
    client: TestClient, served: RangeServer, fresh: Path, local_image: bytes
) -> None:
    served.trouble = lambda path, _: 403 if SECRETS[2] in path else None
    base = address(served, fresh)
    assert good(client, signed(base, SECRETS[0])) == local_image
    served.trouble = lambda path, _: 403 if "sig=" in path else None
    settled()
    assert good(client, at(base)) == local_image


def test_names_in_answers_have_no_signature(
    client: TestClient, served: RangeServer, fresh: Path, private: set[str]
) -> None:
    base = address(served, fresh)
    params = {"url": f"{base}target.tif?{sas(SECRETS[0])}", "replacement": f"{base}replacement.tif?{sas(SECRETS[0])}"}
    for path in ("/cog/scene", "/cog/info", "/cog/validate"):
        answer = client.get(path, params=params)
        assert answer.status_code == 200, answer.text
        assert "secret" not in answer.text
    assert f"{base}target.tif" in client.get("/cog/scene", params=params).text
    capabilities = client.get("/cog/WMTSCapabilities.xml", params=params).text
    names = [part.split("<")[0] for part in re.split("<ows:(?:Identifier|Title|Abstract)>", capabilities)[1:]]
    assert "target" in names
    assert not any("secret" in text or "http" in text for text in names)


def test_an_item_signed_again_is_the_same_scene(
    client: TestClient, served: RangeServer, fresh: Path, private: set[str]
) -> None:
    base = address(served, fresh)

    def write(name: str, secret: str) -> str:
        bands = [{"name": f"B0{k}", "common_name": common} for k, common in enumerate(("blue", "green", "red"), 2)]
        asset = {"href": f"{base}target.tif?{sas(secret)}", "type": "image/tiff", "eo:bands": bands}
        item = {"type": "Feature", "id": "a", "properties": {}, "assets": {"data": asset}}
        (fresh / name).write_text(json.dumps(item))
        return str(fresh / name)

    tags, scenes = [], []
    for secret in SECRETS[:2]:
        params = {"url": write("item.json", secret)}
        answer = client.get("/stac/info", params=params)
        assert answer.status_code == 200, answer.text
        tags.append(answer.headers["etag"])
        scenes.append(client.get("/stac/scene", params=params).text)
        private.discard(secret)
    assert tags[0] == tags[1]
    assert scenes[0] == scenes[1]
    assert "secret" not in scenes[0]
    settled()
    refused = client.get("/stac/info", params={"url": write("item.json", SECRETS[2])})
    assert refused.status_code == 403


@contextmanager
def client_of(url: str, sources: Sources) -> Iterator[str]:
    """The request of a client with a signature of its own; gives the file's name."""
    token = current_ticket.set(Ticket(signatures={}))
    try:
        yield sources.check(url)
    finally:
        current_ticket.reset(token)


def meanwhile(url: str, sources: Sources) -> None:
    """Another client is let in."""

    def enter() -> None:
        with client_of(url, sources):
            pass

    with ThreadPoolExecutor(1) as pool:
        pool.submit(enter).result()


def test_a_request_asks_with_its_own_signature_only(served: RangeServer, fresh: Path, private: set[str]) -> None:
    sources = sources_by(served.base, source_check=str(CHECK))
    first, second = (f"{served.base}{fresh.name}/target.tif?{sas(secret)}" for secret in SECRETS[:2])
    pool = FairPool(1)
    with client_of(first, sources) as name:
        meanwhile(second, sources)
        assert sources.remotes.identity(name).asked == first
        assert pool.run([lambda: sources.remotes.identity(name).asked]) == [first]
        private.discard(SECRETS[0])
        settled()
        with pytest.raises(SourceDeniedError):
            sources.remotes.identity(name)
        with pytest.raises(SourceDeniedError):
            pool.run([lambda: sources.remotes.identity(name)])
    pool.close()
    assert sources.remotes.identity(name).asked == second  # work of the process itself
    settled()
    with client_of(second, sources):
        assert sources.remotes.identity(name).asked == second


def test_a_request_that_gave_no_signature_borrows_none(served: RangeServer, fresh: Path, private: set[str]) -> None:
    """Even of a file that its server gave to everybody a moment ago."""
    sources = sources_by(served.base, source_check=str(CHECK))
    url = f"{served.base}{fresh.name}/target.tif"
    closed, served.trouble = served.trouble, None
    with client_of(url, sources) as name:
        served.trouble = closed
        meanwhile(f"{url}?{sas(SECRETS[0])}", sources)
        settled()
        with pytest.raises(SourceDeniedError):
            sources.remotes.identity(name)


def test_bytes_that_another_is_refused_are_read_with_ones_own_signature(
    served: RangeServer, fresh: Path, private: set[str]
) -> None:
    sources = sources_by(served.base, source_check=str(CHECK))
    first, second = (f"{served.base}{fresh.name}/target.tif?{sas(secret)}" for secret in SECRETS[:2])
    held, ends = threading.Event(), threading.Event()

    def refused(path: str, start: int) -> int | None:
        if start == 0 or SECRETS[0] not in path:
            return None
        held.set()
        ends.wait(5)
        return 403

    with client_of(first, sources) as name:
        one = sources.remotes.identity(name)
    with client_of(second, sources):
        other = sources.remotes.identity(name)
    number = (one.stamp.size - 1) // CHUNK_BYTES
    assert number >= 2
    served.trouble = refused
    with ThreadPoolExecutor(2) as pool:
        losing = pool.submit(sources.remotes.pieces.get, one, [number])
        assert held.wait(5)
        waiting = pool.submit(sources.remotes.pieces.get, other, [number])
        ends.set()
        assert waiting.result(5)[number] == (fresh / "target.tif").read_bytes()[number * CHUNK_BYTES :]
        assert isinstance(losing.exception(5), SourceDeniedError)


def test_each_answer_is_made_with_its_own_signatures(
    client: TestClient, served: RangeServer, fresh: Path, private: set[str]
) -> None:
    base, closed = address(served, fresh), served.trouble
    used: set[str] = set()

    def watched(path: str, start: int) -> int | None:
        used.update(secret for secret in SECRETS if secret in path)
        return None if closed is None else closed(path, start)

    served.trouble = watched
    for secret in (*SECRETS[:2], SECRETS[0]):
        good(client, signed(base, secret))
        assert used == {secret}
        used.clear()
        settled()
