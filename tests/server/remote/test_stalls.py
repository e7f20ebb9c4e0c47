"""A server that stalls harms those who ask for its files, and nobody else."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.helpers.rangeserver import RangeServer, range_server
from tests.helpers.scenes import make_pair, write_raster
from tests.helpers.service import server_process

TIMEOUT = 4.0
"""Seconds for a server that stalls."""
MANY = 60
"""Requests for its files at once: more than there are threads for any."""
SIZE = (512, 512)
BOX = "/cog/bbox/500000,4594880,505120,4600000/256x256.png"
PLAIN = {"coord_crs": "EPSG:32633", "dst_crs": "EPSG:32633", "bidx": [1, 2, 3], "rescale": "0,9000"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stalls")
    pair = make_pair(size=SIZE)
    for name, data in (("target", pair.target), ("replacement", pair.replacement)):
        write_raster(folder / f"{name}.tif", data)
    (folder / "sub").mkdir()
    for k in range(MANY):
        (folder / "sub" / f"target{k}.tif").write_bytes((folder / "target.tif").read_bytes())
    return folder


@pytest.fixture(scope="module")
def slow(folder: Path) -> Iterator[RangeServer]:
    with range_server(folder) as slow:
        yield slow


@pytest.fixture(scope="module")
def good(folder: Path) -> Iterator[RangeServer]:
    with range_server(folder) as good:
        yield good


@pytest.fixture(scope="module")
def base(folder: Path, slow: RangeServer, good: RangeServer) -> Iterator[str]:
    with server_process(
        f"{folder},{slow.base},{good.base}", source_timeout=str(TIMEOUT), source_check="0.1", request_threads="16"
    ) as base:
        yield base


def pair(where: str, target: str = "target.tif", **more: Any) -> dict[str, Any]:
    """Parameters of a filled picture that no cache knows."""
    buffer = next(_buffers)
    return {
        **PLAIN,
        "url": where + target,
        "replacement": f"{where}replacement.tif",
        "algorithm_params": f'{{"buffer": {buffer[0]}, "window": {buffer[1]}}}',
        **more,
    }


_buffers = ((buffer, window) for window in range(20, 401, 20) for buffer in range(16))


def timed(base: str, params: dict[str, Any]) -> tuple[float, int]:
    begun = time.monotonic()
    status = httpx2.get(base + BOX, params=params, timeout=60).status_code
    return time.monotonic() - begun, status


def opening(path: str, start: int) -> str | None:
    return "stall"


def reading(path: str, start: int) -> str | None:
    return "stall" if start else None


@pytest.mark.parametrize("same", [True, False], ids=["one-file", "many-files"])
@pytest.mark.parametrize("when", [opening, reading])
def test_a_stalled_server_harms_only_itself(
    base: str, folder: Path, slow: RangeServer, good: RangeServer, when: Callable[[str, int], Any], same: bool
) -> None:
    local, other = f"{folder}/", good.base
    timed(base, pair(local))
    alone = max(timed(base, pair(local))[0] for _ in range(3))
    alone_remote = max(timed(base, pair(other))[0] for _ in range(3))
    slow.trouble = when
    ended: list[tuple[float, int]] = []
    stop = threading.Event()

    def keep_asking(k: int) -> None:
        while not stop.is_set():
            ended.append(timed(base, pair(slow.base, "target.tif" if same else f"sub/target{k}.tif")))
            time.sleep(0.1)

    with ThreadPoolExecutor(MANY) as pool:
        for k in range(MANY):
            pool.submit(keep_asking, k)
        time.sleep(1.5)
        seen, seen_remote = list[Any](), []
        while len(seen) < 5:
            seen.append(timed(base, pair(local)))
            seen_remote.append(timed(base, pair(other)))
        stop.set()
    slow.trouble = None
    slow.released.set()
    slow.released = threading.Event()
    assert {status for _, status in seen + seen_remote} == {200}
    # Sixty clients cost a machine of two cores something, too; a stall would cost seconds.
    assert sorted(seconds for seconds, _ in seen)[2] < alone + 1.0, (seen, alone)
    assert sorted(seconds for seconds, _ in seen_remote)[2] < alone_remote + 1.5, (seen_remote, alone_remote)
    assert {status for _, status in ended} <= {503, 504}
    quick = [seconds for seconds, status in ended if status == 503]
    assert quick
    time.sleep(0.5)
    assert timed(base, pair(slow.base))[1] == 200
