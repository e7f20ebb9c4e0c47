"""Peak memory of the largest request that each route admits, next to the budget that admits it.

    python -m benchmarks.ceiling [--side 4096] [--only WORD]

Every case has a server process of its own, which has loaded the network before. What counts is the kernel's peak of
resident memory (VmHWM, set back before each request) less what was resident before, for the first request and for the
same one again; the budget is what the server itself says that the answer takes when it refuses it.
"""

from __future__ import annotations

import argparse
import re
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import morecantile
import rasterio
from rasterio.warp import transform_bounds

from benchmarks.machine import machine
from benchmarks.process import Running, running
from server.demo import DemoScene, write_demo

SIDE = 1024
"""Pixels of the scene; answers are larger, so that what grows with the answer is seen."""
LIMIT = 3 << 30
"""`CLEARSKY_MAX_REQUEST_BYTES` by default."""
RGB = {"bidx": [3, 2, 1]}
FORMULA = ";".join(f"(b{1 + k % 6}*{k}+1)/(b{1 + (k + 1) % 6}+1)" for k in range(12))
REMAP = {"mask_remap": ";".join(f"{k} {k % 2}" for k in range(256))}


@dataclass(frozen=True)
class Case:
    """A request of an adjustable size."""

    name: str
    """What is asked for."""
    path: str
    """Path, with `{side}` for the size in pixels where it stands there."""
    query: dict[str, Any] = field(default_factory=dict)
    """Parameters, with the size as text `{side}`."""
    sources: tuple[str, ...] = ("url",)
    """Rasters it names."""
    feature: bool = False
    """Whether the scene's outline is POSTed."""
    side: int | None = None
    """Size in pixels that is asked for; the largest admitted where None."""


PAIR = ("url", "replacement")
SIZED = {"width": "{side}", "height": "{side}"}
TILE = {"tilesize": "{side}"}
BYTES = {"rescale": "0,3000"}
CUT = {"cover_scale": 10}
CASES = [
    Case("tile of 512, RGB, filled, PNG", "/cog/tiles/{tile}.png", RGB | TILE | BYTES, PAIR, side=512),
    Case("tile of 4096, RGB, filled", "/cog/tiles/{tile}.tif", RGB | TILE, PAIR),
    Case("preview, 6 bands", "/cog/preview/{side}x{side}.tif"),
    Case("preview, RGB, PNG", "/cog/preview/{side}x{side}.png", RGB | BYTES),
    Case("preview, 6 bands, filled", "/cog/preview/{side}x{side}.tif", {}, PAIR),
    Case("preview, mask of the model", "/cog/preview/{side}x{side}.tif", {"algorithm": "cloud_mask"}),
    Case("preview, 256 entries of `mask_remap`", "/cog/preview/{side}x{side}.tif", RGB | REMAP, (*PAIR, "mask")),
    Case("preview, 12 expressions", "/cog/preview/{side}x{side}.tif", {"expression": FORMULA}),
    Case("preview, 12 expressions, filled", "/cog/preview/{side}x{side}.tif", {"expression": FORMULA}, PAIR),
    Case("preview, hillshade", "/cog/preview/{side}x{side}.tif", {"algorithm": "hillshade", "bidx": 1, "buffer": 1}),
    Case("bbox, RGB, filled, warped", "/cog/bbox/{bounds}/{side}x{side}.tif", RGB | {"dst_crs": "EPSG:3857"}, PAIR),
    Case("feature, RGB, filled", "/cog/feature/{side}x{side}.tif", RGB, PAIR, feature=True),
    Case("map, RGB, filled", "/cog/map", RGB | SIZED | BYTES | {"f": "png"}, PAIR),
    Case("statistics, 6 bands, filled", "/cog/statistics", SIZED, PAIR),
    Case("statistics of a feature, RGB, filled", "/cog/statistics", RGB | SIZED, PAIR, feature=True),
    Case("statistics of a feature, `cover_scale` 10", "/cog/statistics", RGB | SIZED | CUT, feature=True),
]  # fmt: skip


