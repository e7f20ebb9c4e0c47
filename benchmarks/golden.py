"""Proof that a change leaves the behaviour as it is, bit for bit: for refactorings.

    python -m benchmarks.golden --save before.json        # on the code before
    python -m benchmarks.golden --compare before.json     # on the code after; exit status 1 if anything differs
    python -m benchmarks.golden --compare other.json --tolerance 0.5    # a file from another machine

Requests to a server process, commands of `clearsky`, and direct calls of `algorithms`, over a generated scene and,
where they are at hand, real pairs (`CLEARSKY_TEST_DATA`, else `../shared/data`). Kept are statuses, SHA-256 of decoded
pixels and of texts, the headers that state cloud and fill, and means per band. Only what is public is used, so that the
same script runs on code of another layout; neither the checkout's place nor the port enters a hash.

Processors differ in the last bit of an inference: hashes compare on one machine with one set of libraries only. With
`--tolerance`, statuses and means are compared instead.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import tomllib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from socket import socket
from typing import Any
from urllib.parse import quote

import httpx2
import numpy as np
import numpy.typing as npt
import rasterio
from morecantile.errors import PointOutsideTMSBounds
from rasterio.errors import NotGeoreferencedWarning

from benchmarks.golden_calls import ROOT, calls, commands, prepare, prepare_real
from benchmarks.golden_cases import Request, demo_requests, document_requests, real_requests
from benchmarks.golden_scenes import prepare_scenes, scene_requests
from benchmarks.machine import machine

Result = dict[str, Any]

SHOWN = 1500
"""Texts up to this length are kept as they are, so that a difference can be read."""


def clearsky(folder: Path, *args: str) -> tuple[list[str], dict[str, Any]]:
    """The command line of this checkout's `clearsky`, and the environment it runs in: only our own settings."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    module, function = project["scripts"]["clearsky"].split(":")
    env = {name: value for name, value in os.environ.items() if not name.startswith("CLEARSKY_")}
    env |= {"CLEARSKY_ALLOWED_SOURCES": str(folder), "CLEARSKY_RECIPES": str(folder / "demo" / "recipes")}
    # The seed: rio-tiler takes an expression's bands from a set, and names them in that order.
    env |= {"CLEARSKY_PREFETCH": "false", "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "0"}
    code = f"from {module} import {function}; {function}()"
    return [sys.executable, "-c", code, *args], {"env": env, "cwd": folder}


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """A server process on a free loopback port; gives its address."""
    with socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command, how = clearsky(folder, "serve", "--port", str(port))
    log = folder / "server.log"
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, **how)
    base = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            try:
                httpx2.get(base + "/healthz", timeout=1)
                break
            except httpx2.TransportError:
                assert process.poll() is None, log.read_text()
                time.sleep(0.1)
        yield base
    finally:
        process.terminate()
        process.wait(timeout=30)


def mean_of(values: npt.NDArray[Any]) -> float | None:
    """Mean; None where there is none. The alpha band of floating-point images overflows."""
    with np.errstate(over="ignore"):
        mean = float(values.mean(dtype=np.float64)) if values.size else np.inf
    return round(mean, 6) if np.isfinite(mean) else None


def of_array(array: npt.NDArray[Any], valid: npt.NDArray[np.bool_] | None = None) -> Result:
    """Hash and means of (bands, rows, columns) or (rows, columns)."""
    array = np.ascontiguousarray(array)
    digest = hashlib.sha256(f"{array.dtype.str} {array.shape}".encode() + array.tobytes())
    shown = np.isfinite(array) & (True if valid is None else valid)
    digest.update(b"" if valid is None else np.packbits(valid).tobytes())
    bands = zip(np.atleast_3d(array.T).T, np.atleast_3d(shown.T).T, strict=True)
    means = [mean_of(band[seen]) for band, seen in bands]
    return {"shape": f"{array.dtype} {array.shape}", "pixels": digest.hexdigest(), "means": means}


def of_raster(source: Any) -> Result:
    """Hash and means of a raster, its grid, and what it says of itself."""
    with rasterio.open(source) as src:
        result = of_array(src.read(), src.dataset_mask() > 0)
        tags = {key: value for key, value in src.tags().items() if key != "CLEARSKY_VERSION"}
        told = {"crs": str(src.crs), "transform": list(src.transform)[:6], "nodata": str(src.nodata), "tags": tags}
        told |= {"bands": src.descriptions, "scales": src.scales, "offsets": src.offsets, "blocks": src.block_shapes}
        told |= {"overviews": src.overviews(1), "colours": [colour.name for colour in src.colorinterp]}
    return result | {"description": json.dumps(told, sort_keys=True)}


def of_text(text: str, folder: Path, base: str = "http://none") -> Result:
    """A text, if long its hash, without the places of this run; JSON in canonical form, and its means."""
    result: Result = {}
    for place, name in ((base, "BASE"), (str(folder), "DIR")):
        text = text.replace(place, name).replace(quote(place, safe=""), name)
    text = re.sub(r"; \d+\.\d s\n", "; SECONDS\n", text)  # what an export took
    with suppress(ValueError):
        document = json.loads(text)
        if isinstance(document, dict) and "openapi" in document:  # routes and their parameters, without the version
            document = document["paths"]
        text = json.dumps(document, sort_keys=True)
        result["means"] = means_in(document)
    return result | ({"text": text} if len(text) <= SHOWN else {"sha256": hashlib.sha256(text.encode()).hexdigest()})


