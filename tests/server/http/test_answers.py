"""What a TiTiler user expects of answers beyond the pictures: compression, HEAD, caching, numbers, /validate."""

from __future__ import annotations

import gzip
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import brotli
import numpy as np
import pytest
import rasterio
from rio_cogeo.cogeo import cog_validate
from starlette.testclient import TestClient

from server.http.compression import accepted_coding, is_text
from server.http.params import ALGORITHMS
from tests.helpers.scenes import make_pair, write_raster
from tests.helpers.service import application, raster
from tests.server.http.test_openapi import PLACES, operations

TILE = "/cog/tiles/WebMercatorQuad/14/8874/6109.png"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, pair = tmp_path_factory.mktemp("answers"), make_pair(size=(64, 64))
    write_raster(folder / "target.tif", pair.target)
    write_raster(folder / "striped.tif", make_pair(size=(600, 64)).target[:1])
    with rasterio.open(
        folder / "strips.tif", "w", driver="GTiff", width=900, height=900, count=1, dtype="uint8"
    ) as dst:
        dst.write(np.ones((1, 900, 900), np.uint8))
    (folder / "good.yaml").write_text("name: good\ntarget: target.tif\n")
    return folder


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[TestClient]:
    with application(folder, recipes=str(folder)) as client:
        yield client


def sent(client: TestClient, path: str, accept: str, **query: Any) -> tuple[Any, bytes]:
    """An answer, and its body as it was sent."""
    with client.stream("GET", path, params=query, headers={"Accept-Encoding": accept}) as answer:
        return answer, b"".join(answer.iter_raw())


TEXTS = ["/cog/WMTSCapabilities.xml", "/cog/statistics", "/openapi.json", "/tileMatrixSets/WebMercatorQuad", "/viewer"]


@pytest.mark.parametrize("path", TEXTS)
def test_text_is_compressed_as_the_client_accepts(client: TestClient, folder: Path, path: str) -> None:
    query: Any = {"url": str(folder / "target.tif")} if path.startswith("/cog") else {}
    plain, body = sent(client, path, "identity", **query)
    assert "content-encoding" not in plain.headers
    for accept, coding, decode in (
        ("br, gzip", "br", brotli.decompress),
        ("gzip", "gzip", gzip.decompress),
        ("*", "br", brotli.decompress),
    ):
        answer, packed = sent(client, path, accept, **query)
        assert answer.headers["content-encoding"] == coding
        assert decode(packed) == body
        assert int(answer.headers["content-length"]) == len(packed) < len(body)
        assert "accept-encoding" in answer.headers["vary"].lower()
    assert "accept-encoding" in plain.headers["vary"].lower()


def test_capabilities_shrink(client: TestClient, folder: Path) -> None:
    _, body = sent(client, TEXTS[0], "identity", url=str(folder / "target.tif"))
    _, packed = sent(client, TEXTS[0], "br", url=str(folder / "target.tif"))
    assert len(body) > 5_000
    assert len(packed) < len(body) / 4


def test_pictures_and_short_texts_are_not(client: TestClient, folder: Path) -> None:
    for path, query in ((TILE, {"url": str(folder / "target.tif"), "bidx": 1}), ("/healthz", {})):
        answer, _ = sent(client, path, "br, gzip", **query)
        assert answer.status_code == 200
        assert "content-encoding" not in answer.headers


def test_other_bytes_have_no_strong_tag(client: TestClient, folder: Path) -> None:
    query: Any = {"url": str(folder / "target.tif")}
    plain, _ = sent(client, "/cog/statistics", "identity", **query)
    packed, _ = sent(client, "/cog/statistics", "br", **query)
    assert packed.headers["etag"] == "W/" + plain.headers["etag"]
    again = client.get("/cog/statistics", params=query, headers={"If-None-Match": packed.headers["etag"]})
    assert again.status_code == 304


@pytest.mark.parametrize(
    ("accept", "coding"),
    [
        ("", None),
        ("identity", None),
        ("gzip;q=0", None),
        ("gzip;q=0.0, br;q=0", None),
        ("gzip;q=0.5", "gzip"),
        ("deflate, gzip", "gzip"),
        ("BR", "br"),
        ("*;q=0", None),
        ("br;q=0, *", "gzip"),
        ("br;q=;;,,=", "br"),
    ],
)
def test_codings(accept: str, coding: str | None) -> None:
    assert accepted_coding(accept) == coding


