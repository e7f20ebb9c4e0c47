"""A replacement that lies off its target: the server moves it as `fill_clouds` does, alike in every tile."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import morecantile
import numpy as np
import pytest
from rasterio.warp import transform
from starlette.testclient import TestClient

from algorithms import buffer_mask, fill_clouds
from algorithms.cells import cell_any
from tests.helpers.scenes import UTM, Pair, make_pair, put_off, write_pair
from tests.helpers.service import application, raster

TMS = morecantile.tms.get("WebMercatorQuad")


@pytest.fixture(scope="module")
def pair() -> Pair:
    return make_pair(size=(500, 600), seed=6)


@pytest.fixture(scope="module")
def files(pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("shift")
    return write_pair(folder, replace(pair, replacement=put_off(pair)))


@pytest.fixture(scope="module")
def client(files: dict[str, str]) -> Iterator[TestClient]:
    with application(str(Path(files["url"]).parent)) as client:
        yield client


def test_the_server_moves_as_fill_clouds_does(client: TestClient, files: dict[str, str], pair: Pair) -> None:
    answer = client.get(
        "/cog/bbox/500000,4595000,506000,4600000.tif", params={**files, "coord_crs": UTM, "dst_crs": UTM}
    )
    assert answer.status_code == 200, answer.text
    sent = raster(answer.content)[:6].astype(float)
    mask = cell_any(buffer_mask(pair.mask, 2), 2).repeat(2, 0).repeat(2, 1)
    whole = fill_clouds(pair.target, put_off(pair), mask, analysis_factor=2)
    assert np.abs(sent - np.rint(whole)).max() <= 1
    np.testing.assert_array_equal(sent[:, ~mask], pair.target[:, ~mask])


@pytest.mark.parametrize("method", ["nearest", "bilinear"])
def test_quarters_of_a_moved_scene(client: TestClient, files: dict[str, str], method: str) -> None:
    params = {**files, "resampling": method, "reproject": method}
    (lon,), (lat,) = transform(UTM, "EPSG:4326", [503_000], [4_597_500])
    t = TMS.tile(lon, lat, 13)

    def tile(at: morecantile.Tile, size: int, query: dict[str, str]) -> np.ndarray:
        path = f"/cog/tiles/WebMercatorQuad/{at.z}/{at.x}/{at.y}.tif"
        answer = client.get(path, params={**query, "tilesize": size})
        assert answer.status_code == 200, answer.text
        return raster(answer.content)

    plain = {"url": files["url"], "resampling": method, "reproject": method}
    whole, whole_plain = tile(t, 512, params), tile(t, 512, plain)
    compared = 0
    for child in TMS.children(t):
        y, x = 256 * (child.y - 2 * t.y), 256 * (child.x - 2 * t.x)
        quarter = np.s_[:, y : y + 256, x : x + 256]
        agree = (tile(child, 256, plain) == whole_plain[quarter]).all(axis=0)
        filled = (whole[quarter] != whole_plain[quarter]).any(axis=0)
        compared += int((agree & filled).sum())
        np.testing.assert_array_equal(tile(child, 256, params)[:, agree], whole[quarter][:, agree])
    assert compared > 10_000
