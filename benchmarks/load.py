"""Mixed load on a real server process: good, bad and cancelled requests of many clients for some minutes.

    python -m benchmarks.load [--clients 12] [--minutes 4] [--seed 0]

Reports statuses, times, memory, open files and threads, and whether answers given under load equal those of a fresh
server. Ends with status 1 if one differs, if there is a 5xx other than 502, 503 and 504, or if the server has died.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import random
import socket
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import httpx2
import morecantile
import numpy as np
import rasterio
from rasterio.warp import transform_bounds

from benchmarks.machine import machine
from benchmarks.process import Running, running
from server.demo import DemoScene, write_demo

SIDE = 1024
SAMPLES = 60
"""Addresses whose answers are compared with a fresh server's."""
OF_SOURCES = {502, 503, 504}
"""Statuses of 5xx by the table."""
BAD = [
    "/cog/preview.png?url=/etc/passwd",
    "/cog/preview.png?url=https://169.254.169.254/latest/meta-data",
    "/cog/preview.png?url={folder}/none.tif",
    "/cog/preview.png?{target}&bidx=99",
    "/cog/preview.png?{target}&expression=b1**b1**(",
    "/cog/preview.png?{target}&width=99999999&height=99999999",
    "/cog/preview.png?{target}&algorithm_params=%7B",
    "/cog/tiles/WebMercatorQuad/14/0/0.png?{target}",
    "/cog/point/nan,nan?{target}",
    "/nothing",
]
TORN = [
    b"GET /cog/pre",
    b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: ",
    b"\x16\x03\x01\x02\x00",
    b"POST /cog/feature HTTP/1.1\r\n",
]


@dataclass
class Log:
    """What the clients saw."""

    statuses: dict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    """By the kind of request; 0 stands for a connection that failed."""
    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """Time of every answer with 200, by kind."""
    bodies: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """Checksums of the answers to the sampled addresses."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, kind: str, status: int, seconds: float) -> None:
        """Count an answer."""
        with self.lock:
            self.statuses[kind][status] += 1
            if status == 200:
                self.seconds[kind].append(seconds)


@dataclass(frozen=True)
class Requests:
    """What can be asked for."""

    good: dict[str, list[str]]
    """Addresses by kind."""
    bad: list[str]
    """Addresses that are refused."""

    @classmethod
    def over(cls, scene: DemoScene) -> Requests:
        """Tiles of four zooms, previews, points, statistics and boxes of a pair of rasters."""
        with rasterio.open(scene.cloudy) as src:
            west, south, east, north = transform_bounds(src.crs, "EPSG:4326", *src.bounds)
        target = urlencode({"url": str(scene.cloudy)})
        pair = target + "&" + urlencode({"replacement": str(scene.clear)})
        rgb = "&bidx=3&bidx=2&bidx=1&rescale=0,3000"
        tiles = morecantile.tms.get("WebMercatorQuad").tiles(west, south, east, north, zooms=[11, 12, 13, 14])
        lons, lats = (np.linspace(*ends, 12)[1:-1] for ends in ((west, east), (south, north)))
        good = {
            "tile, filled": [f"/cog/tiles/WebMercatorQuad/{t.z}/{t.x}/{t.y}.png?{pair}{rgb}" for t in tiles],
            "preview, filled": [
                f"/cog/preview.png?{pair}{rgb}&max_size=256&algorithm_params=%7B%22buffer%22%3A{k}%7D"
                for k in range(16)
            ],
            "preview, plain": [f"/cog/preview.webp?{target}{rgb}&max_size={size}" for size in range(64, 513, 64)],
            "point": [f"/cog/point/{lon:.5f},{lat:.5f}?{pair}" for lon in lons for lat in lats],
            "statistics": [f"/cog/statistics?{pair}&max_size={size}" for size in (64, 128)],
            "box, expression": [
                f"/cog/bbox/{west},{south},{lon:.5f},{lat:.5f}.tif?{pair}&max_size=256&expression=(b4-b3)/(b4%2Bb3)"
                for lon, lat in zip(lons[3:], lats[3:], strict=True)
            ],
            "description": [f"/cog/info?{target}", "/healthz", f"/cog/WebMercatorQuad/tilejson.json?{pair}"],
        }
        return cls(good, [address.format(folder=scene.cloudy.parent, target=target) for address in BAD])


def hang_up(base: str, address: str, rng: random.Random) -> None:
    """Ask, or begin to, and close the connection before the answer is there."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", urlsplit(base).port or 0), 10) as line:
        whole = f"GET {address} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
        line.sendall(rng.choice([whole, whole, whole, *TORN]))
        time.sleep(rng.uniform(0, 0.3))