def test_types_of_text() -> None:
    assert all(
        map(is_text, ["text/html; charset=utf-8", "application/json", "application/vnd.x+json", "image/svg+xml"])
    )
    assert not any(map(is_text, ["image/png", "image/tiff; application=geotiff", "application/x-binary", ""]))


def test_head_is_answered_wherever_get_is(client: TestClient, folder: Path) -> None:
    tried = 0
    for path, method, operation in operations(client.get("/openapi.json").json()):
        if method != "get":
            continue
        query: Any = {"url": str(folder / "target.tif"), "bidx": 1} if path.startswith("/cog") else {"bidx": 1}
        where = path.format(**(PLACES | {"z": 14, "x": 8874, "y": 6109, "lon": 15.003, "lat": 41.545}))
        there, head = client.get(where, params=query), client.head(where, params=query)
        assert head.status_code == there.status_code, f"{operation['operationId']}: {head.status_code}"
        assert head.content == b""
        same = ["content-type", "etag", "cache-control", "content-bbox"]
        if path != "/metrics":  # which changes by the request before
            same.append("content-length")
        assert {name: head.headers.get(name) for name in same} == {name: there.headers.get(name) for name in same}
        tried += 1
    assert tried > 30
    assert client.head("/cog/feature").status_code == 405


def test_tiles_outside_are_kept_as_long_as_tiles(client: TestClient, folder: Path) -> None:
    query: Any = {"url": str(folder / "target.tif"), "bidx": 1}
    inside = client.get(TILE, params=query)
    for path in ("/cog/tiles/WebMercatorQuad/14/0/0.png", "/cog/tiles/WebMercatorQuad/3/900/900.png"):
        outside = client.get(path, params=query)
        assert outside.status_code == 404
        assert outside.headers["cache-control"] == inside.headers["cache-control"] == "public, max-age=3600"
    missing = client.get(TILE, params={"url": str(folder / "missing.tif")})
    assert missing.status_code == 404
    assert "cache-control" not in missing.headers
    with application(folder, empty_outside="true") as quiet:
        empty = quiet.get("/cog/tiles/WebMercatorQuad/14/0/0.png", params=query)
        assert (empty.status_code, empty.headers["cache-control"]) == (204, "public, max-age=3600")


@pytest.mark.parametrize("place", ["31/0/0", "99/0/0", "-1/0/0", "3/8/0", "3/0/-1", f"14/{10**30}/0", f"{10**30}/0/0"])
def test_tiles_that_do_not_exist(client: TestClient, folder: Path, place: str) -> None:
    answer = client.get(f"/cog/tiles/WebMercatorQuad/{place}.png", params={"url": str(folder / "target.tif")})
    assert answer.status_code == 404


def test_validate_tells_what_rio_cogeo_tells(client: TestClient, folder: Path) -> None:
    for name in ("target.tif", "striped.tif", "strips.tif"):
        url = str(folder / name)
        told = client.get("/cog/validate", params={"url": url}).json()
        good, errors, warned = cog_validate(url, quiet=True)
        assert told["COG"] == good
        assert told["COG_errors"] == (errors or None)
        assert told["COG_warnings"] == (warned or None)
        assert told["Path"] == url
    assert not told["COG"]
    assert client.get("/recipes/good/validate").status_code == 200
    for url, status in (("/etc/passwd", 403), (str(folder / "none.tif"), 404), (str(folder / "good.yaml"), 400)):
        assert client.get("/cog/validate", params={"url": url}).status_code == status


def test_every_request_has_a_number(client: TestClient, folder: Path) -> None:
    numbers = [client.get(path).headers["x-request-id"] for path in ("/healthz", "/healthz", "/none", "/cog/info")]
    assert len(set(numbers)) == 4
    for given in ("a", "abc123", "proxy-0123", "x" * 64, "Root=1-67891233-abcdef012345678912345678", "a/b+c==:1@x"):
        assert client.get("/healthz", headers={"X-Request-Id": given}).headers["x-request-id"] == given
    for odd in ("", "x" * 65, "semi;colon-here", "new\tline-here", "two words", '"quoted"', "{x}", "a,b"):
        assert client.get("/healthz", headers={"X-Request-Id": odd}).headers["x-request-id"] != odd


class SecretError(Exception):
    """A fault of the server's own."""


