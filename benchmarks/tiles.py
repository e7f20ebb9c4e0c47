"""Latency of tiles against plain TiTiler, in one run on one machine.

    python -m benchmarks.tiles [--size 2048] [--repeat 5] [--cpu]

Everything goes through the same application stack (ASGI, no socket). Rivals: stock TiTiler on the target (`plain`);
stock TiTiler reading target and replacement and encoding once (`two reads`); for cold tiles `two reads` plus the same
number of bare model inferences on the same threads. Rivals and ours take turns; figures are medians over tiles of each
tile's median; ratios are taken tile by tile. Answers are not kept but for the row that says so. `--cpu` counts the time
of computing on all threads instead of the wall's, for a machine with other work.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import attr
import morecantile
import numpy as np
import rasterio
from fastapi import FastAPI
from rasterio.warp import transform_bounds
from rio_tiler.io import Reader
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.testclient import TestClient
from titiler.core.factory import TilerFactory

from algorithms.models import MODELS
from algorithms.sessions import SESSIONS
from benchmarks.machine import machine
from benchmarks.service import application
from server.demo import write_demo

TMS = morecantile.tms.get("WebMercatorQuad")
MODEL = MODELS["ukis-6b-l1c"]


@attr.s
class TwoReads(Reader):
    """Stock reader that reads a second raster on the same grid, and shows that: it encodes ground, as ours does."""

    other: str = ""

    def part(self, bbox: Any, *args: Any, **kwargs: Any) -> Any:
        """Read both."""
        super().part(bbox, *args, **kwargs)
        with Reader(type(self).other) as second:
            return second.part(bbox, *args, **kwargs)


def rival(reader: type[Reader], **options: Any) -> TestClient:
    """Stock TiTiler."""
    app = FastAPI()
    app.include_router(TilerFactory(reader=reader, router_prefix="/cog", **options).router, prefix="/cog")
    return TestClient(app)


Clock = Callable[[], float]


def timed(calls: Sequence[Callable[[], Any]], repeat: int, clock: Clock = time.perf_counter) -> list[float]:
    """Median times in milliseconds of calls that take turns."""
    spent: list[list[float]] = [[] for _ in calls]
    for _ in range(repeat):
        for call, times in zip(calls, spent, strict=True):
            start = clock()
            answer = call()
            times.append(1000 * (clock() - start))
            assert answer is None or answer.status_code == 200, answer.text
    return [statistics.median(times) for times in spent]


WARM_GOAL = 0.35
"""Of plain TiTiler's time."""
KEPT_GOAL_MS = 3
"""Of a tile that was asked for before."""
COLD_GOAL = 1.2
"""Of the time of the inferences and of plain reads."""
EDGE_SHARE = 0.05
"""Share of the scene's sides whose tiles are left out."""


@dataclass(frozen=True)
class Stacks:
    """Our application's rivals, as clients."""

    plain: TestClient
    """Stock TiTiler."""
    double: TestClient
    """Stock TiTiler that reads both rasters."""


def get(client: TestClient, path: str, params: dict[str, Any]) -> Callable[[], Any]:
    """A request to be timed."""
    return lambda: client.get(path, params=params)


def tile_path(tile: morecantile.Tile, encoding: str) -> str:
    return f"/cog/tiles/WebMercatorQuad/{tile.z}/{tile.x}/{tile.y}.{encoding}"


def warm(
    stacks: Stacks,
    client: TestClient,
    tiles: list[morecantile.Tile],
    encoding: str,
    params: dict[str, Any],
    second: str | None,
    repeat: int,
    clock: Clock,
) -> list[list[float]]:
    """Times of each tile: plain, two reads, ours; the first request of each is not counted."""
    result = []
    for tile in tiles:
        path, own = tile_path(tile, encoding), params if second is None else params | {"replacement": second}
        calls = [get(stacks.plain, path, params), get(stacks.double, path, params), get(client, path, own)]
        timed(calls, 1)
        result.append(timed(calls, repeat, clock))
    return result


def cold(
    folder: str, double: TestClient, tile: morecantile.Tile, params: dict[str, Any], second: str
) -> tuple[float, ...]:
    """Inferences, time of two reads, of bare inferences, of their sum, and of ours with empty caches."""
    window = np.random.default_rng(0).random((6, 256, 256), np.float32) * 0.3
    path = tile_path(tile, "webp")
    with application(folder) as client:
        SESSIONS.probabilities(MODEL, window)
        before = SESSIONS.inferences(MODEL)
        (ours,) = timed([get(client, path, params | {"replacement": second})], 1)
        count = SESSIONS.inferences(MODEL) - before
    start = time.perf_counter()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda _: SESSIONS.probabilities(MODEL, window), range(count)))
    bare = 1000 * (time.perf_counter() - start)
    (reads,) = timed([get(double, path, params)], 3)
    return count, reads, bare, reads + bare, ours