def client(base: str, requests: Requests, sampled: set[str], log: Log, rng: random.Random, end: float) -> None:
    """Ask until the time is over."""
    with httpx2.Client(base_url=base, timeout=150) as http:
        while time.monotonic() < end:
            kind = rng.choices([*requests.good, "bad", "hang-up"], [40, 6, 10, 10, 4, 6, 6, 12, 16])[0]
            if kind == "hang-up":
                hang_up(base, rng.choice(requests.good["tile, filled"] + requests.good["preview, filled"]), rng)
                log.note(kind, -1, 0)
                continue
            address = rng.choice(requests.bad if kind == "bad" else requests.good[kind])
            begun = time.monotonic()
            try:
                answer = http.get(address)
            except httpx2.HTTPError:
                log.note(kind, 0, 0)
                continue
            log.note(kind, answer.status_code, time.monotonic() - begun)
            if address in sampled and answer.status_code == 200:
                with log.lock:
                    log.bodies[address].add(hashlib.sha256(answer.content).hexdigest())


def differing(log: Log, folder: Path) -> list[str]:
    """Sampled addresses that a fresh server answers otherwise."""
    wrong = []
    with running(folder) as fresh, httpx2.Client(base_url=fresh.base, timeout=150) as http:
        for address, seen in log.bodies.items():
            answer = http.get(address)
            if answer.status_code != 200 or seen != {hashlib.sha256(answer.content).hexdigest()}:
                wrong.append(address)
    return wrong


def state(server: Running) -> str:
    """Memory, open files and threads of the server."""
    folder = Path(f"/proc/{server.process.pid}")
    counts = [len(list((folder / name).iterdir())) for name in ("fd", "task")]
    return f"{server.memory('VmRSS') >> 20} MB resident, {counts[0]} open files, {counts[1]} threads"


def report(log: Log) -> bool:
    """Print the tables; gives whether every status is one by the table."""
    print("\n| kind | answers by status | p50 | p95 | p99 |\n| --- | --- | --- | --- | --- |")
    for kind, statuses in sorted(log.statuses.items()):
        if kind == "hang-up":
            print(f"| {kind} | {statuses.total()} | | | |")
            continue
        spent = log.seconds.get(kind, [])
        shown = [f"{np.percentile(spent, p):.2f} s" if spent else "" for p in (50, 95, 99)]
        counts = ", ".join(f"{status or 'no answer'}: {count}" for status, count in sorted(statuses.items()))
        print(f"| {kind} | {counts} | {' | '.join(shown)} |")
    seen = {status for statuses in log.statuses.values() for status in statuses}
    return all(status not in (0, *range(500, 600)) or status in OF_SOURCES for status in seen)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=12, help="clients at the same time")
    parser.add_argument("--minutes", type=float, default=4, help="how long they ask")
    parser.add_argument("--seed", type=int, default=0, help="which requests they make")
    options = parser.parse_args()
    print(machine(), "\n", flush=True)
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        requests, log = Requests.over(write_demo(folder, size=SIDE)), Log()
        every = [address for addresses in requests.good.values() for address in addresses]
        sampled = set(rng.sample([a for a in every if "statistics" not in a and "healthz" not in a], SAMPLES))
        with running(folder, request_timeout="60") as server:
            for address in requests.good["tile, filled"][:2]:
                httpx2.get(server.base + address, timeout=60)
            before = state(server)
            end = time.monotonic() + 60 * options.minutes
            seeds = [random.Random(rng.random()) for _ in range(options.clients)]
            with ThreadPoolExecutor(options.clients) as pool:
                jobs = [pool.submit(client, server.base, requests, sampled, log, own, end) for own in seeds]
            for job in jobs:
                job.result()
            time.sleep(3)
            alive = server.process.poll() is None
            total = sum(statuses.total() for statuses in log.statuses.values())
            print(f"{options.clients} clients, {options.minutes:g} minutes, {total} requests.")
            fine = report(log)
            peak = server.memory("VmHWM") >> 20
            print(f"\nBefore: {before}. After: {state(server)}; peak {peak} MB.", flush=True)
        wrong = differing(log, folder)
        compared = sum(len(seen) for seen in log.bodies.values())
        print(
            f"{len(log.bodies)} addresses sampled, {compared} different answers; {len(wrong)} not as a fresh server's."
        )
        print("\n".join(wrong))
    sys.exit(0 if alive and fine and not wrong else 1)


if __name__ == "__main__":
    main()
