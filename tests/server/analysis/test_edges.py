"""Nodata edges: a pixel that the plain image has is never made nodata, nor left as cloud next to a filled one."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import morecantile
import numpy as np
import pytest
from rasterio.transform import Affine, from_origin
from rasterio.warp import transform_bounds
from scipy import ndimage
from starlette.testclient import TestClient

from tests.helpers.scenes import UTM, make_pair, smooth_noise, write_raster
from tests.helpers.service import application, raster
from tests.helpers.stock import picture

TILES = morecantile.tms.get("WebMercatorQuad")
LATTICES = {
    "UTM": (UTM, from_origin(500_000, 4_600_000, 10, 10)),
    "degrees": ("EPSG:4326", from_origin(14.0, 42.0, 1e-4, 1e-4)),
    "turned": (UTM, from_origin(500_000, 4_600_000, 10, 10) @ Affine.rotation(25)),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("edges")


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[TestClient]:
    with application(folder) as client:
        yield client


@pytest.fixture(scope="module", params=LATTICES)
def files(request: pytest.FixtureRequest, folder: Path) -> dict[str, str]:
    """A target and a replacement with the same holes, and a mask: everything masked can be filled."""
    crs, lattice = LATTICES[request.param]
    pair = make_pair(size=(330, 350), seed=9, bands=3)
    holes = smooth_noise(np.random.default_rng(4), pair.mask.shape, 9) > 1.0
    holes |= np.random.default_rng(5).random(pair.mask.shape) < 0.002
    arrays = {
        "url": np.where(holes, 0, pair.target),
        "replacement": np.where(holes, 0, pair.replacement),
        "mask": pair.mask[None].astype(np.uint8),
    }
    return {
        key: write_raster(
            folder / f"{request.param}-{key}.tif",
            array,
            crs=crs,
            transform=lattice,
            nodata=None if key == "mask" else 0,
            descriptions=("blue", "green", "red")[: len(array)],
        )
        for key, array in arrays.items()
    }


VIEWS: dict[str, dict[str, Any]] = {
    "plain": {},
    "large": {"tilesize": 512},
    "bilinear": {"reproject": "bilinear", "resampling": "bilinear"},
}


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
@pytest.mark.parametrize("zoom", [9, 11, 12, 13, 14, 16])
def test_tiles_have_the_pixels_of_the_plain_ones(
    client: TestClient, files: dict[str, str], zoom: int, view: dict[str, Any]
) -> None:
    plain_info = client.get("/cog/info", params={"url": files["url"]}).json()
    west, south, east, north = transform_bounds(plain_info["crs"], "EPSG:4326", *plain_info["bounds"])
    tiles = list(TILES.tiles(west, south, east, north, zooms=[zoom]))[:6]
    seen = 0
    for tile in tiles:
        path = f"/cog/tiles/WebMercatorQuad/{zoom}/{tile.x}/{tile.y}.npy"

        def read(path: str = path, **params: Any) -> np.ndarray:
            answer = client.get(path, params=view | params)
            assert answer.status_code == 200, answer.text
            return picture(answer.content, answer.headers["content-type"])

        plain = read(url=files["url"])
        there = plain[-1] > 0
        options = {"algorithm_params": json.dumps({"buffer": 2, "unfilled": "nodata"})}
        filled, source, classes = (
            read(**files, **options, algorithm=name) for name in ("cloud_removal", "fill_source", "cloud_mask")
        )
        for image in (filled, source, classes):
            np.testing.assert_array_equal(image[-1] > 0, there)
        assert not (source[0][there] == 255).any()
        assert not (classes[0][there] == 255).any()
        assert (filled[0][there] < 6000).all() or zoom < 13 or "reproject" in view  # clouds are brighter than 7000
        seen += int(there.sum())
    assert seen > 150


@pytest.mark.parametrize("algorithm", ["fill_source", "fill_confidence", "cloud_mask"])
def test_nodata_stays_nodata(client: TestClient, files: dict[str, str], algorithm: str) -> None:
    answer = client.get("/cog/preview.tif", params=files | {"algorithm": algorithm})
    plain = raster(client.get("/cog/preview.tif", params={"url": files["url"]}).content)
    shown = raster(answer.content)
    np.testing.assert_array_equal(shown[-1] > 0, plain[-1] > 0)
    whole = ndimage.binary_erosion(plain[-1] > 0, np.ones((5, 5), bool))
    assert not (shown[0][whole] == 255).any()


def test_the_real_scene_with_holes(real_data: Path) -> None:
    files = {
        "url": str(real_data / "s2_tatarstan_wide_cloudy.tif"),
        "replacement": str(real_data / "s2_tatarstan_wide_clear.tif"),
    }
    with application(real_data) as client:
        for path in ("13/5287/2592", "12/2643/1296", "11/1321/648"):
            tile = f"/cog/tiles/WebMercatorQuad/{path}.npy"
            plain = np.load(_body(client, tile, url=files["url"]))
            source = np.load(_body(client, tile, **files, algorithm="fill_source"))
            there = plain[-1] > 0
            assert there.sum() > 300
            np.testing.assert_array_equal(source[-1] > 0, there)
            assert not (source[0][there] == 255).any()


def _body(client: TestClient, path: str, **params: Any) -> io.BytesIO:
    answer = client.get(path, params=params)
    assert answer.status_code == 200, answer.text
    return io.BytesIO(answer.content)
