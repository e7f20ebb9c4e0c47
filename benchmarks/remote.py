"""Requests and bytes for a remote pair, against plain TiTiler, in one run.

    python -m benchmarks.remote [--size 2048 6144]

The demo scene, or a larger one mirror-tiled from it, lies behind a local server that counts. *Plain* opens both rasters
once with stock rio-tiler on GDAL's own `/vsicurl/`, with the options TiTiler recommends, and reads each connected part
of the padded area (all windows that ClearSky read for its analysis) and then the tile, both native. Every case starts
with empty caches; *next to it* is the next tile to the east after the cold one.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import morecantile
import numpy as np
import rasterio
from rasterio.shutil import copy as copy_raster
from rasterio.warp import transform_bounds
from rio_tiler.io import Reader
from starlette.testclient import TestClient

import server.raster.cache
from algorithms.cells import Cells
from benchmarks.machine import machine
from benchmarks.service import Counts, FileServer, application, file_server
from server.demo import write_demo
from server.raster.grid import Box, Grid
from server.raster.layer import Layer
from server.raster.means import OverviewMeans
from server.raster.pixels import Pixels
from server.raster.reading import read_cells, read_pixels
from server.raster.sources import Sources

TMS = morecantile.tms.get("WebMercatorQuad")
PLAIN = {
    "CPL_VSIL_CURL_CACHE_SIZE": "200000000",
    "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES",
    "GDAL_HTTP_MULTIPLEX": "YES",
    "GDAL_HTTP_VERSION": "2",
    "VSI_CACHE": "TRUE",
    "VSI_CACHE_SIZE": "5000000",
}
"""What TiTiler recommends for GDAL's own way to remote files, on top of the options of `server.raster.gdal`."""


@dataclass
class Area:
    """Native pixels of one raster that an answer needed."""

    blocks: set[tuple[int, int, int, int]] = field(default_factory=set)
    """Rows and columns: top, bottom, left, right."""

    def rectangles(self) -> list[tuple[int, int, int, int]]:
        """The blocks joined: along rows first, then rows of the same extent."""
        rows: list[tuple[int, int, int, int]] = []
        for top, bottom, left, right in sorted(self.blocks):
            if rows and rows[-1][:2] == (top, bottom) and rows[-1][3] == left:
                rows[-1] = (top, bottom, rows[-1][2], right)
            else:
                rows.append((top, bottom, left, right))
        joined: list[tuple[int, int, int, int]] = []
        for top, bottom, left, right in sorted(rows, key=lambda r: (r[2], r[3], r[0])):
            if joined and joined[-1][2:] == (left, right) and joined[-1][1] == top:
                joined[-1] = (joined[-1][0], bottom, left, right)
            else:
                joined.append((top, bottom, left, right))
        return joined


@contextmanager
def recorded() -> Iterator[dict[str, Area]]:
    """Note which native pixels the analysis reads, by the last part of the raster's name."""
    areas: dict[str, Area] = {}
    lock = threading.Lock()

    def note(layer: Layer, pixels: Box) -> None:
        with lock:
            blocks = areas.setdefault(layer.dataset.url.rsplit("/", 1)[-1], Area()).blocks
            blocks.add((pixels.top, pixels.bottom, pixels.left, pixels.right))

    def cells(sources: Sources, layer: Layer, grid: Grid, box: Box, **options: Any) -> Cells:
        note(layer, box.times(grid.factor))
        return read_cells(sources, layer, grid, box, **options)

    from_overviews = OverviewMeans.cells

    def means(self: OverviewMeans, layer: Layer, factor: int, box: Box) -> Cells | None:
        if (found := from_overviews(self, layer, factor, box)) is not None:
            note(layer, box.times(factor))
        return found

    def pixels(sources: Sources, layer: Layer, box: Box) -> Pixels:
        note(layer, box)
        return read_pixels(sources, layer, box)

    with (
        mock.patch.object(server.raster.cache, "read_cells", cells),
        mock.patch.object(server.raster.cache, "read_pixels", pixels),
        mock.patch.object(OverviewMeans, "cells", means),
    ):
        yield areas


