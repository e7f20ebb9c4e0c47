"""Warm tiles of ClearSky without a replacement against servers that people use, each a process of its own.

    python -m benchmarks.rivals [--size 2048] [--tiles 8] [--repeat 5] [--python PYTHON]

Rivals: TiTiler as it comes; TiTiler with the settings that its documentation recommends, GDAL's caches among them;
localtileserver; terracotta, whose files of one band each are made from the same pixels. The last two run in the
interpreter that `--python` names (`pip install localtileserver terracotta`, an environment of its own), and are left
out with a message where it lacks them. All serve the same 256 px PNG tiles of three bands over loopback and take turns.
Figures are CPU milliseconds per tile of the whole process, which other work on the machine disturbs least: medians over
rounds. They show what one tile costs, sockets included, not how long a client waits.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import httpx2
import morecantile
import rasterio
import rasterio.shutil
from rasterio.warp import transform_bounds

from benchmarks.machine import machine
from benchmarks.scene import NATIVE, inner_tiles
from benchmarks.service import free_port
from server.demo import write_demo

RECOMMENDED = {
    "CPL_VSIL_CURL_CACHE_SIZE": "200000000",
    "GDAL_BAND_BLOCK_CACHE": "HASHSET",
    "GDAL_CACHEMAX": "200",
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES",
    "GDAL_HTTP_MULTIPLEX": "YES",
    "GDAL_INGESTED_BYTES_AT_OPEN": "32768",
    "VSI_CACHE": "TRUE",
    "VSI_CACHE_SIZE": "5000000",
}
"""TiTiler's advice on performance."""
START_S = 60
"""Seconds that a server has to give its first tile."""
SHOWN = (3, 2, 1)
"""Bands."""
RANGE = (0, 3000)
"""What becomes black and white."""

Address = Callable[[morecantile.Tile], str]


@dataclass(frozen=True)
class Rival:
    """A server."""

    name: str
    """What the table calls it."""
    command: Sequence[str]
    """How it is started, with `{port}`."""
    path: Address
    """A tile's address on it."""
    env: dict[str, str]
    """Its environment, apart from this process's own."""
    module: str | None = None
    """What its interpreter must have."""


