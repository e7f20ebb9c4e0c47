"""Tiles that a server lately answered, as those who can write to a shared cache leave them for the next one."""

from __future__ import annotations

import time
from pathlib import Path

import httpx2
import morecantile
import rasterio
from rasterio.warp import transform_bounds
from starlette.testclient import TestClient

from server.analysis.sharing import shared_cache
from server.http.recent import RecentViews

TMS = morecantile.tms.get("WebMercatorQuad")
ZOOM = 14


def paths_of(raster: str) -> list[str]:
    """Native tiles of a raster, the one at its middle last."""
    with rasterio.open(raster) as src:
        west, south, east, north = transform_bounds(src.crs, "EPSG:4326", *src.bounds)
    middle = TMS.tile((west + east) / 2, (south + north) / 2, ZOOM)
    tiles = [tile for tile in TMS.tiles(west, south, east, north, zooms=[ZOOM]) if tile != middle]
    return [f"/cog/tiles/WebMercatorQuad/{t.z}/{t.x}/{t.y}.png" for t in (*tiles, middle)]


def state_when_ready(client: TestClient | httpx2.Client) -> str:
    """What `/readyz` says of the warm start, once that is over."""
    for _ in range(3000):
        answer = client.get("/readyz")
        if answer.status_code == 200:
            detail: str = answer.json()["dependencies"]["warm start"]["detail"]
            return detail
        assert "lately looked at" in answer.json()["detail"]
        time.sleep(0.02)
    raise AssertionError("never ready")


def planted(url: str, allowed: Path | str, *views: str) -> None:
    """Notes by whoever can write to a shared cache."""
    recent = RecentViews(shared_cache(url), (str(allowed),))
    for view in reversed(views):
        path, _, query = view.partition("?")
        recent.note(path, query.encode())
    recent.save(at_once=True)
    assert len(recent.saved() or ()) == len(views)