async def _nothing(_: Request) -> Response:
    return Response()


def kept(folder: str, path: str, params: dict[str, Any], clock: Clock) -> None:
    """A tile that was asked for before, of an application that keeps answers; and what the client takes of its time."""
    with application(folder, answer_cache_bytes=1 << 20) as client:
        tag = client.get(path, params=params).headers["etag"]
        known = partial(client.get, path, params=params, headers={"If-None-Match": tag})
        calls = [get(client, path, params), lambda: None if known().status_code == 304 else known()]
        with TestClient(Starlette(routes=[Route("/{path:path}", _nothing)])) as empty:
            again, unchanged, nothing = timed([*calls, get(empty, path, params)], 50, clock)
    for name, spent in (("kept", again), ("304", unchanged), ("an empty application", nothing)):
        print(f"| 256 px webp, cloudy, {name} | 1 | | | {spent:.1f} | | | {KEPT_GOAL_MS} ms |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=2048)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--tiles", type=int, default=12)
    parser.add_argument("--cpu", action="store_true", help="time of computing on all threads")
    args = parser.parse_args()
    clock = time.process_time if args.cpu else time.perf_counter
    with tempfile.TemporaryDirectory() as folder:
        scene = write_demo(Path(folder), size=args.size)
        url, other = str(scene.cloudy), str(scene.clear)
        with rasterio.open(url) as src:
            west, south, east, north = transform_bounds(src.crs, "EPSG:4326", *src.bounds)
        # Not at the rim: of a raster turned against the map stock TiTiler refuses tiles there.
        aside, above = EDGE_SHARE * (east - west), EDGE_SHARE * (north - south)
        box = west + aside, south + above, east - aside, north - above
        TwoReads.other = other
        stacks = Stacks(rival(Reader), rival(TwoReads))
        params: dict[str, Any]
        common: dict[str, Any] = {"bidx": [3, 2, 1], "rescale": "0,3000"}
        print(f"{machine()}\n\nDemo scene of {args.size} px, 6 bands; medians in ms.\n")
        print("| warm tiles | n | plain TiTiler | two reads | ClearSky | ratio to plain | to two reads | goal |")
        print("| --- | --- | --- | --- | --- | --- | --- | --- |")
        chosen: dict[int, list[morecantile.Tile]] = {}
        for size, zoom in ((256, 14), (512, 13)):
            with application(folder) as client:
                cloudy, clear = [], []
                for tile in TMS.tiles(*box, zooms=[zoom]):
                    params = {"url": url, "tilesize": size, **common}
                    answer = client.get(tile_path(tile, "webp"), params=params | {"replacement": other})
                    if answer.status_code == 200 and 0.2 < float(answer.headers["x-clearsky-cloud-fraction"]) < 0.9:
                        cloudy.append(tile)
                    # Clear tiles: the clear date as target, its masks looked up all the same.
                    params |= {"url": other, "replacement": url}
                    answer = client.get(tile_path(tile, "webp"), params=params)
                    if answer.status_code == 200 and float(answer.headers["x-clearsky-cloud-fraction"]) == 0:
                        clear.append(tile)
                chosen[size] = cloudy
                kinds = {"plain": (cloudy, url, None), "clear": (clear, other, url), "cloudy": (cloudy, url, other)}
                for (kind, (tiles, target, second)), encoding in product(kinds.items(), ("webp", "png", "jpg")):
                    params = {"url": target, "tilesize": size, **common}
                    some = tiles[: args.tiles]
                    values = np.array(warm(stacks, client, some, encoding, params, second, args.repeat, clock))
                    figures = " | ".join(f"{m:.1f}" for m in np.median(values, axis=0))
                    ratios = " | ".join(f"{np.median(values[:, 2] / values[:, base]):.2f}" for base in (0, 1))
                    print(
                        f"| {size} px {encoding}, {kind} | {len(values)} | {figures} | {ratios} | {WARM_GOAL} x plain |"
                    )
        kept(folder, tile_path(chosen[256][0], "webp"), {"url": url, "replacement": other, **common}, clock)
        print("\n| cold first tile | inferences | two reads | bare inferences | sum | ClearSky | ratio | goal |")
        print("| --- | --- | --- | --- | --- | --- | --- | --- |")
        for size, tiles in chosen.items():
            params = {"url": url, "tilesize": size, **common}
            values = np.array([cold(folder, stacks.double, tile, params, other) for tile in tiles[:6]])
            count, *figures = np.median(values, axis=0)
            ratio = np.median(values[:, 4] / values[:, 3])
            shown = " | ".join(f"{f:.0f}" for f in figures)
            print(f"| {size} px webp | {count:.0f} | {shown} | {ratio:.2f} | {COLD_GOAL} x sum |")


if __name__ == "__main__":
    main()
