"""GDAL, as QGIS uses it, through every door that it has: WMTS, XYZ tiles, OGC API."""

from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path

import httpx2
import numpy as np
import pytest
import rasterio

from tests.clients.conftest import Site
from tests.helpers.documents import blocks, commands, words_of
from tests.helpers.service import needs, raster, without_gdal_settings, wmts_source

SIZE = 512
XYZ = """<GDAL_WMS>
  <Service name="TMS"><ServerUrl>{address}</ServerUrl></Service>
  <DataWindow>
    <UpperLeftX>-20037508.34</UpperLeftX><UpperLeftY>20037508.34</UpperLeftY>
    <LowerRightX>20037508.34</LowerRightX><LowerRightY>-20037508.34</LowerRightY>
    <TileLevel>14</TileLevel><TileCountX>1</TileCountX><TileCountY>1</TileCountY><YOrigin>top</YOrigin>
  </DataWindow>
  <Projection>EPSG:3857</Projection><BlockSizeX>256</BlockSizeX><BlockSizeY>256</BlockSizeY>
  <BandsCount>4</BandsCount><ZeroBlockHttpCodes>404</ZeroBlockHttpCodes>
</GDAL_WMS>
"""
WAYS = ("wmts", "wmts with commas", "wmts of a recipe", "xyz", "ogc api")


def translate(folder: Path, *arguments: object) -> None:
    """Run `gdal_translate` in a folder, with none of this server's settings."""
    command = [needs("gdal_translate"), "-q", *map(str, arguments)]
    done = subprocess.run(
        command, env=without_gdal_settings(), cwd=folder, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, f"{shlex.join(command)}: {done.stderr}"


def source(site: Site, folder: Path, way: str) -> list[str]:
    """What GDAL opens, and with which options."""
    scene = f"{site.base}/cog/WMTSCapabilities.xml?{site.query}"
    if way == "xyz":
        address = f"{site.base}/cog/tiles/WebMercatorQuad/${{z}}/${{x}}/${{y}}.png?{site.query}"
        (folder / "tiles.xml").write_text(XYZ.format(address=address.replace("&", "&amp;")))
        return [str(folder / "tiles.xml")]
    if way == "ogc api":
        return ["-oo", "API=MAP", f"OGCAPI:{site.base}/collections/july"]
    return [
        {
            "wmts": wmts_source(scene),
            "wmts with commas": wmts_source(f"{scene}&assets=red,green,blue&style=natural"),
            "wmts of a recipe": wmts_source(f"{site.base}/recipes/july/WMTSCapabilities.xml"),
        }[way]
    ]


@pytest.mark.parametrize("way", WAYS)
def test_gdal_reads_the_tiles(site: Site, tmp_path: Path, way: str) -> None:
    """GDAL mosaics what it is sent to what the server itself gives for the box."""
    told = httpx2.get(f"{site.base}/cog/WebMercatorQuad/tilejson.json?{site.query}", timeout=60).json()
    crs = "EPSG:4326" if way == "ogc api" else "EPSG:3857"
    west, south, east, north = rasterio.warp.transform_bounds("EPSG:4326", crs, *told["bounds"])
    window = ["-projwin", west, north, east, south, "-outsize", SIZE, SIZE, "-r", "nearest"]
    translate(tmp_path, *window, *source(site, tmp_path, way), "out.tif")
    with rasterio.open(tmp_path / "out.tif") as src:
        seen = src.read([1, 2, 3]).astype(float)
    box = f"{site.base}/cog/bbox/{west},{south},{east},{north}/{SIZE}x{SIZE}.png?{site.query}"
    box += f"&coord_crs={crs}&dst_crs={crs}"
    direct = raster(httpx2.get(box, timeout=60).content)[:3].astype(float)
    inner = np.s_[:, 40:-40, 40:-40]
    assert np.corrcoef(seen[inner].ravel(), direct[inner].ravel())[0, 1] > 0.95
    assert abs(seen[inner].mean() - direct[inner].mean()) < 3
    classes = raster(httpx2.get(f"{box}&algorithm=cloud_mask&style=raw", timeout=60).content)[0]
    cloudy = (classes == 1)[40:-40, 40:-40]
    assert cloudy.mean() > 0.05
    assert (seen[inner].min(axis=0)[cloudy] > 200).mean() < 0.01  # the clouds are gone


def test_gdal_lists_the_collections(site: Site) -> None:
    """From `/collections`, or the landing page, to every recipe."""
    for start in ("", "/collections"):
        command = [needs("gdalinfo"), "-json", f"OGCAPI:{site.base}{start}"]
        done = subprocess.run(command, env=without_gdal_settings(), capture_output=True, text=True, check=True)
        found = json.loads(done.stdout)["metadata"]["SUBDATASETS"]
        assert found["SUBDATASET_1_NAME"] == f"OGCAPI:{site.base}/collections/july"


GDAL_COMMANDS = [line for block in blocks("console") for line in commands(block) if line.startswith("gdal_translate ")]


@pytest.mark.parametrize("command", GDAL_COMMANDS)
def test_the_commands_of_the_documents_run(site: Site, tmp_path: Path, command: str) -> None:
    words = words_of(site.address(command))
    translate(tmp_path, *words[1:])
    with rasterio.open(tmp_path / words[-1]) as src:
        assert src.read([1, 2, 3]).std() > 10