def plain(base: str, areas: dict[str, Area], tile: morecantile.Tile) -> None:
    """What stock TiTiler does to read the same area and the tile of both rasters."""
    with mock.patch.dict(os.environ), rasterio.Env(**PLAIN):
        del os.environ["CPL_VSIL_CURL_ALLOWED_FILENAME"]  # the server itself keeps GDAL from the network
        for name, area in areas.items():
            with Reader(f"{base}{name}") as src:
                for top, bottom, left, right in area.rectangles():
                    window = ((top, min(bottom, src.dataset.height)), (left, min(right, src.dataset.width)))
                    src.dataset.read(window=window)
                src.tile(tile.x, tile.y, tile.z)


def tile_path(tile: morecantile.Tile) -> str:
    return f"/cog/tiles/WebMercatorQuad/{tile.z}/{tile.x}/{tile.y}.webp"


def get(client: TestClient, base: str, tile: morecantile.Tile) -> Any:
    params: dict[str, Any] = {
        "url": f"{base}cloudy.tif",
        "replacement": f"{base}clear.tif",
        "bidx": [3, 2, 1],
        "rescale": "0,3000",
    }
    answer = client.get(tile_path(tile), params=params)
    assert answer.status_code == 200, answer.text
    return answer


def middle_tile(url: str, zoom: int = 14) -> morecantile.Tile:
    """The native tile in the middle of the scene."""
    with rasterio.open(url) as src:
        west, south, east, north = transform_bounds(src.crs, "EPSG:4326", *src.bounds)
    return TMS.tile((west + east) / 2, (south + north) / 2, zoom)


@dataclass(frozen=True)
class Case:
    """Counts for one tile."""

    cold: Counts
    warm: Counts
    beside: Counts
    plain: Counts
    """Stock TiTiler, cold, for the cold case's area."""
    megapixels: float
    """Native pixels of the padded area, both rasters."""
    cloud: float
    """Share of the cold tile that is cloud."""


def measure(served: FileServer, tile: morecantile.Tile) -> Case:
    """Count what a tile costs, cold, warm and next to it."""
    allowed = f"{served.folder},{served.base}"
    with recorded() as areas, application(allowed, source_check="600", request_timeout="3600") as client:
        served.reset()
        cloud = float(get(client, served.base, tile).headers["x-clearsky-cloud-fraction"])
        cold, needed = served.reset(), {name: Area(set(area.blocks)) for name, area in areas.items()}
        get(client, served.base, tile)
        warm = served.reset()
        get(client, served.base, morecantile.Tile(tile.x + 1, tile.y, tile.z))
        beside = served.reset()
    plain(served.base, needed, tile)
    pixels = sum((b - t) * (r - c) for area in needed.values() for t, b, c, r in area.blocks)
    return Case(cold, warm, beside, served.reset(), pixels / 1e6, cloud)


def mirrored(folder: Path, size: int) -> None:
    """Replace the demo pair in a folder by one of `size` pixels, mirror-tiled from it."""
    for name in ("cloudy.tif", "clear.tif"):
        with rasterio.open(folder / name) as src:
            data, profile, names = src.read(), src.profile, src.descriptions
        data = np.pad(data, [(0, 0), (0, size - src.height), (0, size - src.width)], mode="symmetric")
        profile |= {"width": size, "height": size, "driver": "GTiff", "bigtiff": "if_safer"}
        with rasterio.open(folder / "whole.tif", "w", **profile) as dst:
            dst.write(data)
            dst.descriptions = names
        copy_raster(
            folder / "whole.tif", folder / name, driver="COG", compress="deflate", overview_resampling="average"
        )
        (folder / "whole.tif").unlink()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, nargs="*", default=[2048, 6144])
    args = parser.parse_args()
    print(f"{machine()}\n")
    print("| scene | tile's cloud | padded area | | requests | MB | requests / plain | bytes / plain | goal |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for size in args.size:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write_demo(folder, size=min(size, 2048))
            if size > 2048:
                mirrored(folder, size)
            with file_server(folder) as served:
                case = measure(served, middle_tile(str(folder / "cloudy.tif")))
        for kind, counts in (
            ("plain", case.plain),
            ("cold", case.cold),
            ("warm", case.warm),
            ("next to it", case.beside),
        ):
            ratios = counts.requests / case.plain.requests, counts.sent / case.plain.sent
            told = " | ".join(f"{ratio:.2f}" for ratio in ratios)
            goal = "2" if kind == "cold" else ""
            scene = f"{size} px | {case.cloud:.0%} | {case.megapixels:.1f} Mpx"
            print(f"| {scene} | {kind} | {counts.requests} | {counts.sent / 1e6:.1f} | {told} | {goal} |")


if __name__ == "__main__":
    main()