def test_a_fault_is_logged_once_and_says_nothing_of_the_inside(
    client: TestClient, folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any, **__: Any) -> Any:
        raise SecretError("password of /etc/secret")

    monkeypatch.setattr("server.http.reader.part_shape", fails)
    with caplog.at_level(logging.INFO):
        answer = client.get(TILE, params={"url": str(folder / "target.tif")})
    assert answer.status_code == 500
    number = answer.headers["x-request-id"]
    assert number in answer.json()["detail"]
    assert "secret" not in answer.text.lower()
    faults = [record for record in caplog.records if record.exc_info]
    assert len(faults) == 1
    assert number in faults[0].getMessage()
    assert "SecretError" in caplog.text


def test_what_a_library_refuses_is_the_requests_fault(
    client: TestClient, folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(*_: Any, **__: Any) -> Any:
        raise ValueError("cannot reshape /etc/secret/file")

    monkeypatch.setattr("rio_tiler.reader.get_vrt_transform", refuses)
    with caplog.at_level(logging.WARNING):
        answer = client.get(TILE, params={"url": str(folder / "target.tif"), "bidx": 1, "reproject": "cubic"})
    assert answer.status_code == 400
    assert "cannot be used together: cannot reshape" in answer.json()["detail"]
    assert "secret" not in answer.text
    assert answer.headers["x-request-id"] in caplog.text
    assert "unexpected" in caplog.text


@pytest.mark.parametrize("name", ALGORITHMS.list())
@pytest.mark.parametrize("bands", [(1,), (1, 2), (1, 2, 3), (1, 2, 3, 4, 5, 6)], ids=len)
def test_algorithms_work_or_say_why_not(client: TestClient, folder: Path, name: str, bands: tuple[int, ...]) -> None:
    if name.startswith(("cloud", "fill")):
        return
    query: Any = {"url": str(folder / "target.tif"), "algorithm": name, "bidx": bands}
    for path in ("/cog/preview.tif", "/cog/statistics"):
        answer = client.get(path, params=query)
        assert answer.status_code in (200, 400), answer.text
        if answer.status_code == 400:
            assert name in answer.json()["detail"]
            assert "bidx" in answer.json()["detail"]


def test_algorithms_take_their_own_parameters_alone(client: TestClient, folder: Path) -> None:
    query: Any = {"url": str(folder / "target.tif"), "algorithm": "hillshade", "bidx": 1}
    good = client.get("/cog/preview.tif", params=query | {"algorithm_params": '{"azimuth": 90}'})
    assert raster(good.content).shape[1:] == (58, 58)
    for bad in (
        '{"output_dtype": "S1000000"}',
        '{"title": "x"}',
        '{"azimut": 90}',
        '{"azimuth": 1000}',
        '{"buffer": 99}',
    ):
        answer = client.get("/cog/preview.tif", params=query | {"algorithm_params": bad})
        assert answer.status_code == 400, bad
        assert "hillshade" in answer.json()["detail"] or "azimuth" in answer.json()["detail"]


@pytest.mark.parametrize(
    "header", ["text/html;x", "q", ";", "text/html;q=a", "*/*;q=1;q=2;=", ",,,", "\xff", "a" * 9000]
)
def test_odd_headers_are_no_fault_of_the_server(client: TestClient, folder: Path, header: str) -> None:
    query: Any = {"url": str(folder / "target.tif"), "bidx": 1}
    for path in ("/cog/map", "/cog/tiles", "/", "/recipes", "/algorithms", TILE):
        for name in ("Accept", "Accept-Encoding", "If-None-Match", "Range", "Origin", "Cookie", "Host"):
            raw: Any = {name: header.encode("latin-1")}
            answer = client.get(path, params=query, headers=raw)
            assert answer.status_code < 500, f"{path} {name}: {answer.text}"


def test_matrix_sets_that_a_dataset_lies_outside_of_are_not_logged(folder: Path) -> None:
    """WMTS looks at all of them; a warning for each would fill the server's log."""
    with warnings.catch_warnings(record=True) as told:
        warnings.resetwarnings()
        with application(folder) as client:
            answer = client.get("/cog/WMTSCapabilities.xml", params={"url": str(folder / "target.tif")})
    assert answer.status_code == 200
    assert [str(one.message) for one in told if "tms" in str(one.message).lower()] == []
