"""What a scene of several files costs, in one run: against the stacked file, and against stock rio-tiler's STAC reader.

    python -m benchmarks.scenes [--size 1024] [--rounds 5]

The demo scene as two files of six bands, and as two STAC Items with a file per band: once all bands on one grid, once
the short-wave infrared ones at 20 m. Costs are times of computing, on all threads, of local files, turn by turn,
medians of the rounds: *cold* of the first native tile of an application with empty caches, *warm* the median of the
tiles around it, asked for again; *stock TiTiler* is its own factory on the same Items. Requests and bytes are those of
a local server that counts, for one native tile in natural colour: *stock* is `STACReader.tile` on GDAL's own
`/vsicurl/` with the options TiTiler recommends.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any, Final
from unittest import mock

import numpy as np
import rasterio
from affine import Affine
from fastapi import FastAPI
from morecantile import Tile
from rasterio.shutil import copy as copy_raster
from rasterio.warp import transform_bounds
from rio_tiler.io import STACReader
from starlette.testclient import TestClient
from titiler.core.factory import MultiBaseTilerFactory

from benchmarks.machine import machine
from benchmarks.remote import PLAIN, middle_tile
from benchmarks.service import FileServer, application, file_server
from server.demo import write_demo

SCENE_GOAL: Final = 1.15
"""Cost of a scene against the stacked file at most."""
COARSE: Final = ("swir16", "swir22")
"""Bands of the second Item that have 20 m."""
COLOURS: Final = ("red", "green", "blue")


def write_item(source: Path, folder: Path, coarse: tuple[str, ...]) -> Path:
    """A file of several bands as an Item with a file per band, some of them at half the resolution."""
    folder.mkdir()
    assets: dict[str, Any] = {}
    with rasterio.open(source) as src:
        bbox = transform_bounds(src.crs, "EPSG:4326", *src.bounds)
        for index, name in enumerate(src.descriptions, start=1):
            values, profile = src.read(index), src.profile | {"count": 1, "driver": "GTiff", "interleave": "band"}
            if name in coarse:
                squares = values.reshape(values.shape[0] // 2, 2, values.shape[1] // 2, 2)
                values = np.round(squares.mean(axis=(1, 3))).astype(values.dtype)
                profile |= {"height": values.shape[0], "width": values.shape[1]}
                profile |= {"transform": src.transform * Affine.scale(2)}
            whole = folder / "whole.tif"
            with rasterio.open(whole, "w", **profile) as dst:
                dst.write(values, 1)
            copy_raster(whole, folder / f"{name}.tif", driver="COG", compress="deflate", overview_resampling="average")
            whole.unlink()
            assets[name] = {
                "href": f"{name}.tif",
                "type": "image/tiff; application=geotiff; profile=cloud-optimized",
                "roles": ["data"],
                "eo:bands": [{"name": name, "common_name": name}],
                "raster:bands": [{"scale": 1e-4, "offset": 0.0}],
            }
    west, south, east, north = bbox
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    item = {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": folder.name,
        "properties": {"datetime": "2025-07-01T10:00:00Z"},
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "bbox": list(bbox),
        "links": [],
        "assets": assets,
    }
    path = folder / "item.json"
    path.write_text(json.dumps(item))
    return path


def asked(target: str, replacement: str | None) -> tuple[str, dict[str, Any]]:
    """Kind of route and parameters for a target, an Item or a file of six bands."""
    given: dict[str, Any] = {"url": target, "rescale": "0,3000"}
    given |= {"replacement": replacement} if replacement else {}
    if target.endswith(".json"):
        return "/stac", given | {"assets": list(COLOURS)}
    return "/cog", given | {"bidx": [3, 2, 1]}


def timed(client: Any, tile: Tile, target: str, replacement: str | None) -> float:
    """Milliseconds of computing of one tile, on all threads: what else the machine does does not count."""
    kind, params = asked(target, replacement)
    start = time.process_time()
    answer = client.get(f"{kind}/tiles/WebMercatorQuad/{tile.z}/{tile.x}/{tile.y}.webp", params=params)
    assert answer.status_code == 200, answer.text
    return 1000 * (time.process_time() - start)


def stock_client() -> TestClient:
    """Of stock TiTiler for STAC Items."""
    app = FastAPI()
    app.include_router(MultiBaseTilerFactory(reader=STACReader, router_prefix="/stac").router, prefix="/stac")
    return TestClient(app)


def costs(folder: Path, pairs: dict[str, tuple[str, str]], tile: Tile, rounds: int) -> None:
    """Print what pairs cost, cold and warm, against the first one."""
    around = [Tile(tile.x + dx, tile.y + dy, tile.z) for dx in (-1, 0, 1) for dy in (-1, 0, 1)]
    found: dict[tuple[str, str], list[float]] = {}
    for _ in range(rounds):
        for name, (target, replacement) in pairs.items():
            with application(folder) as client:
                client.get("/healthz")
                found.setdefault((name, "cold"), []).append(timed(client, tile, target, replacement))
                for what, other in (("warm", replacement), ("warm, no replacement", None)):
                    for place in around:
                        timed(client, place, target, other)
                    warm = median(timed(client, place, target, other) for place in around * 2)
                    found.setdefault((name, what), []).append(warm)
        for name, (target, _) in pairs.items():
            if target.endswith(".json"):
                with stock_client() as client:
                    timed(client, tile, target, None)
                    warm = median(timed(client, place, target, None) for place in around)
                    found.setdefault((f"{name}: stock TiTiler", "warm, no replacement"), []).append(warm)
    print("| native tile | scene | ms of computing | / stacked | goal |\n| --- | --- | --- | --- | --- |")
    first = next(iter(pairs))
    for what in ("cold", "warm", "warm, no replacement"):
        for name in dict.fromkeys(name for name, kind in found if kind == what):
            middle = median(found[name, what])
            # Turn by turn: what else the machine does weighs on both.
            ratio = median(a / b for a, b in zip(found[name, what], found[first, what], strict=True))
            goal = "" if name == first or name not in pairs else f"{SCENE_GOAL}"
            print(f"| {what} | {name} | {middle:.1f} | {ratio:.2f} | {goal} |")


def requests(served: FileServer, pairs: dict[str, tuple[str, str]], tile: Tile) -> None:
    """Print requests and bytes of a tile from a server that counts."""
    print("\n| native tile, remote | scene | requests | kB |\n| --- | --- | --- | --- |")
    for name, pair in pairs.items():
        target, replacement = (f"{served.base}{Path(path).relative_to(served.folder)}" for path in pair)
        for what, other in (("plain, cold", None), ("filled, cold", replacement)):
            with application(served.base, source_check="600", request_timeout="3600") as client:
                served.reset()
                timed(client, tile, target, other)
                cold = served.reset()
                print(f"| {what} | {name} | {cold.requests} | {cold.sent / 1e3:.0f} |")
                timed(client, Tile(tile.x + 1, tile.y, tile.z), target, other)
                beside = served.reset()
                print(f"| {what.split(',')[0]}, next to it | {name} | {beside.requests} | {beside.sent / 1e3:.0f} |")
        if not target.endswith(".json"):
            continue
        with mock.patch.dict(os.environ), rasterio.Env(**PLAIN):
            os.environ.pop("CPL_VSIL_CURL_ALLOWED_FILENAME", None)  # the server itself keeps GDAL from the network
            for place in ("cold", "next to it"):
                with STACReader(target) as reader:
                    reader.tile(tile.x + (place != "cold"), tile.y, tile.z, assets=list(COLOURS))
                counts = served.reset()
                print(f"| stock, {place} | {name} | {counts.requests} | {counts.sent / 1e3:.0f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    print(f"{machine()}\n")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_demo(folder, size=args.size)
        pairs = {"stacked": (str(folder / "cloudy.tif"), str(folder / "clear.tif"))}
        for kind, coarse in (("Item, one grid", ()), ("Item, 10 and 20 m", COARSE)):
            target, replacement = (
                write_item(folder / f"{date}.tif", folder / f"{date}{len(coarse)}", coarse)
                for date in ("cloudy", "clear")
            )
            pairs[kind] = (str(target), str(replacement))
        tile = middle_tile(pairs["stacked"][0])
        costs(folder, pairs, tile, args.rounds)
        with file_server(folder) as served:
            requests(served, pairs, tile)


if __name__ == "__main__":
    main()
