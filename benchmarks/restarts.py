"""A server that starts on the shared cache of one that has ended: the first tile of a scene against a warm one.

    python -m benchmarks.restarts [--folder FOLDER] [--size 2048] [--rounds 6]

A server is asked for native tiles in the middle of a scene, all but a few, and ends. Each round starts another one and
asks it for one tile: of those that were never asked for, or of the others.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import morecantile
import numpy as np
import rasterio
from rasterio.warp import transform_bounds

from benchmarks.machine import machine
from benchmarks.process import Running, running
from benchmarks.scale import scene_pair
from benchmarks.scene import neighbours

ASKED_TILES = 25
"""Five by five, of which `HELD_TILES` are left out."""
HELD_TILES = (1, 3, 6, 8)
"""The corners of the inner three by three: none next to another, each among tiles that were asked for."""
WARM_TIMES = 20


@dataclass(frozen=True)
class First:
    """The first tile of a server that has just started."""

    cpu: float
    """Its CPU seconds."""
    wall: float
    """Seconds."""
    warm_cpu: float
    """CPU seconds of the same tile later, the answer not kept; the median."""
    warm_wall: float
    """Seconds of the same."""
    start: float
    """Seconds from the start to the tile's request."""
    misses: float
    """Values that had to be computed or read for it."""


def cpu_seconds(server: Running) -> float:
    """CPU time of all threads of a process, in steps far below those of `/proc/PID/stat`."""
    tasks = Path(f"/proc/{server.process.pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9


def missed(client: httpx2.Client) -> float:
    """Values that had to be computed or read so far."""
    lines = client.get("/metrics").text.splitlines()
    kinds = tuple(f'clearsky_cache_misses_total{{cache="{cache}",tier="memory"' for cache in ("computed", "rasters"))
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(kinds))


def ask(client: httpx2.Client, server: Running, tile: morecantile.Tile, params: Any) -> tuple[float, float]:
    """CPU seconds and seconds of a tile."""
    cpu, begun = cpu_seconds(server), time.perf_counter()
    answer = client.get(f"/cog/tiles/WebMercatorQuad/{tile.z}/{tile.x}/{tile.y}.png", params=params)
    wall = time.perf_counter() - begun
    assert answer.status_code == 200, answer.text[:500]
    return cpu_seconds(server) - cpu, wall


@contextmanager
def serving(folder: Path, shared: Path, **settings: str) -> Iterator[tuple[Running, httpx2.Client]]:
    """A server and a client that keeps its connection, under one name on changing ports: answers are kept by it."""
    chosen = {"cache_url": shared.as_uri(), "request_timeout": "3600", "warm_start_seconds": "60"} | settings
    with running(folder, **chosen) as server:
        headers = {"Host": "tiles.example"}
        with httpx2.Client(base_url=server.base, timeout=3600, headers=headers) as client:
            yield server, client


def first(
    folder: Path, shared: Path, tile: morecantile.Tile, params: Any, *, waits: bool = True, **settings: str
) -> First:
    """The first tile after a start; `waits`: once the server is ready rather than at once."""
    begun = time.perf_counter()
    with serving(folder, shared, **settings) as (server, client):
        while waits and client.get("/readyz").status_code != 200:
            time.sleep(0.05)
        misses = missed(client)
        start = time.perf_counter() - begun
        cpu, wall = ask(client, server, tile, params)
        misses = missed(client) - misses
        while client.get("/readyz").status_code != 200:
            time.sleep(0.05)
        # As warm as can be, but not the kept answer: another rescaling is another answer.
        others = [params | {"rescale": f"0,{3000 + number}"} for number in range(1, WARM_TIMES + 1)]
        warm = np.median([ask(client, server, tile, other) for other in others], axis=0)
    return First(cpu, wall, float(warm[0]), float(warm[1]), start, misses)


def compare_starts(folder: Path, tiles: Sequence[morecantile.Tile], pair: Any, rounds: int) -> None:
    """Print a row for every kind of start."""
    held = [tiles[number] for number in HELD_TILES]
    asked = [tile for tile in tiles[:ASKED_TILES] if tile not in held]
    kinds: dict[str, tuple[list[morecantile.Tile], dict[str, Any]]] = {
        "asked for before": (asked, {}),
        "never asked for": (held, {}),
        "never asked for, at once": (held, {"waits": False}),
        "never asked for, warm start off": (held, {"warm_start_seconds": "0"}),
    }
    print("| first tile | CPU-ms | warm | ratio | ms | warm | ratio | values missed | s to the request |")
    print("| --- " * 9 + "|")
    with tempfile.TemporaryDirectory(prefix="clearsky-shared-") as scratch:
        left = Path(scratch) / "left"
        with serving(folder, left) as (server, client):
            for tile in asked:
                ask(client, server, tile, pair)
        for kind, (choice, options) in kinds.items():
            found = []
            for k in range(rounds):
                shared = Path(
                    shutil.copytree(left, Path(scratch) / "copy")
                )  # what a round leaves is not the next one's
                found.append(first(folder, shared, choice[k % len(choice)], pair, **options))
                shutil.rmtree(shared)
            cpu, wall, warm_cpu, warm_wall, start, misses = (
                float(np.median([getattr(each, name) for each in found]))
                for name in ("cpu", "wall", "warm_cpu", "warm_wall", "start", "misses")
            )
            print(
                f"| {kind} | {1000 * cpu:.1f} | {1000 * warm_cpu:.1f} | {cpu / warm_cpu:.2f} | {1000 * wall:.0f} "
                f"| {1000 * warm_wall:.0f} | {wall / warm_wall:.2f} | {misses:.0f} | {start:.1f} |",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "clearsky-scene")
    parser.add_argument("--size", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=6)
    args = parser.parse_args()
    cloudy, clear = scene_pair(args.folder, args.size)
    with rasterio.open(cloudy) as src:
        bounds = transform_bounds(src.crs, "EPSG:4326", *src.bounds)
    pair = {"url": str(cloudy), "bidx": [3, 2, 1], "rescale": "0,3000", "replacement": str(clear)}
    print(machine() + f"\nScene of {args.size} px, 6 bands.\n")
    compare_starts(args.folder, neighbours(bounds), pair, args.rounds)


if __name__ == "__main__":
    main()
