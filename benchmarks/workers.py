"""Several workers on one port, with and without a shared cache: throughput and inferences.

Part `workers` of `benchmarks.scene`.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import morecantile

from benchmarks.process import Running, running

CLIENTS = 4
COLD_TILES = 16
"""Neighbouring native tiles, each asked for twice."""
HEADERS = {"Connection": "close"}
WARM_ROUNDS = 4


@dataclass(frozen=True)
class Pass:
    """What some tiles have taken."""

    seconds: float
    cpu: float
    """CPU seconds of all workers."""
    inferences: int


def counted(server: Running) -> tuple[float, int]:
    """CPU seconds and inferences of all workers so far."""
    time.sleep(0.2)
    totals = {"process_cpu_seconds_total": 0.0, "clearsky_inferences_total": 0.0}
    for line in httpx2.get(server.base + "/metrics", timeout=60).text.splitlines():
        name = line.split("{")[0].split(" ")[0]
        if name in totals:
            totals[name] += float(line.rsplit(" ", 1)[1])
    return totals["process_cpu_seconds_total"], int(totals["clearsky_inferences_total"])


def ask(server: Running, tiles: Sequence[morecantile.Tile], params: Any, clients: int = CLIENTS) -> Pass:
    """Ask for tiles, each over a connection of its own: any worker may answer it."""

    def one(tile: morecantile.Tile) -> None:
        url = f"{server.base}/cog/tiles/WebMercatorQuad/{tile.z}/{tile.x}/{tile.y}.png"
        answer = httpx2.get(url, params=params, timeout=3600, headers=HEADERS)
        assert answer.status_code == 200, answer.text[:500]

    cpu, inferences = counted(server)
    begun = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(one, tiles))
    spent = time.perf_counter() - begun
    cpu_after, inferences_after = counted(server)
    return Pass(spent, cpu_after - cpu, inferences_after - inferences)


@contextmanager
def workers(folder: Path, number: int, shared: Path | None) -> Iterator[Running]:
    """`clearsky serve --workers N`, every worker answering."""
    chosen = {"answer_cache_bytes": "0", "request_timeout": "3600"}
    if shared is not None:
        chosen["cache_url"] = shared.as_uri()
    with running(folder, arguments=("--workers", str(number)), **chosen) as server:
        for _ in range(200):
            text = httpx2.get(server.base + "/metrics", timeout=60).text
            if f"clearsky_workers {number}.0" in text:
                break
            time.sleep(0.1)
        yield server


def compare(folder: Path, tiles: Sequence[morecantile.Tile], pair: Any) -> None:
    """Rows for one and two workers, alone and with a folder that they share."""
    chosen = list(tiles[:COLD_TILES]) * 2
    random.Random(9).shuffle(chosen)
    print("\n| workers | shared cache | cold tiles/s | CPU-s | inferences | again | warm tiles/s | CPU-ms each |")
    print("| --- " * 8 + "|")
    alone: int | None = None
    with tempfile.TemporaryDirectory(prefix="clearsky-shared-") as scratch:
        for number, named in ((1, "none"), (1, "folder"), (2, "none"), (2, "folder")):
            shared = Path(scratch) / str(number) if named == "folder" else None
            with workers(folder, number, shared) as server:
                cold = ask(server, chosen, pair)
                ask(server, chosen, pair)
                warm = ask(server, chosen * WARM_ROUNDS, pair)
            alone = cold.inferences if alone is None else alone
            print(
                f"| {number} | {named} | {len(chosen) / cold.seconds:.2f} | {cold.cpu:.1f} | {cold.inferences} "
                f"| {cold.inferences - alone} | {WARM_ROUNDS * len(chosen) / warm.seconds:.1f} "
                f"| {1000 * warm.cpu / (WARM_ROUNDS * len(chosen)):.0f} |",
                flush=True,
            )
