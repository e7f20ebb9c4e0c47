"""Real rasters through a real server: Sentinel-2 pairs of three places."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx2
import morecantile
import numpy as np
import pytest
import rasterio
from rasterio.warp import transform_bounds

from tests.helpers.service import needs, raster, server_process, without_gdal_settings, wmts_source

PAIRS = {
    "lazio": ("s2_lazio_20180705_cloudy.tif", ["s2_lazio_20180720_clear.tif"]),
    "lazio, two replacements": (
        "s2_lazio_20180705_cloudy.tif",
        ["s2_lazio_20180720_clear.tif", "s2_lazio_20180928_clear.tif"],
    ),
    "congo": ("s2_congo_p100_cloudy.tif", ["s2_congo_p100_clear.tif"]),
    "tatarstan": ("s2_tatarstan_core_cloudy.tif", ["s2_tatarstan_core_clear.tif"]),
    "tatarstan with holes": ("s2_tatarstan_wide_cloudy.tif", ["s2_tatarstan_wide_clear.tif"]),
}


@pytest.fixture(scope="module")
def base(real_data: Path) -> Iterator[str]:
    with server_process(real_data) as base:
        yield base


def params(real_data: Path, name: str) -> dict[str, Any]:
    target, replacements = PAIRS[name]
    return {"url": str(real_data / target), "replacement": [str(real_data / r) for r in replacements]}


def preview(base: str, query: dict[str, Any]) -> np.ndarray:
    answer = httpx2.get(f"{base}/cog/preview.tif?{urlencode(query, doseq=True)}", timeout=120)
    assert answer.status_code == 200, answer.text
    return raster(answer.content)


@pytest.mark.parametrize("name", PAIRS)
def test_clouds_are_gone(base: str, real_data: Path, name: str) -> None:
    """No pixel of the filled image is brighter than the clear date's brightest ground, and the rest is untouched."""
    query = params(real_data, name)
    blue = {"bidx": 1}
    source = preview(base, query | {"algorithm": "fill_source"})[0]
    cloudy, filled = preview(base, {"url": query["url"]} | blue), preview(base, query | blue)
    with rasterio.open(str(query["replacement"][0])) as src:
        clear = src.read(1, masked=True).compressed()
    valid = cloudy[-1] > 0
    np.testing.assert_array_equal(valid, filled[-1] > 0)
    np.testing.assert_array_equal(cloudy[0][source == 0], filled[0][source == 0])
    inside = (source > 0) & (source < 255)
    assert inside.sum() > 0.2 * valid.sum()
    assert (source[valid] == 255).mean() < 0.01
    bright = np.percentile(clear, 99.9) * 1.3
    assert (cloudy[0][valid] > bright).mean() > 0.02
    assert (filled[0][inside] > bright).mean() < 0.002
    assert filled[0][inside].min() > 0


def test_ndvi_under_the_clouds(base: str, real_data: Path) -> None:
    """Forest under cumulus has a forest's NDVI."""
    query = params(real_data, "congo") | {"expression": "(b4-b3)/(b4+b3)"}
    source = preview(base, params(real_data, "congo") | {"algorithm": "fill_source"})[0]
    filled = preview(base, query)[0]
    clouded = preview(base, {"url": query["url"], "expression": query["expression"]})[0]
    clear = preview(base, {"url": query["replacement"][0], "expression": query["expression"]})[0]
    inside = source == 1
    assert abs(np.median(filled[inside]) - np.median(clear[inside])) < 0.1
    assert np.percentile(clouded[inside], 10) < np.percentile(filled[inside], 10) - 0.1


@pytest.mark.parametrize("name", PAIRS)
def test_tiles_join(base: str, real_data: Path, name: str) -> None:
    """Tiles of the fill source, stitched, are the bigger tile."""
    query = params(real_data, name)
    with rasterio.open(str(query["url"])) as src:
        west, south, east, north = transform_bounds(src.crs, "EPSG:4326", *src.bounds)
    tms = morecantile.tms.get("WebMercatorQuad")
    parent = next(iter(tms.tiles(west, south, east, north, zooms=[13])))

    def tile(t: morecantile.Tile, size: int) -> np.ndarray | None:
        text = urlencode(query | {"tilesize": size, "algorithm": "fill_source"}, doseq=True)
        answer = httpx2.get(f"{base}/cog/tiles/WebMercatorQuad/{t.z}/{t.x}/{t.y}.tif?{text}", timeout=120)
        return raster(answer.content)[0] if answer.status_code == 200 else None

    whole = tile(parent, 512)
    assert whole is not None
    assert (whole == 1).any()
    for child in tms.children(parent):
        part = tile(child, 256)
        if part is None:
            continue
        y, x = 256 * (child.y - 2 * parent.y), 256 * (child.x - 2 * parent.x)
        assert (part != whole[y : y + 256, x : x + 256]).mean() < 0.002  # nearest pixels at the footprint's edge


def test_gdal_reads_the_wmts(base: str, real_data: Path, tmp_path: Path) -> None:
    query = params(real_data, "lazio") | {"bidx": [3, 2, 1], "rescale": "0,3000"}
    capabilities = f"{base}/cog/WMTSCapabilities.xml?{urlencode(query, doseq=True)}"
    out = tmp_path / "wmts.tif"
    with rasterio.open(str(query["url"])) as src:
        left, bottom, right, top = transform_bounds(src.crs, "EPSG:3857", *src.bounds)
    window = ["-projwin", *map(str, (left, top, right, bottom)), "-outsize", "256", "256"]
    command = [needs("gdal_translate"), "-q", *window, wmts_source(capabilities)]
    done = subprocess.run(
        [*command, str(out)], env=without_gdal_settings(), cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    with rasterio.open(out) as src:
        seen = src.read()
    assert seen.shape[1:] == (256, 256)
    inside = seen[3] > 0
    assert inside.mean() > 0.5
    assert 40 < seen[:3, inside].mean() < 140
    assert (seen[:3, inside].min(axis=0) > 240).mean() < 0.005


def test_heavy_cloud_is_filled_from_the_scene(base: str, real_data: Path) -> None:
    """With no clear ground left the fill falls back to the replacement, and the confidence says so."""
    query = params(real_data, "tatarstan")
    confidence = preview(base, query | {"algorithm": "fill_confidence"})[0]
    lazio = preview(base, params(real_data, "lazio") | {"algorithm": "fill_confidence"})[0]
    assert confidence.max() < np.median(lazio[lazio < 100])
