"""Recipes of a real server: read by GDAL, and followed as their folder changes."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import numpy as np
import pytest
import rasterio
from rasterio.warp import transform_bounds

from tests.helpers.recipes import EAST, NORTH, SOUTH, WEST
from tests.helpers.service import needs, raster, server_process, without_gdal_settings, wmts_source


@pytest.fixture(scope="module")
def base(scene: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A real server, and its folder of recipes."""
    folder = tmp_path_factory.mktemp("live")
    text = (scene / "recipes" / "masked.yaml").read_text().replace("../", f"{scene}/")
    (folder / "live.yaml").write_text(text.replace("name: masked", "name: live"))
    with server_process(scene, recipes=str(folder)) as base:
        yield base, folder


def test_gdal_reads_a_recipe_as_wmts(base: tuple[str, Path], tmp_path: Path) -> None:
    address = f"{base[0]}/recipes/live"
    corners = transform_bounds("EPSG:4326", "EPSG:3857", WEST, SOUTH, EAST, NORTH)
    window = ["-projwin", *(str(c) for c in (corners[0], corners[3], corners[2], corners[1]))]
    out = tmp_path / "out.tif"
    command = [needs("gdal_translate"), "-q", *window, "-outsize", "256", "256", "-r", "nearest"]
    done = subprocess.run(
        [*command, wmts_source(f"{address}/WMTSCapabilities.xml"), str(out)],
        env=without_gdal_settings(),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    with rasterio.open(out) as src:
        seen = src.read([1, 2, 3]).astype(float)[:, 40:-40, 40:-40]
    box = ",".join(map(str, corners))
    query = "coord_crs=EPSG:3857&dst_crs=EPSG:3857"
    direct = raster(httpx2.get(f"{address}/bbox/{box}/256x256.png?{query}", timeout=60).content)[:3].astype(float)
    assert np.corrcoef(seen.ravel(), direct[:, 40:-40, 40:-40].ravel())[0, 1] > 0.9


def test_a_changed_folder_is_read_again(base: tuple[str, Path], scene: Path) -> None:
    address, folder = base
    url = f"{address}/recipes/live/preview.png"
    first = httpx2.get(url, timeout=60)
    assert httpx2.get(url, headers={"If-None-Match": first.headers["etag"]}, timeout=60).status_code == 304

    def until(condition: Callable[[httpx2.Response], bool], **headers: str) -> httpx2.Response:
        for _ in range(50):
            answer = httpx2.get(url, headers=headers, timeout=60)
            if condition(answer):
                return answer
            time.sleep(0.1)
        raise AssertionError(f"not within 5 s: {answer.status_code} {answer.text[:200]}")

    file = folder / "live.yaml"
    good = file.read_text()
    file.write_text(good.replace("[red, B03, 1]", "[nir, red, green]"))
    other = until(lambda answer: answer.status_code == 200, **{"If-None-Match": first.headers["etag"]})
    assert other.content != first.content
    assert other.headers["etag"] != first.headers["etag"]
    file.write_text(good.replace("window: 40", "window: 41"))
    assert "live.yaml:6: window=41" in until(lambda answer: answer.status_code == 400).json()["detail"]
    (folder / "second.json").write_text(
        json.dumps({"name": "live", "target": f"{scene}/r.tif", "render": {"bands": [1], "rescale": [[0, 3000]]}})
    )
    until(lambda answer: answer.status_code == 200 and answer.content != first.content)
    (folder / "second.json").unlink()
    file.write_text(good)
    assert until(lambda answer: answer.headers.get("etag") == first.headers["etag"]).content == first.content
    file.unlink()
    assert "known: none" in until(lambda answer: answer.status_code == 404).json()["detail"]
    file.write_text(good)
    assert until(lambda answer: answer.status_code == 200).headers["etag"] == first.headers["etag"]