def cpu_seconds(pid: int) -> float:
    """CPU time of a process so far, in user and system mode."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def started(rival: Rival, tile: morecantile.Tile) -> Iterator[tuple[str, int]]:
    """The base address and process id of a running server that has given a tile."""
    port = free_port()
    command = [part.format(port=port) for part in rival.command]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, env=os.environ | rival.env, **quiet)  # type: ignore[call-overload]
    base, end = f"http://127.0.0.1:{port}", time.monotonic() + START_S
    try:
        while True:
            try:
                if httpx2.get(base + rival.path(tile), timeout=START_S).status_code == 200:
                    break
            except httpx2.HTTPError:
                pass
            assert process.poll() is None, f"{rival.name} ended at start"
            assert time.monotonic() < end, f"{rival.name} gives no tile"
            time.sleep(0.1)
        yield base, process.pid
    finally:
        process.terminate()
        process.wait(timeout=30)


def single_bands(url: str, folder: Path) -> None:
    """Files of one band each, as terracotta takes them."""
    for number in SHOWN:
        with rasterio.open(url) as src, rasterio.MemoryFile() as memory:
            profile = src.profile | {"count": 1, "driver": "GTiff"}
            with memory.open(**profile) as dst:
                dst.write(src.read(number), 1)
            rasterio.shutil.copy(memory.open(), folder / f"scene_b{number}.tif", driver="COG", COMPRESS="DEFLATE")


def rivals(url: str, bands: Path, python: str) -> list[Rival]:
    """All servers, ours first."""
    query = urlencode({"url": url, "bidx": SHOWN, "rescale": f"{RANGE[0]},{RANGE[1]}"}, doseq=True)
    local = urlencode({"indexes": ",".join(map(str, SHOWN)), "vmin": RANGE[0], "vmax": RANGE[1]})
    sides = "&".join(f"{side}_range=[{RANGE[0]},{RANGE[1]}]" for side in "rgb")
    channels = "&".join(f"{side}=b{number}" for side, number in zip("rgb", SHOWN, strict=True))

    def titiler(tile: morecantile.Tile) -> str:
        return f"/cog/tiles/WebMercatorQuad/{tile.z}/{tile.x}/{tile.y}.png?{query}"

    def app(factory: str) -> list[str]:
        code = (
            f"import uvicorn; uvicorn.run('benchmarks.scale:{factory}', factory=True, port={{port}}, log_level='error')"
        )
        return [sys.executable, "-c", code]

    own = {"CLEARSKY_ALLOWED_SOURCES": str(Path(url).parent), "CLEARSKY_ANSWER_CACHE_BYTES": "0"}
    return [
        Rival("ClearSky, no replacement", app("ours"), titiler, own),
        Rival("TiTiler as it comes", app("plain"), titiler, {}),
        Rival("TiTiler, recommended settings", app("plain"), titiler, RECOMMENDED),
        Rival(
            "localtileserver",
            [python, "-m", "localtileserver", url, "--port", "{port}", "--browser", "no"],
            lambda t: f"/api/tiles/{t.z}/{t.x}/{t.y}.png?{local}",
            {},
            "localtileserver",
        ),
        Rival(
            "terracotta",
            [
                python,
                "-m",
                "terracotta.scripts.cli",
                "serve",
                "-r",
                f"{bands}/{{{{name}}}}_{{{{band}}}}.tif",
                "--port",
                "{port}",
            ],
            lambda t: f"/rgb/scene/{t.z}/{t.x}/{t.y}.png?{channels}&{sides}",
            {},
            "terracotta",
        ),
    ]


def installed(rival: Rival) -> bool:
    """Whether a rival's interpreter has it."""
    if rival.module is None:
        return True
    found = subprocess.run([rival.command[0], "-c", f"import {rival.module}"], capture_output=True, check=False)
    return found.returncode == 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=2048)
    parser.add_argument("--tiles", type=int, default=8)
    parser.add_argument("--repeat", type=int, default=5, help="rounds")
    parser.add_argument("--python", default=sys.executable, help="interpreter of localtileserver and terracotta")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        url = str(write_demo(folder, size=args.size).clear)
        bands = folder / "bands"
        bands.mkdir()
        single_bands(url, bands)
        with rasterio.open(url) as src:
            bounds = transform_bounds(src.crs, "EPSG:4326", *src.bounds)
        tiles = inner_tiles(bounds, NATIVE)[: args.tiles]
        running: list[tuple[Rival, str, int]] = []
        for rival in rivals(url, bands, args.python):
            if not installed(rival):
                print(f"{rival.name} is left out: {args.python} has no {rival.module}.")
                continue
            try:
                running.append((rival, *stack.enter_context(started(rival, tiles[0]))))
            except AssertionError as error:
                print(f"{rival.name} is left out: {error}.")
        spent: dict[str, list[float]] = {rival.name: [] for rival, *_ in running}
        with httpx2.Client(timeout=120) as client:
            for turn in range(args.repeat + 1):
                for rival, base, pid in running:
                    before = cpu_seconds(pid)
                    for _ in range(3):  # the clock of processes ticks in hundredths
                        for tile in tiles:
                            answer = client.get(base + rival.path(tile))
                            assert answer.status_code == 200, answer.text[:300]
                    if turn > 0:
                        spent[rival.name].append(1000 * (cpu_seconds(pid) - before) / (3 * len(tiles)))
        print(
            f"{machine()}\n\nDemo scene of {args.size} px; {len(tiles)} tiles of 256 px as PNG, {args.repeat} rounds.\n"
        )
        print("| server | CPU ms a tile | ClearSky / it |\n| --- | --- | --- |")
        ours = statistics.median(next(iter(spent.values())))
        for label, rounds in spent.items():
            middle = statistics.median(rounds)
            print(f"| {label} | {middle:.1f} | {ours / middle:.2f} |")


if __name__ == "__main__":
    main()
