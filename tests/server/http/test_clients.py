"""Other people's clients against a real server process."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import httpx2
import numpy as np
import pytest
import rasterio

from server.demo import DemoScene
from tests.helpers.scenes import Demo
from tests.helpers.service import needs, raster, server_process, without_gdal_settings, wmts_source


@pytest.fixture(scope="module")
def scene(demo_scene: Demo) -> DemoScene:
    return demo_scene(512)


@pytest.fixture(scope="module")
def base(scene: DemoScene) -> Iterator[str]:
    with server_process(scene.cloudy.parent) as base:
        yield base


@pytest.mark.parametrize("service", ["wmts", "xyz"])
def test_gdal_reads_the_tiles(base: str, scene: DemoScene, tmp_path: Path, service: str) -> None:
    """GDAL, as QGIS uses it, mosaics the tiles of a zoom level to what the server itself gives for the box."""
    translate = needs("gdal_translate")
    params = [("url", scene.cloudy), ("replacement", scene.clear), ("rescale", "0,3000")]
    params += [("bidx", b) for b in (3, 2, 1)]
    query = urlencode(params)
    told = httpx2.get(f"{base}/cog/WebMercatorQuad/tilejson.json?{query}", timeout=60).json()
    west, south, east, north = told["bounds"]
    if service == "wmts":
        capabilities = f"{base}/cog/WMTSCapabilities.xml?{query}"
        source = wmts_source(capabilities)
    else:
        xml = tmp_path / "tms.xml"
        xml.write_text(
            "<GDAL_WMS><Service name='TMS'><ServerUrl>"
            + f"{base}/cog/tiles/WebMercatorQuad/${{z}}/${{x}}/${{y}}.png?tilesize=256&{query}".replace("&", "&amp;")
            + "</ServerUrl></Service><DataWindow><UpperLeftX>-20037508.342789244</UpperLeftX>"
            "<UpperLeftY>20037508.342789244</UpperLeftY><LowerRightX>20037508.342789244</LowerRightX>"
            "<LowerRightY>-20037508.342789244</LowerRightY><TileLevel>14</TileLevel><TileCountX>1</TileCountX>"
            "<TileCountY>1</TileCountY><YOrigin>top</YOrigin></DataWindow><Projection>EPSG:3857</Projection>"
            "<BlockSizeX>256</BlockSizeX><BlockSizeY>256</BlockSizeY><BandsCount>4</BandsCount>"
            "<ZeroBlockHttpCodes>404</ZeroBlockHttpCodes></GDAL_WMS>"
        )
        source = str(xml)
    out = tmp_path / "out.tif"
    corners = rasterio.warp.transform_bounds("EPSG:4326", "EPSG:3857", west, south, east, north)
    size = ["-outsize", "512", "512", "-r", "nearest"]
    window = ["-projwin", *(str(c) for c in (corners[0], corners[3], corners[2], corners[1]))]
    done = subprocess.run(
        [translate, "-q", *window, *size, source, str(out)],
        env=without_gdal_settings(),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    with rasterio.open(out) as src:
        seen = src.read([1, 2, 3]).astype(float)
    box = ",".join(map(str, corners))
    url = f"{base}/cog/bbox/{box}/512x512.png?{query}&coord_crs=EPSG:3857&dst_crs=EPSG:3857"
    direct = raster(httpx2.get(url, timeout=60).content)[:3].astype(float)
    inner = np.s_[:, 40:-40, 40:-40]
    assert seen[inner].max() > 50
    assert np.corrcoef(seen[inner].ravel(), direct[inner].ravel())[0, 1] > 0.95
    classes = httpx2.get(url.replace("rescale=0%2C3000&", "") + "&algorithm=cloud_mask", timeout=60)
    white = (raster(classes.content)[0] == 1)[40:-40, 40:-40]
    assert white.mean() > 0.05
    assert (seen[inner].min(axis=0)[white] > 250).mean() < 0.01  # the clouds are gone


def test_server_answers_bad_requests_without_traceback(base: str, scene: DemoScene) -> None:
    answer = httpx2.get(
        f"{base}/cog/preview.png", params={"url": str(scene.cloudy), "replacement": "/etc/passwd"}, timeout=60
    )
    assert answer.status_code == 403
    assert set(answer.json()) == {"detail"}
    assert "Traceback" not in answer.text
