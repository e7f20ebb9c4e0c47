"""Export of a whole scene against the work that nobody can avoid, in one run on one machine.

    python -m benchmarks.export [--sizes 2048 4096] [--provenance]

The work that nobody can avoid: bare inference of every model window of both dates, on as many threads as there are
cores; a plain read of both rasters; writing the target by GDAL as a COG like the export's. Ours is the real command as
a process of its own, start-up included; its memory is the kernel's peak of resident memory (VmHWM) of that process.
"""

from __future__ import annotations

import argparse
import contextlib
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
import rasterio.shutil
from rasterio.windows import Window

from algorithms.models import INPUT_CELLS, MODELS
from algorithms.sessions import SESSIONS
from algorithms.windows import window_count
from benchmarks.machine import machine
from server.demo import write_demo
from server.export.cog import compression_of
from server.raster.grid import fine_grid
from server.raster.sources import Sources
from server.settings import Settings
from server.work.cores import usable_cores

MODEL = MODELS["ukis-6b-l1c"]
COG_OPTIONS = {
    "driver": "COG",
    "blocksize": 512,
    "predictor": "yes",
    "overviews": "ignore_existing",
    "overview_resampling": "average",
}
"""What GDAL writes a raster like the export's with."""
ROWS = 512
"""Rows of a plain read, those of a piece."""


def seconds(call: Callable[[], object]) -> float:
    """Wall time of a call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def infer(count: int, cores: int) -> None:
    """Bare inference of so many windows."""
    window = np.random.default_rng(0).random((6, INPUT_CELLS, INPUT_CELLS), np.float32) * 0.3
    with ThreadPoolExecutor(cores) as pool:
        list(pool.map(lambda _: SESSIONS.probabilities(MODEL, window), range(count)))


def read(paths: list[Path], cores: int) -> None:
    """Read rasters strip by strip."""

    def strip(path: Path, top: int) -> None:
        with rasterio.open(path) as src:
            src.read(window=Window(0, top, src.width, min(ROWS, src.height - top)))

    with rasterio.open(paths[0]) as src:
        tops = range(0, src.height, ROWS)
    with ThreadPoolExecutor(cores) as pool:
        list(pool.map(lambda job: strip(*job), [(path, top) for path in paths for top in tops]))


@dataclass(frozen=True)
class Run:
    """The real command."""

    wall: float
    """Seconds."""
    cpu: float
    """Seconds of processor time, of all threads and processes."""
    peak: float
    """MB of resident memory, at most."""


def peak_memory(process: subprocess.Popen[bytes]) -> float:
    """Follow a process to its end; its peak in MB.

    Not `ru_maxrss`: after a vfork that begins with the peak of the process that started it.
    """
    peak = 0.0
    while process.poll() is None:
        with contextlib.suppress(OSError, StopIteration):  # it may end under our eyes
            lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
            peak = int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024
        time.sleep(0.02)
    return peak


def ours(target: Path, other: Path, out: Path, *more: str) -> Run:
    """Run the export."""
    command = [sys.executable, "-c", "from server.cli import main; main()", "export", str(target), str(out)]
    start = time.perf_counter()
    process = subprocess.Popen([*command, "--replacement", str(other), *more], stdout=subprocess.DEVNULL)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    peak = peak_memory(process)
    wall, usage = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    assert process.returncode == 0, "the export failed"
    cpu = usage.ru_utime + usage.ru_stime - before.ru_utime - before.ru_stime
    return Run(wall, cpu, peak)


def row(size: int, cores: int, *, provenance: bool) -> str:
    """A row of the table."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scene = write_demo(folder, size=size)
        sources = Sources.of(Settings())
        cloudy = sources.dataset(str(scene.cloudy))
        grid = fine_grid(cloudy)
        count = 2 * window_count(grid.rows) * window_count(grid.cols)
        bare = seconds(lambda: infer(count, cores))
        plain = seconds(lambda: read([scene.cloudy, scene.clear], cores))
        copy = folder / "copy.tif"
        options = COG_OPTIONS | {"compress": compression_of(sources, cloudy), "num_threads": cores}
        write = seconds(lambda: rasterio.shutil.copy(scene.cloudy, copy, **options))
        more = ["--provenance", str(folder / "provenance.tif")] if provenance else []
        run = ours(scene.cloudy, scene.clear, folder / "out.tif", *more)
    total = bare + plain + write
    figures = " | ".join(f"{f:.1f}" for f in (bare, plain, write, total, run.wall))
    return f"| {size} | {count} | {figures} | {run.wall / total:.2f} | 1.5 | {run.cpu:.1f} | {run.peak:.0f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[2048, 4096])
    parser.add_argument("--provenance", action="store_true")
    args = parser.parse_args()
    print(f"{machine()}\n\nDemo scenes, 6 bands; times in seconds, memory in MB.\n")
    print(
        "| size | inferences | bare inferences | plain reads | COG write | sum | export | ratio | goal | CPU ", end=""
    )
    print("| peak MB |")
    print("| --- " * 11 + "|")
    SESSIONS.load(MODEL)
    for size in args.sizes:
        print(row(size, usable_cores(), provenance=args.provenance), flush=True)


if __name__ == "__main__":
    main()
