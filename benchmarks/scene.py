"""A full scene (10980 x 10980, 6 bands) over HTTP: latency, throughput, memory and fairness against plain TiTiler.

    python -m benchmarks.scene [--folder FOLDER] [--size 10980] [--tiles 2000]

The pair is made once in FOLDER by mirror-tiling the demo scene. ClearSky and stock TiTiler run as processes of their
own with default settings, one worker each, and get the same requests (256 px PNG, three bands) over loopback.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import morecantile
import numpy as np
import rasterio
from rasterio.warp import transform_bounds

from benchmarks.machine import machine
from benchmarks.scale import Server, fetch, percentiles, scene_pair, serving
from benchmarks.workers import compare

TMS = morecantile.tms.get("WebMercatorQuad")
NATIVE = 14
Params = dict[str, Any]


def tile_url(server: Server, tile: morecantile.Tile) -> str:
    return f"{server.base}/cog/tiles/WebMercatorQuad/{tile.z}/{tile.x}/{tile.y}.png"


def inner_tiles(bounds: tuple[float, ...], zoom: int) -> list[morecantile.Tile]:
    """Tiles of a zoom that lie within the scene, or touch it where none does."""
    west, south, east, north = bounds
    tiles = list(TMS.tiles(west, south, east, north, zooms=[zoom]))
    # In degrees a UTM scene stands askew in its bounds.
    dx, dy = 0.05 * (east - west), 0.05 * (north - south)

    def within(tile: morecantile.Tile) -> bool:
        b = TMS.bounds(tile)
        left, bottom = b.left > west + dx, b.bottom > south + dy
        return left and bottom and b.right < east - dx and b.top < north - dy

    return [tile for tile in tiles if within(tile)] or tiles


def whole_tile(bounds: tuple[float, ...]) -> morecantile.Tile:
    """The deepest tile that holds the scene's middle and most of the scene."""
    west, south, east, north = bounds
    for zoom in range(12, 0, -1):
        tiles = list(TMS.tiles(west, south, east, north, zooms=[zoom]))
        if len(tiles) == 1:
            return tiles[0]
    return TMS.tile((west + east) / 2, (south + north) / 2, 7)


def one_by_one(server: Server, tiles: Sequence[morecantile.Tile], params: Params) -> list[float]:
    with httpx2.Client(timeout=300) as client:
        return [fetch(client, tile_url(server, tile), params) for tile in tiles]


def side_by_side(
    server: Server, tiles: Sequence[morecantile.Tile], params: Params, clients: int
) -> tuple[float, list[float]]:
    """Tiles per second and every tile's seconds, for a number of clients that each wait for their answer."""
    local = threading.local()

    def work(tile: morecantile.Tile) -> float:
        if not hasattr(local, "client"):
            local.client = httpx2.Client(timeout=300)
        return fetch(local.client, tile_url(server, tile), params)

    begun = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        spent = list(pool.map(work, tiles))
    return len(tiles) / (time.perf_counter() - begun), spent


def by_zoom(ours: Server, plain: Server, bounds: tuple[float, ...], pair: Params, single: Params) -> None:
    """Cold and warm latency from the whole scene to native, the furthest first."""
    print("| zoom | tiles | plain p50 | p95 | ClearSky cold p50 | p95 | warm p50 | p95 | warm / plain p50 ", end="")
    print("| inferences | MB read cold |")
    print("| --- " * 11 + "|")
    rng = random.Random(1)
    whole = whole_tile(bounds)
    for zoom in (whole.z, *range(whole.z + 2, NATIVE + 1)):
        tiles = [whole] if zoom == whole.z else inner_tiles(bounds, zoom)
        tiles = rng.sample(tiles, min(len(tiles), 40 if zoom == NATIVE else 16))
        before = ours.counters()
        cold = one_by_one(ours, tiles, pair)
        after = ours.counters()
        one_by_one(plain, tiles, single)
        rival, warm = one_by_one(plain, tiles, single), one_by_one(ours, tiles, pair)
        ratio = float(np.median(warm)) / float(np.median(rival))
        runs, megabytes = after["inferences"] - before["inferences"], (after["bytes"] - before["bytes"]) / 1e6
        latencies = f"{percentiles(rival)} | {percentiles(cold)} | {percentiles(warm)} | {ratio:.2f}"
        print(f"| {zoom} | {len(tiles)} | {latencies} | {runs} | {megabytes:.0f} |", flush=True)


