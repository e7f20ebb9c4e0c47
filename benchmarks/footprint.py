"""Memory that a warm map takes: bytes of the caches, and of the process, per tile of each zoom.

    python -m benchmarks.footprint [--size 2048] [--zooms 12 13 14]

Every tile of a zoom over the demo scene is requested from an application in this process, with caches that hold all of
it; each zoom begins with empty ones. Few tiles touch a small scene far out, so bytes are also given per million pixels.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import morecantile
import rasterio
from fastapi.testclient import TestClient
from rasterio.warp import transform_bounds

from benchmarks.machine import machine
from server.app import create_app
from server.demo import DemoScene, write_demo
from server.settings import Settings

TMS = morecantile.tms.get("WebMercatorQuad")
CACHE_BYTES = 4 << 30


def row(scene: DemoScene, zoom: int) -> str:
    """A row of the table."""
    with rasterio.open(scene.cloudy) as src:
        bounds, pixels = transform_bounds(src.crs, "EPSG:4326", *src.bounds), src.width * src.height
    tiles = list(TMS.tiles(*bounds, zooms=[zoom]))
    app = create_app(
        Settings(
            cache_bytes=CACHE_BYTES, answer_cache_bytes=0, allowed_sources=(str(scene.cloudy.parent),), prefetch=False
        )
    )
    with TestClient(app) as client:
        for tile in tiles:
            where = f"/cog/tiles/WebMercatorQuad/{tile.z}/{tile.x}/{tile.y}.webp"
            found = client.get(where, params={"url": str(scene.cloudy), "replacement": str(scene.clear)})
            assert found.status_code in {200, 404}, found.text
        figures = {each.cache: each.nbytes / 1e6 for each in app.state.services.analysis.cache_figures}
    total = sum(figures.values())
    parts = " | ".join(f"{figures[name]:.1f}" for name in ("computed", "rasters"))
    return f"| {zoom} | {len(tiles)} | {parts} | {total / len(tiles):.1f} | {total / pixels * 1e6:.1f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=2048)
    parser.add_argument("--zooms", type=int, nargs="+", default=[12, 13, 14])
    args = parser.parse_args()
    print(f"{machine()}\n\nDemo scene, {args.size} px, 6 bands; MB.\n")
    print("| zoom | tiles | computed | rasters | per tile | per million pixels |")
    print("| --- " * 6 + "|")
    with tempfile.TemporaryDirectory() as name:
        scene = write_demo(Path(name), size=args.size)
        for zoom in args.zooms:
            print(row(scene, zoom), flush=True)


if __name__ == "__main__":
    main()