@dataclass(frozen=True)
class Place:
    """The scene, as requests name it."""

    scene: DemoScene
    bounds: tuple[float, float, float, float]
    """Geographic bounds."""

    @classmethod
    def of(cls, scene: DemoScene) -> Place:
        """Where a scene lies."""
        with rasterio.open(scene.cloudy) as src:
            return cls(scene, transform_bounds(src.crs, "EPSG:4326", *src.bounds))

    def ask(self, client: httpx2.Client, case: Case, side: int) -> httpx2.Response:
        """Make the request."""
        left, bottom, right, top = self.bounds
        tile = morecantile.tms.get("WebMercatorQuad").tile((left + right) / 2, (bottom + top) / 2, 13)
        known = {"side": str(side), "tile": f"WebMercatorQuad/{tile.z}/{tile.x}/{tile.y}"}
        files = {"url": self.scene.cloudy, "replacement": self.scene.clear, "mask": self.scene.truth_mask}
        query = {name: str(files[name]) for name in case.sources}
        query |= {"replacement_mask": "none"} if "mask" in query else {}
        query |= {name: str(side) if value == "{side}" else value for name, value in case.query.items()}
        path = case.path.format(bounds=",".join(map(str, self.bounds)), **known)
        if not case.feature:
            return client.get(path, params=query)
        ring = [[left, bottom], [right, bottom], [right, top], [left, top], [left, bottom]]
        outline = {"type": "Polygon", "coordinates": [ring]}
        return client.post(path, params=query, json={"type": "Feature", "properties": {}, "geometry": outline})


def budget(refusing: httpx2.Client, place: Place, case: Case, side: int) -> int:
    """Bytes that the server counts for an answer, from its refusal."""
    answer = place.ask(refusing, case, side)
    found = re.search(r"take (\d+) MB", answer.text)
    assert found is not None, (case.name, answer.status_code, answer.content[:300])
    return int(found[1]) << 20


def measured(server: Running, place: Place, case: Case, side: int) -> tuple[int, float]:
    """Bytes that a request takes at its peak, and seconds."""
    before = server.memory("VmRSS")
    server.forget_peak()
    begun = time.perf_counter()
    with httpx2.Client(base_url=server.base, timeout=300) as client:
        answer = place.ask(client, case, side)
    spent = time.perf_counter() - begun
    assert answer.status_code == 200, (case.name, side, answer.status_code, answer.content[:300])
    return server.memory("VmHWM") - before, spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=4096, help="largest width and height asked for")
    parser.add_argument("--only", default="", help="a word in the names of the cases to measure")
    options = parser.parse_args()
    print(machine(), "\n", flush=True)
    print("| request | pixels | budget | first | again | seconds, first and again |")
    print("| --- | --- | --- | --- | --- | --- |", flush=True)
    with tempfile.TemporaryDirectory() as name:
        place = Place.of(write_demo(Path(name), size=SIDE))
        largest = {"max_tile_size": str(options.side), "request_timeout": "290"}
        with (
            running(name, max_request_bytes=str(64 << 20), **largest) as refusing,
            httpx2.Client(base_url=refusing.base, timeout=60) as client,
        ):
            sides: dict[str, tuple[int, int]] = {}
            for case in CASES:
                total = budget(client, place, case, options.side)
                side = case.side or min(options.side, int(options.side * (LIMIT / (total + (1 << 20))) ** 0.5))
                sides[case.name] = side, total * side**2 // options.side**2
        for case in CASES:
            if options.only not in case.name:
                continue
            side, total = sides[case.name]
            with running(name, **largest) as server, httpx2.Client(base_url=server.base, timeout=60) as client:
                loading = Case("", "/cog/preview/16x16.tif", {"algorithm": "cloud_mask"})
                assert place.ask(client, loading, 16).status_code == 200
                (first, cold), (again, warm) = (measured(server, place, case, side) for _ in range(2))
            print(
                f"| {case.name} | {side} x {side} | {total >> 20} MB | {first >> 20} MB | {again >> 20} MB "
                f"| {cold:.1f}, {warm:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