def native_cold(ours: Server, bounds: tuple[float, ...], pair: Params) -> None:
    """The first thing a user who starts at native zoom sees, on a fresh server."""
    tiles = random.Random(3).sample(inner_tiles(bounds, NATIVE), 61)
    spent = one_by_one(ours, tiles, pair)
    middle, late = np.percentile(spent[1:], (50, 95))
    print(f"\nNative zoom (z{NATIVE}) on a fresh server: first tile {spent[0]:.2f} s (with the scene's sample);")
    print(f"the next 60, each at a new place: p50 {middle:.2f} s, p95 {late:.2f} s (goal 1.5).", flush=True)


def burst(folder: Path, bounds: tuple[float, ...], pair: Params) -> None:
    """64 clients ask for the same tile of a fresh server that keeps answers; then one of them again."""
    tile = random.Random(7).choice(inner_tiles(bounds, 13))
    counts, spent = [], []
    for clients in (1, 64):
        with serving("ours", folder, CLEARSKY_ANSWER_CACHE_BYTES="67108864") as server:
            spent.append(max(side_by_side(server, [tile] * clients, pair, clients)[1]))
            counts.append(server.counters()["inferences"])
            again = np.median(one_by_one(server, [tile] * 50, pair))
    print(f"\nBurst: inferences of one request {counts[0]}, of 64 identical requests at once {counts[1]};")
    print(f"{spent[0]:.2f} s and {spent[1]:.2f} s to the last answer, {spent[1] / spent[0]:.2f} x (goal 1.5);")
    print(f"the same tile again {1000 * again:.1f} ms (goal 3).", flush=True)


def throughput(ours: Server, plain: Server, mix: Sequence[morecantile.Tile], pair: Params, single: Params) -> None:
    """Warm tiles per second for the same mix of zooms."""
    print("\n| clients | plain tiles/s | p50 | p95 | ClearSky tiles/s | p50 | p95 | ratio | goal |")
    print("| --- " * 9 + "|")
    side_by_side(ours, mix, pair, 4)
    for clients in (1, 4, 16):
        rival, rival_s = side_by_side(plain, mix, single, clients)
        rate, spent = side_by_side(ours, mix, pair, clients)
        print(f"| {clients} | {rival:.1f} | {percentiles(rival_s)} | {rate:.1f} | {percentiles(spent)} "
              f"| {rate / rival:.2f} | 2 |")  # fmt: skip


def fairness(ours: Server, bounds: tuple[float, ...], pair: Params) -> None:
    """Small warm tiles while the whole scene is computed with another model."""
    tiles = random.Random(5).sample(inner_tiles(bounds, NATIVE), 12)
    one_by_one(ours, tiles, pair)
    idle = one_by_one(ours, tiles * 4, pair)
    far = pair | {"model": "ukis-6b-l2a"}
    busy: list[float] = []
    with ThreadPoolExecutor(1) as pool, httpx2.Client(timeout=300) as client:
        job = pool.submit(fetch, client, tile_url(ours, whole_tile(bounds)), far)
        time.sleep(0.5)
        while not job.done():
            busy += one_by_one(ours, [tiles[len(busy) % len(tiles)]], pair)
        took = job.result()
    ratio = np.percentile(busy, 95) / np.percentile(idle, 95)
    print(f"\nFairness: small warm tiles, idle p50 | p95 {percentiles(idle)} ms;")
    print(f"while the whole scene is computed cold ({took:.1f} s): {percentiles(busy)} ms over {len(busy)} tiles;")
    print(f"p95 ratio {ratio:.2f} (goal 3).", flush=True)


def visit(bounds: tuple[float, ...]) -> list[morecantile.Tile]:
    """What a map shows of one place on the way from the whole scene to native: every tile three times."""
    x, y = (bounds[0] + bounds[2]) / 2, (bounds[1] + bounds[3]) / 2
    near = [
        t for zoom in range(10, NATIVE + 1) for t in TMS.tiles(x - 0.06, y - 0.045, x + 0.06, y + 0.045, zooms=[zoom])
    ]
    far = [TMS.tile(x, y, zoom) for zoom in range(whole_tile(bounds).z, 10)]
    return 3 * (far + near)