def means_in(document: Any) -> list[float | None]:
    """Values of points and means of statistics in an answer."""
    if isinstance(document, dict):
        own = document.get("values", [document["mean"]] if "mean" in document else [])
        if isinstance(own, list) and own and all(isinstance(value, int | float) or value is None for value in own):
            return own
        return [mean for key in sorted(document) for mean in means_in(document[key])]
    return []


def ask(client: httpx2.Client, request: Request, folder: Path) -> Result:
    """Send a request, and say what came."""
    method = "GET" if request.body is None else "POST"
    answer = client.request(method, request.path, params=request.params, json=request.body)
    kind = answer.headers.get("content-type", "").split(";")[0]
    told = {name: value for name, value in answer.headers.items() if name.startswith(("x-clearsky", "cache-control"))}
    told |= {"content-type": kind}
    result: Result = {"status": answer.status_code, "headers": json.dumps(told, sort_keys=True)}
    if "etag" in answer.headers and method == "GET":
        again = client.get(request.path, params=request.params, headers={"If-None-Match": answer.headers["etag"]})
        result["again"] = again.status_code
    if request.path.endswith(".npy") and answer.status_code == 200:
        return result | of_array(np.load(io.BytesIO(answer.content)))
    if kind.startswith("image/"):
        return result | of_raster(io.BytesIO(answer.content))
    return result | of_text(answer.text, folder, str(client.base_url).rstrip("/"))


def collect(folder: Path) -> dict[str, Result]:
    """Run everything in an empty folder."""
    demo, real, out = folder / "demo", folder / "real", folder / "out"
    results: dict[str, Result] = {}

    def run(name: str, args: list[str], outputs: list[Path]) -> None:
        command, how = clearsky(folder, *args)
        done = subprocess.run(command, capture_output=True, text=True, check=False, **how)
        for label, text in (("stdout", done.stdout), ("stderr", done.stderr)):
            results[f"$ {name}: {label}"] = {"status": done.returncode} | of_text(text, folder)
        for path in outputs:
            found = of_raster(path) if path.is_file() else {"pixels": "no such file"}
            results[f"$ {name}: {path.name}"] = {"status": done.returncode} | found

    scene = [demo / f"{name}.tif" for name in ("cloudy", "clear", "truth", "truth_mask")]
    run("demo", ["demo", str(demo), "--size", "1024"], scene)
    prepare(demo)
    prepare_scenes(demo)
    prepare_real(real)
    out.mkdir()
    with serving(folder) as base, httpx2.Client(base_url=base, timeout=120) as client:
        made = (demo_requests(demo), scene_requests(demo), document_requests(demo), real_requests(real))
        for request in chain.from_iterable(made):
            assert request.name not in results, request.name
            results[request.name] = ask(client, request, folder)
    for command in commands(demo, real, out):
        run(command.name, command.args, command.outputs)
    for name, call in calls(demo).items():
        results[f"algorithms: {name}"] = of_array(call())
    return results


def near(one: Any, other: Any, tolerance: float) -> bool:
    """Whether two lists of means agree."""
    one, other = one or [], other or []
    close = (a == b or (None not in (a, b) and abs(a - b) <= tolerance) for a, b in zip(one, other, strict=False))
    return len(one) == len(other) and all(close)


def change(one: Any, other: Any) -> str:
    """Two values on one line; of long ones the part from where they differ."""
    one, other = str(one), str(other)
    same = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    start = max(0, same - 20)
    return f"{one[start : start + 80]!r} -> {other[start : start + 80]!r}"


def differences(before: dict[str, Result], after: dict[str, Result], tolerance: float | None) -> list[str]:
    """One line for each result that is not the same."""
    lines = []
    for name in [*before, *(name for name in after if name not in before)]:
        one, other = before.get(name), after.get(name)
        if one is None or other is None:
            lines.append(f"{name}: only {'after' if one is None else 'before'}")
            continue
        if tolerance is None:
            keys = [key for key in one | other if one.get(key) != other.get(key)]
        else:
            keys = [] if one.get("status") == other.get("status") else ["status"]
            keys += [] if near(one.get("means"), other.get("means"), tolerance) else ["means"]
        if keys:
            lines.append(f"{name}: " + "; ".join(f"{key} {change(one.get(key), other.get(key))}" for key in keys))
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--save", type=Path, metavar="FILE", help="write the results")
    what.add_argument("--compare", type=Path, metavar="FILE", help="compare with results written before")
    parser.add_argument("--tolerance", type=float, help="compare statuses and means, which may differ by this much")
    args = parser.parse_args()
    for noise in (NotGeoreferencedWarning, PointOutsideTMSBounds):
        warnings.simplefilter("ignore", noise)
    kept = json.loads(args.compare.read_text()) if args.compare else {}
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as name:
        results = collect(Path(name).resolve())
    spent = time.perf_counter() - begun
    if args.save:
        args.save.write_text(json.dumps({"machine": machine(), "results": results}, indent=1) + "\n")
        print(f"{len(results)} results in {spent:.0f} s, written to {args.save}.")
        return
    lines = differences(kept["results"], results, args.tolerance)
    for line in lines:
        print(line)
    rule = "bit for bit" if args.tolerance is None else f"within {args.tolerance:g}"
    print(f"{len(results)} results in {spent:.0f} s: {len(lines) or 'none'} differ, compared {rule}.")
    sys.exit(1 if lines else 0)


if __name__ == "__main__":
    main()
