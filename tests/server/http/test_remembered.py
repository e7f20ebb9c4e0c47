"""Tiles of a query that was there before answer as those of a new one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import morecantile
import numpy as np
import pytest
from rasterio.warp import transform_bounds
from starlette.testclient import TestClient

from server.http import params
from tests.helpers.scenes import ORIGIN, UTM, make_pair, write_pair, write_raster
from tests.helpers.service import application

SIZE = 256
PASSING = {"etag", "server-timing", "x-request-id"}
"""Headers that differ from request to request."""
QUERIES: list[dict[str, Any]] = [
    {},
    {"bidx": [3, 2, 1], "rescale": "0,3000"},
    {"expression": "b4-b3;b2", "rescale": ["-1000,1000", "0,3000"], "buffer": 1},
    {"algorithm": "cloud_mask"},
    {"algorithm_params": '{"window": 20, "adjustment": "moment"}', "tilesize": 64},
    {"bidx": 1, "rescale": "0,3000", "colormap_name": "viridis"},
    {"reflectance_scale": "1e-4", "style": "natural", "bands": "blue,green,red,nir,swir16,swir22"},
    {"assets": "red", "unscale": "true", "replacment": "x"},
    {"bidx": 99},
    {"tilesize": "none"},
    {"algorithm_params": "{"},
    {"replacement_reflectance_scale": [1, 2, 3]},
]
"""Good ones and bad ones."""


def tile(column: int = 0, row: int = 0, *, encoding: str = "png") -> str:
    """Path of a tile over the rasters."""
    width, height = SIZE * ORIGIN.a, SIZE * ORIGIN.e
    west, south, east, north = transform_bounds(
        UTM, "EPSG:4326", ORIGIN.c, ORIGIN.f + height, ORIGIN.c + width, ORIGIN.f
    )
    found = morecantile.tms.get("WebMercatorQuad").tile((west + east) / 2, (south + north) / 2, 14)
    return f"/cog/tiles/WebMercatorQuad/14/{found.x + column}/{found.y + row}.{encoding}"


@pytest.fixture(scope="module")
def rasters(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("remembered")
    return write_pair(folder, make_pair(size=(SIZE, SIZE)))


@pytest.fixture(scope="module")
def client(rasters: dict[str, str]) -> Iterator[TestClient]:
    with application(Path(rasters["url"]).parent, answer_cache_bytes="0") as client:
        yield client


def told(answer: Any) -> tuple[int, dict[str, str], bytes]:
    """All that an answer says but for what belongs to one request."""
    headers = {name: value for name, value in answer.headers.items() if name not in PASSING}
    return answer.status_code, headers, answer.content


@pytest.mark.parametrize("given", QUERIES, ids=str)
def test_a_tile_of_a_known_query_is_that_of_a_new_one(
    client: TestClient, rasters: dict[str, str], given: dict[str, Any]
) -> None:
    query: dict[str, Any] = rasters | given
    for column in (1, 30):  # the second misses the raster
        client.get(tile(), params=query)
        again = client.get(tile(column), params=query)
        new = client.get(tile(column), params=query | {"_": str(column)})
        assert told(again) == told(new)


def test_parameters_of_a_map_are_solved_once(
    client: TestClient, rasters: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    solved = Mock(wraps=params.make_algorithm)
    monkeypatch.setattr(params, "make_algorithm", solved)
    for column in (0, 1, 0):
        assert client.get(tile(column), params=rasters | {"_": "map"}).status_code == 200
    assert solved.call_count == 1
    client.get(tile(), params=rasters | {"_": "other"})
    client.get(tile(encoding="webp"), params=rasters | {"_": "map"})
    assert solved.call_count == 3


@pytest.mark.parametrize("place", ["14/x/0", "14/-1/0", "14/1.0/0", "14/99999999999/0", "99/0/0", "14/ 1/0"])
def test_places_that_are_none_are_refused_as_ever(client: TestClient, rasters: dict[str, str], place: str) -> None:
    assert client.get(tile(), params=rasters).status_code == 200
    path = f"/cog/tiles/WebMercatorQuad/{place}.png"
    known, new = (client.get(path, params=query) for query in (rasters, rasters | {"_": place}))
    assert known.status_code == new.status_code >= 400
    assert known.content == new.content


def test_files_are_admitted_and_looked_at_for_every_request(tmp_path: Path) -> None:
    pair = make_pair(size=(SIZE, SIZE))
    query = write_pair(tmp_path, pair)
    with application(tmp_path) as client:
        before = client.get(tile(), params=query)
        write_raster(tmp_path / "target.tif", np.flip(pair.target, axis=2))
        changed = client.get(tile(), params=query)
        assert changed.headers["etag"] != before.headers["etag"]
        assert changed.content != before.content
        assert told(changed) == told(client.get(tile(), params=query | {"_": "1"}))
        for name, elsewhere in (("replacement", tmp_path.parent), ("target", tmp_path.parent)):
            # A link out of the folder that may be read.
            path = tmp_path / f"{name}.tif"
            outside = elsewhere / f"{tmp_path.name}_{name}.tif"
            path.rename(outside)
            assert client.get(tile(), params=query).status_code == 404
            path.symlink_to(outside)
            refused = client.get(tile(), params=query)
            assert refused.status_code == 403
            assert told(refused) == told(client.get(tile(), params=query | {"_": name}))
            path.unlink()
            outside.rename(path)
        assert client.get(tile(), params=query).status_code == 200
