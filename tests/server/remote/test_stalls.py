"""A server that stalls harms those who ask for its files, and nobody else."""

from __future__ import annotations

import itertools
import statistics
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


def opening(path: str, start: int) -> str | None:
    return "stall"


def reading(path: str, start: int) -> str | None:
    return "stall" if start else None


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stalls")
    pair = make_pair(size=SIZE)
    for name, data in (("target", pair.target), ("replacement", pair.replacement)):
        write_raster(folder / f"{name}.tif", data)
    (folder / "sub").mkdir()
    for when in (opening, reading):  # not in any cache before
        (folder / f"{when.__name__}.tif").write_bytes((folder / "target.tif").read_bytes())
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


def pair(where: str, target: str = "target.tif", options: str = "{}") -> dict[str, Any]:
    """Parameters of a filled picture."""
    urls = {"url": where + target, "replacement": f"{where}replacement.tif"}
    return PLAIN | urls | {"algorithm_params": options}


def fresh(where: str) -> dict[str, Any]:
    """Parameters of one that no cache knows."""
    return pair(where, options=f'{{"buffer": {next(_buffers) % 16}, "window": {20 + 20 * (next(_buffers) // 2 % 20)}}}')


_buffers = itertools.count()


def timed(base: str, params: dict[str, Any]) -> tuple[float, int]:
    begun = time.monotonic()
    status = httpx2.get(base + BOX, params=params, timeout=60).status_code
    return time.monotonic() - begun, status


def measured(
    base: str, wheres: tuple[str, str], crowd: Callable[[int], dict[str, Any]]
) -> tuple[list[float], set[int]]:
    """Median seconds of fresh pictures from two places while a crowd asks for others, and what the crowd got."""
    ended: list[int] = []
    stop = threading.Event()

    def keep_asking(k: int) -> None:
        while not stop.is_set():
            ended.append(timed(base, crowd(k))[1])
            stop.wait(1.5)

    with ThreadPoolExecutor(MANY) as pool:
        for k in range(MANY):
            pool.submit(keep_asking, k)
        time.sleep(1.5)
        rounds = [[timed(base, fresh(where)) for where in wheres] for _ in range(3)]
        stop.set()
    assert {status for measured in rounds for _, status in measured} == {200}
    return [statistics.median(seconds for seconds, _ in column) for column in zip(*rounds, strict=True)], set(ended)


@pytest.fixture(scope="module")
def busy(base: str, folder: Path, good: RangeServer) -> list[float]:
    """Median seconds while the same crowd asks, of which each is refused at once: it takes the processor, too."""
    wheres = (f"{folder}/", good.base)
    for where in wheres:
        timed(base, fresh(where))
    return measured(base, wheres, lambda k: pair(good.base, f"none{k}.tif"))[0]


@pytest.mark.parametrize("same", [True, False], ids=["one-file", "many-files"])
@pytest.mark.parametrize("when", [opening, reading])
def test_a_stalled_server_harms_only_itself(
    base: str,
    folder: Path,
    slow: RangeServer,
    good: RangeServer,
    busy: list[float],
    when: Callable[[str, int], Any],
    same: bool,
) -> None:
    wheres = (f"{folder}/", good.base)
    slow.trouble = when
    stalled, ended = measured(
        base, wheres, lambda k: pair(slow.base, f"{when.__name__}.tif" if same else f"sub/target{k}.tif")
    )
    slow.trouble = None
    slow.released.set()
    slow.released = threading.Event()
    assert stalled[0] < busy[0] + 1.0
    assert stalled[1] < busy[1] + 1.0
    assert ended <= {503, 504}
    assert 503 in ended
    time.sleep(0.5)
    assert timed(base, pair(slow.base, f"{when.__name__}.tif"))[1] == 200
