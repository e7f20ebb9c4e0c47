"""WMTS as clients read it: one layer, grids that contain the data, limits whose tiles are all there."""

from __future__ import annotations

import io
import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from morecantile import tms as grids
from owslib.wmts import WebMapTileService
from PIL import Image
from rasterio.transform import from_origin
from rasterio.warp import transform_bounds
from starlette.testclient import TestClient

from tests.helpers.scenes import make_pair, write_raster
from tests.helpers.service import application

PLACES = {
    "rome": ("EPSG:32633", from_origin(300_000, 4_650_000, 10, 10)),
    "turned": ("EPSG:3035", from_origin(6_000_000, 4_500_000, 10, 10)),  # far from the grid's middle: strongly turned
    "ottawa": ("EPSG:32618", from_origin(440_000, 5_030_000, 10, 10)),
    "auckland": ("EPSG:2193", from_origin(1_750_000, 5_920_000, 10, 10)),
    "fiji": ("EPSG:32760", from_origin(820_000, 8_040_000, 10, 10)),  # across the antimeridian
    "svalbard": ("EPSG:32633", from_origin(500_000, 8_700_000, 10, 10)),
}
GRIDS = {
    "rome": {"EuropeanETRS89_LAEAQuad"},
    "turned": {"EuropeanETRS89_LAEAQuad", "UPSArcticWGS84Quad"},
    "ottawa": {"CanadianNAD83_LCC"},
    "auckland": {"NZTM2000Quad"},
    "svalbard": {"UPSArcticWGS84Quad"},
}
DEGREES = {"WGS1984Quad", "WorldCRS84Quad"}
WORLD = {"WebMercatorQuad", "WGS1984Quad", "WorldCRS84Quad", "WorldMercatorWGS84Quad"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wmts")
    pair = make_pair(size=(120, 120), bands=4, seed=1)
    for name, (crs, place) in PLACES.items():
        write_raster(folder / f"{name}.tif", pair.target, crs=crs, transform=place)
    write_raster(folder / "other date.tif", pair.replacement, crs=PLACES["rome"][0], transform=PLACES["rome"][1])
    (folder / "recipes").mkdir()
    recipe = {"name": "city", "title": "Rome <in> July & August", "target": str(folder / "rome.tif")}
    (folder / "recipes" / "city.json").write_text(json.dumps(recipe))
    return folder


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[TestClient]:
    with application(folder, recipes=str(folder / "recipes")) as client:
        yield client


def service(client: TestClient, path: str = "/cog", **params: Any) -> WebMapTileService:
    """The capabilities as OWSLib reads them."""
    answer = client.get(f"{path}/WMTSCapabilities.xml", params=params)
    assert answer.status_code == 200, answer.text
    return WebMapTileService("http://testserver/", xml=answer.content)


def tiles(found: WebMapTileService, layer: str) -> Iterator[tuple[str, str, int, int]]:
    """Every tile within the limits: set, matrix, row, column."""
    for name, link in found[layer].tilematrixsetlinks.items():
        for matrix, limit in link.tilematrixlimits.items():
            rows = range(limit.mintilerow, limit.maxtilerow + 1)
            columns = range(limit.mintilecol, limit.maxtilecol + 1)
            yield from ((name, matrix, row, col) for row, col in itertools.product(rows, columns))


@pytest.mark.parametrize("place", list(PLACES))
def test_every_tile_within_the_limits_is_there_and_none_beyond(client: TestClient, folder: Path, place: str) -> None:
    """No client gets a 404 for what it is told to ask for; all data lie within the limits."""
    params = {"url": str(folder / f"{place}.tif"), "tile_format": "png"}
    found = service(client, **params)
    shown: dict[tuple[str, str], int] = {}
    for grid, matrix, row, col in tiles(found, place):
        address = found[place].resourceURLs[0]["template"].replace("{TileMatrixSet}", grid)
        for name, value in {"TileMatrix": matrix, "TileRow": row, "TileCol": col}.items():
            address = address.replace(f"{{{name}}}", str(value))
        answer = client.get(address)
        assert answer.status_code == 200, (grid, matrix, row, col)
        alpha = np.asarray(Image.open(io.BytesIO(answer.content)).convert("RGBA"))[..., 3]
        shown[grid, matrix] = shown.get((grid, matrix), 0) + int((alpha > 0).sum())
    assert shown
    assert all(shown.values())
    for (grid, matrix), count in shown.items():
        limit = found[place].tilematrixsetlinks[grid].tilematrixlimits[matrix]
        for row, col in ((limit.mintilerow - 3, limit.mintilecol), (limit.maxtilerow, limit.maxtilecol + 3)):
            beyond = client.get(f"/cog/tiles/{grid}/{matrix}/{col}/{row}.png", params={"url": params["url"]})
            assert beyond.status_code in (400, 404), (grid, matrix, row, col)
        assert count > 50


@pytest.mark.parametrize("place", list(GRIDS))
def test_grids_contain_the_data_and_can_be_written_down(client: TestClient, folder: Path, place: str) -> None:
    found = service(client, url=str(folder / f"{place}.tif"))
    assert set(found.tilematrixsets) == WORLD | GRIDS[place]
    assert next(iter(found[place].tilematrixsetlinks)) == "WebMercatorQuad"
    for name, grid in found.tilematrixsets.items():
        tms = grids.get(name)
        assert grid.crs.split(":")[-1] in {str(tms.crs.to_epsg()), "CRS84"}
        # From about one tile to the raster's own pixels, so that no client takes it for a larger one.
        assert 1 <= len(grid.tilematrix) <= 4
        finest = max(grid.tilematrix, key=int)
        assert tms.matrix(int(finest)).cellSize * (111_000 if name in DEGREES else 1) < 60


def test_layers_have_names_and_no_paths(client: TestClient, folder: Path) -> None:
    params = {"url": str(folder / "rome.tif"), "replacement": str(folder / "other date.tif"), "bidx": "1"}
    answer = client.get("/cog/WMTSCapabilities.xml", params=params)
    found = service(client, **params)
    assert (found.identification.title, list(found.contents)) == ("rome without clouds", ["rome"])
    assert found["rome"].abstract == "rome with its clouds filled from other date"
    names = answer.text.split("<ows:Title>")[1:] + answer.text.split("<ows:Abstract>")[1:]
    assert not any(str(folder) in name.split("<")[0] for name in names)
    assert "TiTiler" not in answer.text
    # QGIS 3.22 draws nothing where the bounds are in degrees alone.
    west, south, east, north = transform_bounds(PLACES["rome"][0], "EPSG:3857", 300_000, 4_648_800, 301_200, 4_650_000)
    box = re.search(
        r'<ows:BoundingBox crs="urn:ogc:def:crs:EPSG::3857">(.*?)</ows:BoundingBox>', answer.text, re.DOTALL
    )
    assert box is not None
    corners = [float(number) for number in re.findall(r"-?\d+\.\d+", box[1])]
    assert corners == pytest.approx([west, south, east, north], abs=20)
    template = found["rome"].resourceURLs[0]["template"]
    assert "replacement=" in template
    assert "bidx=1" in template
    recipe = service(client, "/recipes/city")
    assert (recipe["city"].title, str(folder) in recipe["city"].abstract) == ("Rome <in> July & August", False)
    assert str(folder) not in client.get("/recipes/city/WMTSCapabilities.xml").text


def test_zooms_and_codes_can_be_chosen(client: TestClient, folder: Path) -> None:
    found = service(client, url=str(folder / "rome.tif"), zooms="WebMercatorQuad::8,9", use_epsg="true")
    grid = found.tilematrixsets["WebMercatorQuad"]
    assert (sorted(grid.tilematrix), grid.crs) == (["8", "9"], "EPSG:3857")


def test_tiles_for_dense_screens(client: TestClient, folder: Path) -> None:
    """`@2x` doubles the pixels, of a plain tile as of one with a size, below every prefix; its tag is its own."""
    query = {"url": str(folder / "rome.tif")}
    tile = next(f"{m}/{c}/{r}" for grid, m, r, c in tiles(service(client, **query), "rome") if "WebMercator" in grid)
    for prefix, asked in (("cog", query), ("recipes/city", {})):
        path = f"/{prefix}/tiles/WebMercatorQuad/{tile}"
        plain, dense = (client.get(f"{path}{scale}.png", params=asked) for scale in ("", "@2x"))
        double = client.get(f"{path}.png", params=asked | {"tilesize": "512"})
        assert dense.content == double.content != plain.content
        assert dense.headers["etag"] == double.headers["etag"] != plain.headers["etag"]
        assert Image.open(io.BytesIO(dense.content)).size == (512, 512)
        small = client.get(f"{path}@2x", params=asked | {"tilesize": "100"})
        assert Image.open(io.BytesIO(small.content)).size == (200, 200)
        for scale, status in (("@9x", 400), ("@x", 400), ("@4x", 200)):
            assert client.get(f"{path}{scale}.png", params=asked).status_code == status
        for size in ("1000", "many", "-1"):
            assert client.get(f"{path}@2x.png", params=asked | {"tilesize": size}).status_code == 400


def test_bad_parameters_of_the_tiles_are_an_error(client: TestClient, folder: Path) -> None:
    answer = client.get("/cog/WMTSCapabilities.xml", params={"url": str(folder / "rome.tif"), "rescale": "high"})
    assert answer.status_code == 400, answer.text
