"""Servers and scenes for `benchmarks.scene`: a full-size pair of rasters, and applications that tell their counters."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import rasterio
import rasterio.shutil
from fastapi import FastAPI
from rasterio.windows import Window

from benchmarks.service import free_port
from server import __version__ as _  # noqa: F401  (GDAL's options, before the rival's first dataset too)
from server.demo import write_demo

STRIP = 512


def mirrored(source: Path, path: Path, size: int) -> None:
    """Write a COG of `size` pixels a side that repeats a smaller raster, every other copy mirrored."""
    raw = path.with_suffix(".raw.tif")
    with rasterio.open(source) as src:
        data, profile = src.read(), src.profile
        descriptions, tags = src.descriptions, src.tags()
    period = data.shape[1]
    fold = np.arange(size) % (2 * period)
    fold = np.where(fold < period, fold, 2 * period - 1 - fold)
    profile |= {"driver": "GTiff", "width": size, "height": size, "tiled": True, "blockxsize": 512, "blockysize": 512}
    profile |= {"compress": "deflate", "predictor": 2, "zlevel": 1, "bigtiff": "yes", "interleave": "pixel"}
    with rasterio.open(raw, "w", num_threads="all_cpus", **profile) as dst:
        for top in range(0, size, STRIP):
            rows = fold[top : top + STRIP]
            dst.write(data[:, rows][:, :, fold], window=Window(0, top, size, len(rows)))
        for index, text in enumerate(descriptions, start=1):
            dst.set_band_description(index, text)
        dst.update_tags(**{k: v for k, v in tags.items() if k not in ("AREA_OR_POINT", "OVR_RESAMPLING_ALG")})
    options = {"COMPRESS": "DEFLATE", "PREDICTOR": "YES", "LEVEL": "1", "BLOCKSIZE": "512", "NUM_THREADS": "ALL_CPUS"}
    rasterio.shutil.copy(raw, path, driver="COG", BIGTIFF="IF_SAFER", OVERVIEW_RESAMPLING="AVERAGE", **options)
    raw.unlink()


def scene_pair(folder: Path, size: int) -> tuple[Path, Path]:
    """The cloudy and the clear date of a scene of `size` pixels a side; built once per folder."""
    pair = folder / f"cloudy_{size}.tif", folder / f"clear_{size}.tif"
    if not all(path.exists() for path in pair):
        folder.mkdir(parents=True, exist_ok=True)
        demo = write_demo(folder / "demo", size=2048)
        for source, path in zip((demo.cloudy, demo.clear), pair, strict=True):
            part = path.with_suffix(".part.tif")
            mirrored(Path(source), part, size)
            part.rename(path)
    return pair


def _with_counters(app: FastAPI) -> FastAPI:
    @app.get("/counters")
    async def counters() -> dict[str, int]:
        from algorithms.sessions import SESSIONS  # noqa: PLC0415

        io = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
        status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        return {
            "inferences": SESSIONS.inferences(),
            "bytes": int(io["rchar"]),
            "resident": int(status["VmRSS"].split()[0]) * 1024,
            "peak": int(status["VmHWM"].split()[0]) * 1024,
        }

    return app


def ours() -> FastAPI:
    """ClearSky."""
    from server.app import create_app  # noqa: PLC0415

    return _with_counters(create_app())


def plain() -> FastAPI:
    """Stock TiTiler."""
    from titiler.core.errors import DEFAULT_STATUS_CODES, add_exception_handlers  # noqa: PLC0415
    from titiler.core.factory import TilerFactory  # noqa: PLC0415

    app = FastAPI()
    app.include_router(TilerFactory(router_prefix="/cog").router, prefix="/cog")
    add_exception_handlers(app, DEFAULT_STATUS_CODES)
    return _with_counters(app)


@dataclass(frozen=True)
class Server:
    """A running server."""

    base: str
    start_s: float
    """Seconds from the start of the process to the first answer of its first route."""

    def counters(self) -> dict[str, int]:
        answer: dict[str, int] = httpx2.get(self.base + "/counters", timeout=30).json()
        return answer


@contextmanager
def serving(factory: str, folder: Path, **settings: str) -> Iterator[Server]:
    """A server process of its own, without kept answers or work ahead, which would take the rival's cores."""
    port = free_port()
    chosen = {"CLEARSKY_ALLOWED_SOURCES": str(folder)}
    chosen |= {"CLEARSKY_PREFETCH": "false", "CLEARSKY_ANSWER_CACHE_BYTES": "0"}
    env = os.environ | chosen | settings
    code = f"import uvicorn; uvicorn.run('benchmarks.scale:{factory}', factory=True, port={port}, log_level='error')"
    begun = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-c", code], env=env)
    base = f"http://127.0.0.1:{port}"
    try:
        while True:
            try:
                urllib.request.urlopen(base + "/counters", timeout=1).close()
                break
            except OSError:
                assert process.poll() is None, "the server ended at start"
                time.sleep(0.02)
        yield Server(base, time.perf_counter() - begun)
    finally:
        process.terminate()
        process.wait(timeout=30)


def percentiles(seconds: list[float]) -> str:
    """Median and 95th percentile in milliseconds."""
    return f"{1000 * float(np.median(seconds)):.0f} | {1000 * float(np.percentile(seconds, 95)):.0f}"


def fetch(client: httpx2.Client, url: str, params: Any) -> float:
    """Seconds one request takes."""
    begun = time.perf_counter()
    answer = client.get(url, params=params)
    spent = time.perf_counter() - begun
    assert answer.status_code == 200, answer.text[:500]
    return spent