def wander(tiles: dict[int, list[morecantile.Tile]], steps: int) -> list[morecantile.Tile]:
    """Tiles as a user who pans and zooms asks for them: most next to the last one, every 200th anywhere."""
    rng = random.Random(11)
    found: list[morecantile.Tile] = []
    known = {(tile.z, tile.x, tile.y) for level in tiles.values() for tile in level}
    tile = tiles[NATIVE][0]
    for step in range(steps):
        if step % 200 == 0:
            tile = rng.choice(tiles[NATIVE - 1])
        near = [*TMS.neighbors(tile), *TMS.children(tile, zoom=tile.z + 1), *TMS.parent(tile, zoom=tile.z - 1)]
        near = [t for t in near if (t.z, t.x, t.y) in known]
        tile = rng.choice(near) if near else rng.choice(tiles[NATIVE - 1])
        found.append(tile)
    return found


def neighbours(bounds: tuple[float, ...]) -> list[morecantile.Tile]:
    """Native tiles of the scene, the ones at its middle first."""
    x, y = (bounds[0] + bounds[2]) / 2, (bounds[1] + bounds[3]) / 2
    middle = TMS.tile(x, y, NATIVE)
    return sorted(inner_tiles(bounds, NATIVE), key=lambda t: (max(abs(t.x - middle.x), abs(t.y - middle.y)), t.x, t.y))


def memory(ours: Server, tiles: Sequence[morecantile.Tile], pair: Params) -> None:
    """Resident memory over a long random walk, 4 clients."""
    steps = []
    for start in range(0, len(tiles), 100):
        side_by_side(ours, tiles[start : start + 100], pair, 4)
        steps.append(ours.counters()["resident"] / 1e9)
    shown = ", ".join(f"{value:.2f}" for value in steps[:: max(1, len(steps) // 10)])
    half = steps[len(steps) // 2 :]
    slope = float(np.polyfit(np.arange(len(half)), half, 1)[0]) if len(half) > 1 else 0.0
    print(f"\nMemory over a random walk of {len(tiles)} tiles, resident GB at ten points of it: {shown};")
    print(f"most {max(steps):.2f} (goal 1.5), peak {ours.counters()['peak'] / 1e9:.2f};")
    print(f"slope over the second half {1000 * slope:+.1f} MB per 100 tiles.", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "clearsky-scene")
    parser.add_argument("--size", type=int, default=10980)
    parser.add_argument("--tiles", type=int, default=2000)
    parser.add_argument(
        "--only", nargs="*", default=[], help="parts: zooms native burst throughput fairness memory workers"
    )
    args = parser.parse_args()
    cloudy, clear = scene_pair(args.folder, args.size)
    with rasterio.open(cloudy) as src:
        bounds = transform_bounds(src.crs, "EPSG:4326", *src.bounds)
    single: Params = {"url": str(cloudy), "bidx": [3, 2, 1], "rescale": "0,3000"}
    pair = single | {"replacement": str(clear)}
    rng = random.Random(11)
    zooms = range(whole_tile(bounds).z, NATIVE + 1)
    by = {zoom: inner_tiles(bounds, zoom) for zoom in zooms}
    mix = visit(bounds)
    rng.shuffle(mix)
    walk = wander(by, args.tiles)
    print(machine() + f"\nScene of {args.size} px, 6 bands.\n")

    def wanted(part: str) -> bool:
        return not args.only or part in args.only

    if wanted("native"):
        with serving("ours", args.folder) as fresh:
            print(f"Start to first answer: {fresh.start_s:.1f} s (goal 3).")
            native_cold(fresh, bounds, pair)
    if wanted("burst"):
        burst(args.folder, bounds, pair)
    if wanted("memory"):
        with serving("ours", args.folder) as fresh:
            memory(fresh, walk, pair)
    if wanted("workers"):
        compare(args.folder, neighbours(bounds), pair)
    if args.only == ["workers"]:
        return
    with serving("plain", args.folder) as plain, serving("ours", args.folder) as ours:
        if wanted("zooms"):
            by_zoom(ours, plain, bounds, pair, single)
        if wanted("throughput"):
            throughput(ours, plain, mix, pair, single)
        if wanted("fairness"):
            fairness(ours, bounds, pair)


if __name__ == "__main__":
    main()
