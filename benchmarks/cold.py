"""Cold native tiles in inference-times: seconds divided by those of one window's inference in the same run.

    python -m benchmarks.cold [--size 4096] [--firsts 3] [--places 12] [--options [NAME ...]]

Comparable between machines. `wall` is what a client waits for; `CPU` is the time of computing on all threads, divided
by the number of cores: what it would take at best, and the figure to go by on a machine with other work. `sum` is the
same number of bare inferences on as many threads, and stock reads of both rasters. `--options` compares what options
cost.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import morecantile
import numpy as np
import rasterio
from rasterio.warp import transform_bounds
from starlette.testclient import TestClient

from algorithms.loops import compiled_loops
from algorithms.sessions import SESSIONS
from benchmarks.machine import machine
from benchmarks.scene import NATIVE, inner_tiles
from benchmarks.service import application
from benchmarks.tiles import MODEL, TwoReads, rival, tile_path
from server.demo import write_demo

CORES = os.cpu_count() or 1
WINDOW = np.random.default_rng(0).random((6, 256, 256), np.float32) * 0.3
Params = dict[str, Any]
OPTIONS: dict[str, tuple[Params, int]] = {
    "default": ({}, 1),
    "refine=false": ({"refine": False}, 1),
    "sensitivity=50": ({"sensitivity": 50}, 1),
    "regression of two": ({}, 2),
    "joint": ({"adjustment": "joint"}, 2),
}
"""Options that are compared, and with how many replacements."""


@dataclass(frozen=True)
class Cost:
    """What something cost."""

    wall: float
    """Seconds."""
    cpu: float
    """Seconds of computing on all threads."""
    inferences: int


@contextmanager
def counted(costs: list[Cost]) -> Iterator[None]:
    """Note what the body costs."""
    begun = time.perf_counter(), time.process_time(), SESSIONS.inferences()
    yield
    wall, cpu = time.perf_counter() - begun[0], time.process_time() - begun[1]
    costs.append(Cost(wall, cpu, SESSIONS.inferences() - begun[2]))


def inferences(count: int, threads: int = CORES) -> Cost:
    """Bare inferences on some threads."""
    costs: list[Cost] = []
    with counted(costs), ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda _: SESSIONS.probabilities(MODEL, WINDOW), range(count)))
    return costs[0]


def unit(repeat: int = 5) -> Cost:
    """One inference on one core."""
    one = [inferences(1, 1) for _ in range(repeat)]
    return Cost(statistics.median(c.wall for c in one), statistics.median(c.cpu for c in one), 1)


def asked(client: TestClient, tile: morecantile.Tile, params: Params) -> Cost:
    """What one tile costs."""
    costs: list[Cost] = []
    with counted(costs):
        answer = client.get(tile_path(tile, "webp"), params=params)
    assert answer.status_code == 200, answer.text
    return costs[0]


def ready(folder: str, other: Params, tile: morecantile.Tile) -> None:
    """All that a process does once has been done: libraries and compiled loops loaded, another raster filled."""
    with application(folder, request_timeout=3600) as client:
        client.get(tile_path(tile, "webp"), params=other)
    compiled_loops().wait()


def row(name: str, costs: Sequence[Cost], reads: Cost, one: Cost) -> None:
    """Print the costs of tiles."""
    counts = [cost.inferences for cost in costs]
    walls = np.array([cost.wall for cost in costs]) / one.wall
    cpus = np.array([cost.cpu for cost in costs]) / one.cpu / CORES
    bare = inferences(round(statistics.median(counts)))
    summed = (bare.wall + reads.wall) / one.wall, (bare.cpu + reads.cpu) / one.cpu / CORES
    shown = " | ".join(f"{value:.1f}" for value in (*np.percentile(walls, (50, 95)), *np.percentile(cpus, (50, 95))))
    ratios = f"{np.median(walls) / summed[0]:.2f} | {np.median(cpus) / summed[1]:.2f}"
    print(
        f"| {name} | {len(costs)} | {statistics.median(counts):.0f} ({max(counts)}) | {shown} | {ratios} |", flush=True
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where the demo scene is kept from one run to the next")
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--firsts", type=int, default=3)
    parser.add_argument("--places", type=int, default=12)
    parser.add_argument("--options", nargs="*", metavar="NAME", help=f"also what options cost: {', '.join(OPTIONS)}")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = args.folder or Path(scratch)
        if not (folder / "cloudy.tif").exists():
            write_demo(folder, size=args.size)
        small = write_demo(Path(scratch) / "small", size=512)
        cloudy, clear, truth = (str(folder / f"{name}.tif") for name in ("cloudy", "clear", "truth"))
        with rasterio.open(cloudy) as src:
            bounds = transform_bounds(src.crs, "EPSG:4326", *src.bounds)
        tiles = random.Random(3).sample(inner_tiles(bounds, NATIVE), args.firsts + args.places)
        common: Params = {"bidx": [3, 2, 1], "rescale": "0,3000"}
        params = common | {"url": cloudy, "replacement": clear}
        middle = (bounds[0] + bounds[2]) / 2, (bounds[1] + bounds[3]) / 2
        ready(scratch, common | {"url": str(small.cloudy), "replacement": str(small.clear)}, tiles[0])
        TwoReads.other = clear
        double = rival(TwoReads)
        inferences(2)
        reads = [asked(double, tile, common | {"url": cloudy}) for tile in tiles[:6]]
        read = Cost(statistics.median(c.wall for c in reads), statistics.median(c.cpu for c in reads), 0)
        one = unit()
        print(f"{machine()}\nDemo scene of {args.size} px around {middle[1]:.2f}, {middle[0]:.2f}.\n")
        print(
            f"One inference: {1000 * one.wall:.0f} ms, {1000 * one.cpu:.0f} ms of CPU. Medians, in inference-times.\n"
        )
        print("| native tile of 256 px | n | inferences (most) | wall p50 | p95 | CPU p50 | p95 | / sum | CPU / sum |")
        print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")

        def first(tile: morecantile.Tile, wanted: Params) -> tuple[Cost, Cost]:
            """The first tile of a scene, and the same once more."""
            with application(str(folder), request_timeout=3600) as client:
                return asked(client, tile, wanted), asked(client, tile, wanted)

        row("first of a scene", [first(tile, params)[0] for tile in tiles[: args.firsts]], read, unit())
        if args.places:
            with application(str(folder), request_timeout=3600) as client:
                asked(client, tiles[0], params)
                places = [asked(client, tile, params) for tile in tiles[args.firsts :]]
            row("at a new place", places, read, unit())
        for name in OPTIONS if args.options == [] else args.options or ():
            options, count = OPTIONS[name]
            wanted = params | {"replacement": [clear, truth][:count], "algorithm_params": json.dumps(options)}
            both = [first(tile, wanted) for tile in tiles[: args.firsts]]
            one = unit()
            row(f"first, {name}", [cold for cold, _ in both], read, one)
            row(f"warm, {name}", [warm for _, warm in both], read, one)


if __name__ == "__main__":
    main()
