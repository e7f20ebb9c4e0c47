"""One budget per answer: the size of the answer counts, in pixels and in bytes, before anything is allocated."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from rasterio.crs import CRS
from rasterio.warp import transform_bounds
from rio_tiler.io import Reader
from starlette.testclient import TestClient

from algorithms.errors import ParameterError
from server.errors import TooLargeError
from server.http.budget import AnswerSize, admit, image_bounds, part_shape, whole_shape
from tests.helpers.scenes import ORIGIN, UTM, make_pair, write_raster
from tests.helpers.service import application, raster

SIDE = 10980
"""Of a Sentinel-2 scene."""
WGS84, MERCATOR = CRS.from_epsg(4326), CRS.from_epsg(3857)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A full scene, nearly empty on disk, and a small raster."""
    folder = tmp_path_factory.mktemp("budget")
    profile = {"driver": "GTiff", "count": 3, "height": SIDE, "width": SIDE, "dtype": "uint16", "tiled": True}
    with rasterio.open(folder / "scene.tif", "w", crs=UTM, transform=ORIGIN, SPARSE_OK=True, **profile) as dst:
        part = rasterio.windows.Window(5000, 5000, 512, 512)
        dst.write(np.full((3, 512, 512), 7, np.uint16), window=part)
    with rasterio.open(folder / "scene.tif", "r+") as dst:
        dst.build_overviews([2, 4, 8, 16, 32])
    write_raster(folder / "target.tif", make_pair(size=(64, 64)).target)
    return folder


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[TestClient]:
    with application(folder) as client:
        yield client


def place(col: float, row: float, size: float) -> tuple[float, float, float, float]:
    """Geographic bounds of a square of native pixels of the scene."""
    left, top = ORIGIN @ (col, row)
    bounds: tuple[float, float, float, float] = transform_bounds(
        UTM, "EPSG:4326", left, top - size * 10, left + size * 10, top
    )
    return bounds


def feature(bounds: tuple[float, float, float, float]) -> dict[str, Any]:
    left, bottom, right, top = bounds
    ring = [[left, bottom], [right, bottom], [right, top], [left, top], [left, bottom]]
    return {"type": "Feature", "properties": {}, "geometry": {"type": "Polygon", "coordinates": [ring]}}


def test_a_small_part_of_a_full_scene(client: TestClient, folder: Path) -> None:
    """At native resolution, and POSTed too."""
    query: Any = {"url": str(folder / "scene.tif"), "bidx": 1}
    bounds = place(5100, 5100, 100)
    path = "/cog/bbox/{},{},{},{}.tif".format(*bounds)
    for answer in (
        client.get(path, params=query),
        client.get(path, params=query | {"dst_crs": "EPSG:32633"}),
        client.post("/cog/feature.tif", params=query, json=feature(bounds)),
    ):
        assert answer.status_code == 200, answer.text
        image = raster(answer.content)
        assert 80 < image.shape[1] < 150
        assert (image[0][image[-1] > 0] == 7).all()
    statistics = client.post("/cog/statistics", params=query, json=feature(bounds)).json()
    assert statistics["properties"]["statistics"]["b1"]["max"] == 7


def test_the_whole_scene_by_size(client: TestClient, folder: Path) -> None:
    query: Any = {"url": str(folder / "scene.tif"), "bidx": 1}
    bounds = ",".join(map(str, place(0, 0, SIDE)))
    for path in (f"/cog/bbox/{bounds}/64x64.png", f"/cog/bbox/{bounds}.png", "/cog/preview.png"):
        answer = client.get(path, params=query | ({} if "64x64" in path else {"max_size": 64}))
        assert answer.status_code == 200, answer.text


LARGE = {
    "native": "/cog/bbox/{bounds}.png",
    "native, another CRS": "/cog/bbox/{bounds}.png?dst_crs=EPSG:3857",
    "world": "/cog/bbox/-180,-80,180,80.png",
    "width alone": "/cog/preview.png?width=60000",
    "height alone": "/cog/bbox/{bounds}.png?height=50000",
    "width of a flat box": "/cog/bbox/14.9,41.5,14.90001,42.png?width=1000",
    "sizes in the path": "/cog/preview/70000x70000.png",
    "max_size": "/cog/preview.png?max_size=100000",
    "map": "/cog/map?width=50000",
    "map of the world": "/cog/map?width=5000&height=5000&bbox=-180,-80,180,80",
    "bands": "/cog/preview/4000x4000.tif?" + "&".join(["bidx=1"] * 300),
    "expressions": "/cog/preview/4096x4096.tif?expression=" + ";".join(["b1*2"] * 60),
    "statistics": "/cog/statistics?max_size=20000",
    "buffer": "/cog/tiles/WebMercatorQuad/12/2218/1527.png?buffer=4000",
    "padding": "/cog/tiles/WebMercatorQuad/12/2218/1527.png?padding=4000",
    "tilesize": "/cog/tiles/WebMercatorQuad/12/2218/1527.png?tilesize=2000",
}


@pytest.mark.parametrize("path", LARGE.values(), ids=LARGE)
def test_too_much_is_refused_with_the_bound_and_the_remedy(client: TestClient, folder: Path, path: str) -> None:
    path = path.format(bounds=",".join(map(str, place(0, 0, SIDE))))
    answer = client.get(f"{path}{'&' if '?' in path else '?'}url={folder / 'scene.tif'}")
    assert answer.status_code == 400, answer.status_code
    detail = answer.json()["detail"]
    assert "ask for" in detail, detail
    assert any(sign.isdigit() for sign in detail)


