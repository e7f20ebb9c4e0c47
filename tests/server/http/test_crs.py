"""One parser for every CRS that a request names: codes, OGC's names, WKT, PROJJSON; no file, no address."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyproj
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rasterio.crs import CRS
from starlette.testclient import TestClient

from algorithms.errors import ParameterError
from server.http.crs import canonical_crs, parse_crs
from tests.helpers.scenes import make_pair, write_raster
from tests.helpers.service import application

CODES = {
    "EPSG:4326": "EPSG:4326",
    "epsg:3857": "EPSG:3857",
    "[EPSG:32633]": "EPSG:32633",
    "ESRI:54030": "ESRI:54030",
    "IAU_2015:30100": "IAU_2015:30100",
    "IGNF:LAMB93": "IGNF:LAMB93",
    "OGC:CRS84": "OGC:CRS84",
    "CRS84": "OGC:CRS84",
    "http://www.opengis.net/def/crs/EPSG/0/3035": "EPSG:3035",
    "https://www.opengis.net/def/crs/OGC/1.3/CRS84": "OGC:CRS84",
    "http://www.opengis.net/def/crs/IAU/2015/30100": "IAU_2015:30100",
    "urn:ogc:def:crs:EPSG::3035": "EPSG:3035",
    "urn:ogc:def:crs:OGC:1.3:CRS84": "OGC:CRS84",
}
UTM = pyproj.CRS("EPSG:32633")
WEB_MERCATOR = CRS.from_epsg(3857).to_wkt()
GRID = "+proj=longlat +ellps=bessel +nadgrids=BETA2007.gsb"

REFUSED = [
    "http://127.0.0.1:9/crs",
    "https://example.com/crs.wkt",
    "http://www.opengis.net/def/crs/EPSG/0/../../../x",
    "http://www.opengis.net.example.com/def/crs/EPSG/0/4326",
    "ftp://www.opengis.net/def/crs/EPSG/0/4326",
    "/etc/passwd",
    "file:///etc/passwd",
    "@/etc/passwd",
    "./crs.wkt",
    "DICT:/etc/passwd,1",
    "ESRI::/etc/passwd",
    "/vsicurl/http://127.0.0.1:9/x",
    "+init=epsg:4326",
    "+proj=longlat +nadgrids=/etc/passwd",
    "+proj=longlat +geoidgrids=x.gtx",
    "+proj=pipeline +step +proj=utm +zone=33",
    "+proj=longlat +catalog=/etc/passwd",
    GRID,
    pyproj.CRS(GRID).to_wkt(),
    pyproj.CRS(GRID).to_json(),
    WEB_MERCATOR.replace("@null", "/etc/passwd"),
    WEB_MERCATOR.replace("@null", "@null,/etc/passwd"),
    WEB_MERCATOR.replace("+wktext", "+geoidgrids=/etc/passwd"),
    'LOCAL_CS["x"]',
    'LOCAL_CS["x",UNIT["m",1]]',
    'ENGCRS["x",EDATUM["y"],CS[Cartesian,2],AXIS["a",east],AXIS["b",north],LENGTHUNIT["metre",1]]',
    "EPSG:5773",
    "EPSG:4978",
    "EPSG:-1",
    "EPSG:999999",
    "EPSG:" + "9" * 5000,
    "EPSG:\u0664\u0663\u0662\u0666",
    "NOBODY:4326",
    "GEOGCS[" * 1000,
    "{" * 5000,
    '{"type":' * 100,
    "{}",
    "[]",
    "4326",
    "",
    " ",
    "\0",
    "A" * 20_000,
]


@pytest.mark.parametrize(("text", "code"), CODES.items())
def test_codes_and_names(text: str, code: str) -> None:
    assert canonical_crs(text) == code
    assert parse_crs(text) == CRS.from_string(code)


@pytest.mark.parametrize("code", ["EPSG:3857", "EPSG:27700", "EPSG:32633", "EPSG:3031", "ESRI:54030"])
def test_every_way_to_write_a_crs_is_the_same(code: str) -> None:
    crs = pyproj.CRS(code)
    written = [crs.to_wkt("WKT1_GDAL"), crs.to_wkt("WKT2_2019"), crs.to_json(), CRS.from_string(code).to_wkt()]
    assert {canonical_crs(text) for text in written} == {code}


def test_a_crs_without_a_code_stays_what_it_is() -> None:
    wkt = pyproj.CRS("+proj=laea +lat_0=41 +lon_0=15 +datum=WGS84").to_wkt()
    for text in (wkt, "+proj=laea +lat_0=41 +lon_0=15 +datum=WGS84 +no_defs"):
        assert CRS.from_user_input(canonical_crs(text)) == CRS.from_user_input(wkt)


@pytest.mark.parametrize("text", REFUSED, ids=lambda text: text[:40])
def test_the_rest_is_refused(text: str) -> None:
    with pytest.raises(ParameterError) as caught:
        parse_crs(text)
    assert "EPSG:4326" in str(caught.value) or "nested" in str(caught.value)
    assert len(str(caught.value)) < 1000


@given(st.text(max_size=80) | st.from_regex(r"\+?[a-zA-Z]+[:=/\[][\w/.\[\]\",=+ -]{0,60}", fullmatch=True))
def test_any_text_is_a_crs_or_refused(text: str) -> None:
    try:
        canonical = canonical_crs(text)
    except ParameterError:
        return
    assert CRS.from_user_input(canonical) == parse_crs(text)
    assert canonical_crs(canonical) == canonical


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, pair = tmp_path_factory.mktemp("crs"), make_pair(size=(64, 64))
    write_raster(folder / "target.tif", pair.target)
    (folder / "crs.wkt").write_text(UTM.to_wkt())
    (folder / "good.yaml").write_text("name: good\ntarget: target.tif\n")
    return folder


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[TestClient]:
    with application(folder, recipes=str(folder)) as client:
        yield client


def crs_parameters(client: TestClient) -> Iterator[tuple[str, str, str]]:
    """Method, path and name of every query parameter that is a CRS."""
    for path, operations in client.get("/openapi.json").json()["paths"].items():
        for method, operation in operations.items():
            for parameter in operation.get("parameters", []):
                if "crs" in parameter["name"].lower():
                    yield method, path, parameter["name"]


def test_no_route_reads_a_crs_from_a_file(client: TestClient, folder: Path) -> None:
    """The file holds a good CRS, and lies in an admitted folder."""
    places = {"tileMatrixSetId": "WebMercatorQuad", "format": "tif", "lon": 15, "lat": 41.5, "name": "good"}
    places |= {"minx": 15, "miny": 41.5, "maxx": 15.01, "maxy": 41.6, "width": 8, "height": 8}
    tried = []
    for method, path, name in crs_parameters(client):
        for text in (str(folder / "crs.wkt"), (folder / "crs.wkt").as_uri()):
            query = {name: text} | ({"url": str(folder / "target.tif")} if path.startswith("/cog/") else {})
            answer = client.request(method, path.format(**places), params=query)
            assert answer.status_code == 400, f"{method} {path} {name}: {answer.status_code}"
            assert "none of the accepted forms" in answer.json()["detail"], f"{method} {path} {name}: {answer.text}"
        tried.append(name)
    assert {"dst_crs", "coord_crs", "crs", "bbox-crs"} <= set(tried)
    assert len(tried) > 20


def test_a_crs_in_brackets_is_used(client: TestClient, folder: Path) -> None:
    query: dict[str, Any] = {"url": str(folder / "target.tif"), "bidx": 1}
    answers = [client.get("/cog/map", params=query | {"crs": crs}) for crs in ("EPSG:3857", "[EPSG:3857]")]
    assert answers[0].status_code == 200
    assert answers[0].headers["content-crs"] == "<http://www.opengis.net/def/crs/EPSG/0/3857>"
    assert answers[0].content == answers[1].content
