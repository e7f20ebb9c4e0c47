"""Latency of tiles against plain TiTiler, in one run on one machine.

    python -m benchmarks.tiles [--size 2048] [--repeat 5]

Everything goes through the same application stack (ASGI, no socket). Rivals: stock TiTiler on the target (`plain`); stock
TiTiler reading target and replacement and encoding once (`two reads`); for cold tiles `two reads` plus the same number of
bare model inferences on the same threads. Figures are medians over tiles of each tile's median; ratios are taken
tile by tile.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import attr
import morecantile
import numpy as np
import rasterio
from fastapi import FastAPI
from rasterio.warp import transform_bounds
from rio_tiler.io import Reader
from starlette.testclient import TestClient
from titiler.core.factory import TilerFactory

from algorithms.models import MODELS
from benchmarks.machine import machine
from server.demo import write_demo
from server.render import render
from tests.service import application, fresh

TMS = morecantile.tms.get("WebMercatorQuad")
MODEL = MODELS["ukis-6b-l1c"]


@attr.s
class TwoReads(Reader):
    """Stock reader that reads a second raster on the same grid, and leaves it."""

    other: str = ""

    def part(self, bbox: Any, *args: Any, **kwargs: Any) -> Any:
        with Reader(type(self).other) as second:
            second.part(bbox, *args, **kwargs)
        return super().part(bbox, *args, **kwargs)


def rival(reader: type[Reader], **options: Any) -> TestClient:
    """Stock TiTiler."""
    app = FastAPI()
    app.include_router(TilerFactory(reader=reader, router_prefix="/cog", **options).router, prefix="/cog")
    return TestClient(app)


def timed(call: Callable[[], Any], repeat: int) -> float:
    """Median wall time in milliseconds."""
    spent = []
    for _ in range(repeat):
        start = time.perf_counter()
        answer = call()
        spent.append(1000 * (time.perf_counter() - start))
        assert answer is None or answer.status_code == 200, answer.text
    return statistics.median(spent)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=2048)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--tiles", type=int, default=12)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        scene = write_demo(Path(folder), size=args.size)
        url, other = str(scene.cloudy), str(scene.clear)
        with rasterio.open(url) as src:
            bounds = transform_bounds(src.crs, "EPSG:4326", *src.bounds)
        TwoReads.other = other
        plain, same_encoder, double = (
            rival(Reader),
            rival(Reader, render_func=render),
            rival(TwoReads, render_func=render),
        )
        common = {"bidx": [3, 2, 1], "rescale": "0,3000"}
        print(f"{machine()}\n\nDemo scene of {args.size} px, 6 bands; medians in ms.\n")
        rows = []
        for size, zoom in ((256, 14), (512, 13)):
            every = [t for t in TMS.tiles(*bounds, zooms=zoom)]
            with application(folder) as client:
                covered = {}
                for t in every:
                    path = f"/cog/tiles/WebMercatorQuad/{t.z}/{t.x}/{t.y}.webp"
                    answer = client.get(path, params={"url": url, "replacement": other, "tilesize": size, **common})
                    if answer.status_code == 200:
                        covered[t] = float(answer.headers["x-clearsky-cloud-fraction"])
                # Clear tiles: the clear date as its own target, so that no pixel is filled and all masks are looked up.
                kinds = {
                    "cloudy": [t for t, share in covered.items() if 0.2 < share < 0.9][: args.tiles],
                    "clear": list(covered)[: args.tiles],
                }
                for encoding in ("webp", "png"):
                    for kind, tiles in kinds.items():
                        target, second = (url, other) if kind == "cloudy" else (other, url)
                        result = []
                        for t in tiles:
                            path = f"/cog/tiles/WebMercatorQuad/{t.z}/{t.x}/{t.y}.{encoding}"
                            params = {"url": target, "tilesize": size, **common}
                            pair = params | {"replacement": second}
                            filled = client.get(path, params=pair)  # warm
                            if kind == "clear" and float(filled.headers["x-clearsky-cloud-fraction"]) > 0:
                                continue
                            result.append(
                                (
                                    timed(lambda: plain.get(path, params=params), args.repeat),
                                    timed(lambda: same_encoder.get(path, params=params), args.repeat),
                                    timed(lambda: double.get(path, params=params), args.repeat),
                                    timed(lambda: client.get(path, params=pair), args.repeat),
                                )
                            )
                        rows.append((f"{size} px {encoding}, {kind}, warm", kind, np.array(result)))
        print("| tiles | n | plain TiTiler | plain, our encoder | two reads, our encoder | ClearSky | ratio | goal |")
        print("| --- | --- | --- | --- | --- | --- | --- | --- |")
        for name, kind, values in rows:
            medians = np.median(values, axis=0)
            base = 1 if kind == "clear" else 2
            ratio = np.median(values[:, 3] / values[:, base])
            goal = "<= 1.1 x plain, our encoder" if kind == "clear" else "<= 1.1 x two reads"
            figures = " | ".join(f"{m:.1f}" for m in medians)
            print(f"| {name} | {len(values)} | {figures} | {ratio:.2f} | {goal} |")

        window = np.random.default_rng(0).random((6, 256, 256), np.float32) * 0.3
        MODEL.probabilities(window)
        print("\n| cold first tile | inferences | two reads | bare inferences | sum | ClearSky | ratio | goal |")
        print("| --- | --- | --- | --- | --- | --- | --- | --- |")
        for size, zoom in ((256, 14), (512, 13)):
            result = []
            tiles = list(TMS.tiles(*bounds, zooms=zoom))
            for t in tiles[len(tiles) // 2 :][:6]:
                path = f"/cog/tiles/WebMercatorQuad/{t.z}/{t.x}/{t.y}.webp"
                params = {"url": url, "tilesize": size, **common}
                fresh()
                with application(folder) as client:
                    MODEL.load()
                    before = MODEL.runs[0]
                    start = time.perf_counter()
                    answer = client.get(path, params=params | {"replacement": other})
                    ours = 1000 * (time.perf_counter() - start)
                    count = MODEL.runs[0] - before
                assert answer.status_code == 200
                with ThreadPoolExecutor() as pool:
                    bare = timed(lambda: [None for _ in pool.map(lambda _: MODEL.probabilities(window), range(count))] and None, 1)
                reads = timed(lambda: double.get(path, params=params), 3)
                result.append((count, reads, bare, reads + bare, ours))
            values = np.array(result)
            count, *figures = np.median(values, axis=0)
            ratio = np.median(values[:, 4] / values[:, 3])
            print(
                f"| {size} px webp | {count:.0f} | {' | '.join(f'{f:.0f}' for f in figures)} | {ratio:.2f} | <= 1.5 x |"
            )


if __name__ == "__main__":
    main()