def test_a_polygon_is_cut_within_the_budget(client: TestClient, folder: Path) -> None:
    query: Any = {"url": str(folder / "scene.tif"), "bidx": 1}
    shape = feature(place(5100, 5100, 300))
    assert client.post("/cog/statistics", params=query | {"cover_scale": 10}, json=shape).status_code == 200
    answer = client.post("/cog/statistics", params=query | {"cover_scale": 1000}, json=shape)
    assert answer.status_code == 400
    assert "CLEARSKY_MAX_REQUEST_BYTES" in answer.json()["detail"]


def test_the_operator_sets_the_bounds(folder: Path) -> None:
    query: Any = {"url": str(folder / "target.tif"), "bidx": 1}
    with application(folder, max_pixels="70000", max_request_bytes=str(64 << 20)) as client:
        assert client.get("/cog/preview/200x200.png", params=query).status_code == 200
        assert "70000" in client.get("/cog/preview/300x300.png", params=query).json()["detail"]
        many: Any = query | {"bidx": [1] * 500}
        assert "64" in client.get("/cog/preview/200x200.tif", params=many).json()["detail"]


@given(
    col=st.floats(-2000, 2000),
    row=st.floats(-2000, 2000),
    width=st.floats(1, 800),
    height=st.floats(1, 800),
    size=st.sampled_from([{}, {"max_size": 50}, {"width": 40}, {"height": 30}, {"width": 20, "height": 70}]),
    crs=st.sampled_from([UTM, "EPSG:3857", "EPSG:4326"]),
)
def test_the_shape_is_that_of_rio_tiler(
    folder: Path, col: float, row: float, width: float, height: float, size: dict[str, int], crs: str
) -> None:
    """To a pixel or a hundredth, whichever is more."""
    dst_crs = CRS.from_string(crs)
    left, top = ORIGIN @ (5000 + col, 5000 + row)
    bounds = (left, top - height * 10, left + width * 10, top)
    with Reader(str(folder / "scene.tif")) as reader:
        image = reader.part(bounds, dst_crs=dst_crs, bounds_crs=CRS.from_string(UTM), indexes=1, **size)
        known: Any = {"width": None, "height": None, "max_size": None} | size
        there = image_bounds(bounds, CRS.from_string(UTM), dst_crs)
        rows, cols = part_shape(reader.dataset, there, dst_crs, **known)
    assert abs(rows - image.height) <= max(1, 0.01 * image.height)
    assert abs(cols - image.width) <= max(1, 0.01 * image.width)


@pytest.mark.parametrize("crs", [None, UTM, "EPSG:3857", "EPSG:4326"])
@pytest.mark.parametrize("size", [{"max_size": 50}, {"width": 40}, {"height": 30}, {"width": 20, "height": 70}])
def test_the_whole_has_the_shape_of_rio_tiler(folder: Path, crs: str | None, size: dict[str, int]) -> None:
    dst_crs = CRS.from_string(crs) if crs else None
    with Reader(str(folder / "scene.tif")) as reader:
        image = reader.read(dst_crs=dst_crs, indexes=1, **size)
        shape, bounds = whole_shape(
            reader.dataset, dst_crs, **({"width": None, "height": None, "max_size": None} | size)
        )
    assert shape == (image.height, image.width)
    np.testing.assert_allclose(bounds, image.bounds)


BAD = [
    (math.nan, 0, 1, 1),
    (0, 0, math.inf, 1),
    (0, 0, 1e308, 1),
    (-1e308, 0, 1, 1),
    (1, 0, 1, 1),
    (0, 1, 1, 1),
    (2, 0, 1, 1),
    (0, 2, 1, 1),
]


@pytest.mark.parametrize("bounds", BAD)
def test_bounds_hold_an_area(bounds: tuple[float, float, float, float]) -> None:
    for crs in (WGS84, MERCATOR):
        with pytest.raises(ParameterError, match="give"):
            image_bounds(bounds, WGS84, crs)


def test_bounds_lie_in_the_crs_of_the_image() -> None:
    with pytest.raises(ParameterError):
        image_bounds((0, 0, 1, 1), WGS84, CRS.from_authority("IAU_2015", "30100"))  # the Moon


@given(
    st.builds(AnswerSize, *[st.integers(1, 5000)] * 3, itemsize=st.sampled_from([1, 2, 4, 8]), parts=st.integers(0, 60))
)
def test_more_is_never_cheaper(answer: AnswerSize) -> None:
    for more in (
        replace(answer, rows=answer.rows + 1),
        replace(answer, bands=answer.bands + 1),
        replace(answer, parts=max(answer.parts + 1, answer.bands)),
        replace(answer, fills=True),
        replace(answer, algorithm=True),
        replace(answer, coverage=10),
        replace(answer, itemsize=2 * answer.itemsize),
    ):
        assert more.nbytes >= answer.nbytes
    with pytest.raises(TooLargeError):
        admit(answer, max_pixels=answer.pixels, max_bytes=answer.nbytes - 1)
    admit(answer, max_pixels=answer.pixels, max_bytes=answer.nbytes)
