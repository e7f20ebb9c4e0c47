"""What work ahead is worth: a map user who thinks between one native tile and the next, on a full scene.

    python -m benchmarks.prefetch [--folder FOLDER] [--size 10980] [--users 1 2 4] [--think 2]

Every user looks at a native tile of an unseen place, thinks, and goes on to the tile next to it, four times; with
`CLEARSKY_PREFETCH` off and on, each on a fresh server.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import morecantile
import rasterio
from rasterio.warp import transform_bounds

from benchmarks.machine import machine
from benchmarks.scale import Server, fetch, percentiles, scene_pair, serving
from benchmarks.scene import NATIVE, Params, inner_tiles, tile_url

STEPS = 4
"""Tiles a user goes on to from the first."""


def wander(server: Server, start: morecantile.Tile, params: Params, *, think: float) -> list[float]:
    """Seconds a user waits for each tile after the first."""
    rng, tile, spent = random.Random(start.x), start, []
    with httpx2.Client(timeout=300) as client:
        fetch(client, tile_url(server, tile), params)
        for _ in range(STEPS):
            time.sleep(think)
            dx, dy = rng.choice([(1, 0), (-1, 0), (0, 1), (0, -1)])
            tile = morecantile.Tile(tile.x + dx, tile.y + dy, tile.z)
            spent.append(fetch(client, tile_url(server, tile), params))
    return spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "clearsky-scene")
    parser.add_argument("--size", type=int, default=10980)
    parser.add_argument("--users", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--think", type=float, default=2.0, help="seconds between a tile and the next")
    parser.add_argument("--places", type=int, default=8)
    args = parser.parse_args()
    cloudy, clear = scene_pair(args.folder, args.size)
    with rasterio.open(cloudy) as src:
        bounds = transform_bounds(src.crs, "EPSG:4326", *src.bounds)
    params: Params = {"url": str(cloudy), "replacement": str(clear), "bidx": [3, 2, 1], "rescale": "0,3000"}
    inner = [t for t in inner_tiles(bounds, NATIVE) if t.x % 8 == 0 and t.y % 8 == 0]  # far enough apart
    places = random.Random(5).sample(inner, args.places)
    print(machine() + f"\nScene of {args.size} px; {STEPS} steps from {args.places} places, {args.think} s to think.\n")
    print("| users | prefetch | next tile p50 | p95 | inferences per tile seen |\n| --- | --- | --- | --- | --- |")
    for users in args.users:
        for prefetch in (False, True):
            setting = {"CLEARSKY_PREFETCH": str(prefetch)}
            with serving("ours", args.folder, **setting) as server, httpx2.Client(timeout=300) as client:
                fetch(client, tile_url(server, inner[0]), params)  # the scene's sample is nobody's wait
                before = server.counters()["inferences"]

                def user(place: morecantile.Tile, server: Server = server) -> list[float]:
                    return wander(server, place, params, think=args.think)

                with ThreadPoolExecutor(users) as pool:
                    spent = [wait for waits in pool.map(user, places) for wait in waits]
                runs = (server.counters()["inferences"] - before) / (len(places) * (STEPS + 1))
            print(f"| {users} | {'yes' if prefetch else 'no'} | {percentiles(spent)} | {runs:.1f} |", flush=True)


if __name__ == "__main__":
    main()
