"""Geometries that are sent: bounded, finite, with an area."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from algorithms.errors import ParameterError
from server.http.geojson import MOST_VERTICES, check_shape
from tests.helpers.scenes import make_pair, write_raster
from tests.helpers.service import application

RING = [[15.001, 41.542], [15.005, 41.542], [15.005, 41.545], [15.001, 41.542]]
GOOD: list[dict[str, Any]] = [
    {"type": "Polygon", "coordinates": [RING]},
    {"type": "MultiPolygon", "coordinates": [[RING], [RING]]},
    {"type": "LineString", "coordinates": RING[:3]},
    {"type": "GeometryCollection", "geometries": [{"type": "Polygon", "coordinates": [RING]}]},
]
BAD: list[dict[str, Any]] = [
    {"type": "Point", "coordinates": [15, 41.5]},
    {"type": "MultiPoint", "coordinates": [[15, 41.5]]},
    {"type": "LineString", "coordinates": [[15, 41.5], [15, 41.6]]},
    {"type": "Polygon", "coordinates": [[[15, 41.5]] * 4]},
    {"type": "Polygon", "coordinates": [[[15, 41.5], [16, 41.5], [15.5, 41.5], [15, 41.5]]]},
    {"type": "Polygon", "coordinates": []},
    {"type": "Polygon", "coordinates": [[[1e308, 0], [1e309, 0], [0, 1], [1e308, 0]]]},
    {"type": "GeometryCollection", "geometries": []},
]


@pytest.mark.parametrize("geometry", GOOD, ids=lambda g: str(g["type"]))
def test_areas_pass(geometry: dict[str, Any]) -> None:
    check_shape(geometry)
    check_shape({"type": "Feature", "geometry": geometry})


@pytest.mark.parametrize("geometry", BAD, ids=lambda g: str(g)[:50])
def test_what_has_no_area_does_not(geometry: dict[str, Any]) -> None:
    with pytest.raises(ParameterError):
        check_shape({"type": "Feature", "geometry": geometry})


def test_vertices_and_depth_are_bounded() -> None:
    ring = [[k / MOST_VERTICES, k % 2] for k in range(MOST_VERTICES + 10)]
    with pytest.raises(ParameterError, match=str(MOST_VERTICES)):
        check_shape({"type": "Polygon", "coordinates": [ring]})
    nested: dict[str, Any] = GOOD[0]
    for _ in range(50):
        nested = {"type": "GeometryCollection", "geometries": [nested]}
    with pytest.raises(ParameterError, match="deep"):
        check_shape(nested)
    deep: list[Any] = RING
    for _ in range(50):
        deep = [deep]
    with pytest.raises(ParameterError, match="deep"):
        check_shape({"type": "Polygon", "coordinates": deep})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("geojson")
    write_raster(folder / "target.tif", make_pair(size=(64, 64)).target)
    return folder


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[TestClient]:
    with application(folder) as client:
        yield client


def post(client: TestClient, folder: Path, path: str, body: str) -> Any:
    query: Any = {"url": str(folder / "target.tif"), "bidx": 1}
    return client.post(path, params=query, content=body, headers={"Content-Type": "application/json"})


def feature(geometry: Any) -> str:
    return json.dumps({"type": "Feature", "properties": {}, "geometry": geometry})


BODIES = [
    "",
    "null",
    "[]",
    "7",
    "{",
    "[" * 100_000,
    '{"a":' * 20_000,
    '{"type":"Feature","properties":{},"geometry":' * 500,
    "9" * 5000,
    '{"type":"Feature","properties":{},"geometry":null}',
    '{"type":"Feature","properties":null,"geometry":{"type":"Polygon"}}',
    '{"type":"Feature","properties":{},"geometry":{"type":"Polygon","coordinates":[[[NaN,0],[1,0],[1,1],[NaN,0]]]}}',
    '{"type":"Feature","properties":{},"geometry":{"type":"Polygon","coordinates":[[[' + "9" * 5000 + ",0]]]}}",
    '{"type":"Feature","properties":{},"geometry":{"type":"Polygon","coordinates":"' + "x" * 5000 + '"}}',
    "\0",
    "\ud83d",
]


@pytest.mark.parametrize("path", ["/cog/feature.png", "/cog/feature/16x16.tif", "/cog/statistics"])
def test_bad_bodies_are_answered(client: TestClient, folder: Path, path: str) -> None:
    assert post(client, folder, path, feature(GOOD[0])).status_code == 200
    for body in [*BODIES, *map(feature, BAD)]:
        answer = client.post(
            path,
            params={"url": str(folder / "target.tif"), "bidx": 1},
            content=body.encode("utf-8", "surrogatepass"),
            headers={"Content-Type": "application/json"},
        )
        assert answer.status_code == 400, f"{body[:60]}: {answer.status_code} {answer.text[:200]}"
        assert len(answer.text) < 3000


def test_collections_of_features(client: TestClient, folder: Path) -> None:
    features = [json.loads(feature(geometry)) for geometry in GOOD[:2]]
    answer = post(client, folder, "/cog/statistics", json.dumps({"type": "FeatureCollection", "features": features}))
    assert answer.status_code == 200
    assert len(answer.json()["features"]) == 2
    bad = json.dumps({"type": "FeatureCollection", "features": [features[0], json.loads(feature(BAD[0]))]})
    assert post(client, folder, "/cog/statistics", bad).status_code == 400
