"""Where the models run: how far a provider agrees with another, and its CPU seconds per window.

    python -m benchmarks.providers cpu --save cpu.npy
    python -m benchmarks.providers openvino --compare cpu.npy     # where that build of onnxruntime is installed
    python -m benchmarks.providers cuda --batch 8                 # what a provider gains from windows in batches

Windows are the corners of the real rasters in `CLEARSKY_TEST_DATA`, by default `../shared/data`.
"""

from __future__ import annotations

import argparse
import time
from importlib.resources import as_file
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime
import rasterio

from algorithms.bands import role_indexes
from algorithms.errors import ClearSkyError
from algorithms.models import INPUT_CELLS, MODELS
from algorithms.providers import Runtime
from algorithms.sessions import Sessions
from benchmarks.cases import data_folder

MODEL = MODELS["ukis-6b-l1c"]
MOST_WINDOWS = 16


def real_windows() -> list[npt.NDArray[np.float32]]:
    """(6, 256, 256) reflectances of the first rasters that are large enough and have the bands."""
    windows: list[npt.NDArray[np.float32]] = []
    if (folder := data_folder()) is None:
        raise SystemExit("the real rasters are not there: set CLEARSKY_TEST_DATA to their folder")
    for path in sorted(folder.glob("s2_*.tif")):
        with rasterio.open(path) as src:
            try:
                indexes = [index + 1 for index in role_indexes(src.descriptions, MODEL.bands)]
            except ClearSkyError:
                continue
            if min(src.shape) >= INPUT_CELLS and len(windows) < MOST_WINDOWS:
                values = src.read(indexes)[:, :INPUT_CELLS, :INPUT_CELLS].astype(np.float32)
                windows.append(np.clip(np.nan_to_num(values) * np.float32(1e-4), 0, 1))
    return windows


def print_batches(sessions: Sessions, windows: list[npt.NDArray[np.float32]], size: int) -> None:
    """Seconds per window of the bare network, in batches and one by one, in turns."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    assert MODEL.network is not None
    name = f"{sessions.provider.upper()}ExecutionProvider".replace("OPENVINO", "OpenVINO")
    settings = {"device_type": "CPU", "precision": "FP32", "num_of_threads": "1"} if "OpenVINO" in name else {}
    with as_file(MODEL.place(MODEL.network)) as path:
        network = onnxruntime.InferenceSession(str(path), options, [(name, settings)])
    given = network.get_inputs()[0].name
    batch = np.stack([windows[k % len(windows)] for k in range(size)])
    spent: dict[str, list[tuple[float, float]]] = {"one by one": [], f"batches of {size}": []}
    for _ in range(4):
        for (_, times), parts in zip(spent.items(), ([batch[k : k + 1] for k in range(size)], [batch]), strict=True):
            start, cpu = time.perf_counter(), time.process_time()
            for part in parts:
                network.run(None, {given: part})
            times.append(((time.perf_counter() - start) / size, (time.process_time() - cpu) / size))
    for how, times in spent.items():
        seconds, cpu = np.median(times[1:], axis=0)  # the first one makes room
        print(f"{how}: {seconds:.3f} s per window, {cpu:.3f} CPU-s")


def main() -> None:
    """Run the model on a provider, one window after the other on one thread."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("provider")
    parser.add_argument("--save", type=Path, help="keep the probabilities in this file")
    parser.add_argument("--compare", type=Path, help="compare with the probabilities in this file")
    parser.add_argument("--batch", type=int, default=1, help="windows in one run of the network")
    given = parser.parse_args()
    sessions = Sessions(Runtime(providers=(given.provider,), threads=1, concurrency=1))
    windows = real_windows()
    sessions.probabilities(MODEL, windows[0])
    seconds, results = [], []
    for window in windows:
        start = time.process_time()
        results.append(sessions.probabilities(MODEL, window))
        seconds.append(time.process_time() - start)
    found = np.stack(results)
    print(f"onnxruntime {onnxruntime.__version__}, runs on {sessions.provider}; {len(windows)} windows")
    print(f"CPU seconds per window: median {np.median(seconds):.3f}, least {min(seconds):.3f}")
    if given.batch > 1:
        print_batches(sessions, windows, given.batch)
    if given.save is not None:
        np.save(given.save, found)
    if given.compare is not None:
        other = np.load(given.compare)
        changed = float((found.argmax(axis=1) != other.argmax(axis=1)).mean())
        print(f"class changes per million pixels: {1e6 * changed:.1f} of {other.argmax(axis=1).size} pixels")
        print(f"probabilities within {np.abs(found - other).max():.5f}")


if __name__ == "__main__":
    main()
