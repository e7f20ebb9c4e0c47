"""Stepwise SLRA against its definition: how much faster, and is it the same?

Prints a table in Markdown. The direct implementation below visits every pixel of every window in two passes (means,
then standard deviations), compiled by numba, one thread, float64. Ours is timed twice, with the loop over the rings in
numpy (what an installation without numba takes) and compiled, one thread each. All get the same made-up images;
compilation is not timed. Needs the extra ``bench``.

    python benchmarks/slra.py
    python benchmarks/slra.py --scale 32 --windows 80 --runs 5
"""

import argparse
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any, get_args
from unittest import mock

# One thread on both sides, whatever libraries would take; before numpy is loaded.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[_name] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numba  # noqa: E402
import numpy as np  # noqa: E402
from numpy.typing import NDArray  # noqa: E402
from scipy import ndimage  # noqa: E402

from algorithms.stepwise import Statistics, stepwise_adjustment  # noqa: E402


@numba.njit(cache=False)
def direct(t, r, known, pool, rings, window, shared):  # type: ignore[no-untyped-def]  # noqa: PLR0912
    """Fill `t` in place; `known` grows. `shared`: r over the same pixels as t, else over `pool`."""
    bands, height, width = t.shape
    for ring in range(1, rings.max() + 1):
        for y in range(height):
            for x in range(width):
                if rings[y, x] != ring:
                    continue
                y0, y1 = max(y - window, 0), min(y + window + 1, height)
                x0, x1 = max(x - window, 0), min(x + window + 1, width)
                for b in range(bands):
                    n_t, n_r, sum_t, sum_r = 0, 0, 0.0, 0.0
                    for v in range(y0, y1):
                        for u in range(x0, x1):
                            if known[v, u]:
                                n_t += 1
                                sum_t += t[b, v, u]
                                if shared:
                                    sum_r += r[b, v, u]
                            if not shared and pool[v, u]:
                                n_r += 1
                                sum_r += r[b, v, u]
                    if shared:
                        n_r = n_t
                    mean_t, mean_r, square_t, square_r = sum_t / n_t, sum_r / n_r, 0.0, 0.0
                    for v in range(y0, y1):
                        for u in range(x0, x1):
                            if known[v, u]:
                                square_t += (t[b, v, u] - mean_t) ** 2
                                if shared:
                                    square_r += (r[b, v, u] - mean_r) ** 2
                            if not shared and pool[v, u]:
                                square_r += (r[b, v, u] - mean_r) ** 2
                    gain = np.sqrt(square_t / n_t) / np.sqrt(square_r / n_r) if square_r > 0 else 1.0
                    # The ring itself is not known yet, so that writing here changes no window of the ring.
                    t[b, y, x] = gain * (r[b, y, x] - mean_r) + mean_t
        for y in range(height):
            for x in range(width):
                if rings[y, x] == ring:
                    known[y, x] = True


def scene(
    size: int, bands: int, share: float, scale: float, seed: int
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Two dates as uint16 and a cloud mask: smoothed noise, cut where the wanted share lies above."""
    rng = np.random.default_rng(seed)
    ground = ndimage.gaussian_filter(rng.standard_normal((bands, size, size)), (0, 3, 3))
    ground /= ground.std()
    r = (2000 + 400 * ground + rng.normal(0, 30, ground.shape)).clip(1, 65535).astype(np.uint16)
    t = (1.2 * r + 100 + rng.normal(0, 40, ground.shape)).clip(1, 65535).astype(np.uint16)
    noise = ndimage.gaussian_filter(rng.standard_normal((size, size)), scale)
    return t, r, noise > np.quantile(noise, 1 - share)


def run_direct(t: NDArray[Any], r: NDArray[Any], mask: NDArray[Any], window: int, variant: str) -> NDArray[Any]:
    rings = (ndimage.distance_transform_cdt(mask, metric="chessboard") + 1) // 2
    out = t.astype(np.float64)
    direct(out, r.astype(np.float64), ~mask, mask, rings, window, variant == "colocated")
    return out.astype(np.float32)


def run_ours(
    t: NDArray[Any], r: NDArray[Any], mask: NDArray[Any], window: int, variant: Statistics, compiled: bool
) -> NDArray[Any]:
    without = nullcontext() if compiled else mock.patch("algorithms.rings.find_spec", return_value=None)
    with without:
        return stepwise_adjustment(t, r, mask, window=window, buffer=0, statistics=variant)


def timed(runs: int, call: Callable[[], NDArray[Any]]) -> tuple[float, NDArray[Any]]:
    """Median CPU seconds (both sides take one thread; a busy machine disturbs them less) and the last result."""
    seconds = []
    for _ in range(runs):
        start = time.process_time()
        result = call()
        seconds.append(time.process_time() - start)
    return statistics.median(seconds), result


def machine() -> str:
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        model = names[0] if names else model
    return (
        f"{model}, {os.cpu_count()} cores (one thread used), Python {platform.python_version()}, "
        f"numpy {np.__version__}, numba {numba.__version__}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=512, help="rows and columns (default 512)")
    parser.add_argument("--bands", type=int, default=4)
    parser.add_argument("--share", type=float, default=0.4, help="share of the image under cloud (default 0.4)")
    parser.add_argument("--scale", type=float, default=16, help="sigma of the clouds' noise in pixels (default 16)")
    parser.add_argument("--windows", type=int, nargs="+", default=[20, 40, 80])
    parser.add_argument("--runs", type=int, default=9, help="runs of ours (default 9)")
    parser.add_argument("--direct-runs", type=int, default=3, help="runs of the direct implementation (default 3)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    t, r, mask = scene(args.size, args.bands, args.share, args.scale, args.seed)
    rings = (ndimage.distance_transform_cdt(mask, metric="chessboard") + 1) // 2
    for variant in get_args(Statistics):  # compiles
        run_direct(t[:, :8, :8], r[:, :8, :8], np.eye(8, dtype=bool), 2, variant)
        run_ours(t[:, :8, :8], r[:, :8, :8], np.eye(8, dtype=bool), 20, variant, True)
    print(f"{args.size} x {args.size} x {args.bands} uint16, {mask.mean():.0%} cloud in {rings.max()} rings, buffer 0.")
    print(f"CPU time, medians of {args.runs} runs (direct: {args.direct_runs}). {machine()}.\n")
    print("| statistics | window | direct | ours, numpy | ratio | ours, compiled | ratio | max difference |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for variant in get_args(Statistics):
        for window in args.windows:
            ours, a = timed(args.runs, partial(run_ours, t, r, mask, window, variant, False))
            fast, c = timed(args.runs, partial(run_ours, t, r, mask, window, variant, True))
            theirs, b = timed(args.direct_runs, partial(run_direct, t, r, mask, window, variant))
            difference = max(np.abs(own.astype(np.float64) - b).max() for own in (a, c))
            times = f"{theirs:.2f} s | {1000 * ours:.0f} ms | {theirs / ours:.0f} x"
            times += f" | {1000 * fast:.0f} ms | {theirs / fast:.0f} x"
            print(f"| {variant} | {window} | {times} | {difference:.1g} |", flush=True)


if __name__ == "__main__":
    main()
