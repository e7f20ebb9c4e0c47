"""Large requests: given up when nobody waits, limited in time, and no obstacle to small ones."""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import httpx2
import numpy as np
import pytest
import rasterio

from algorithms.fill import UNFILLED
from algorithms.sessions import SESSIONS
from server.analysis.blocks import ALL_DATA, NO_DATA, SOME_DATA, BlockFields, BlockFill, reduce_fill
from server.raster.grid import Box
from tests.helpers.scenes import Demo, write_raster
from tests.helpers.service import application, listening, serve_command

SIDE = 2200


def inferences() -> int:
    return SESSIONS.inferences()


@pytest.fixture(scope="module")
def scene(demo_scene: Demo, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A pair of about 30 inference windows per date: the demo scene, repeated in mirror image."""
    folder = tmp_path_factory.mktemp("large")
    demo = demo_scene(512)
    paths = {}
    for name, source in (("url", demo.cloudy), ("replacement", demo.clear)):
        with rasterio.open(source) as src:
            data = src.read()
            wide = np.pad(data, [(0, 0), (0, SIDE - 512), (0, SIDE - 512)], mode="symmetric")
            paths[name] = write_raster(folder / f"{name}.tif", wide, crs=src.crs, transform=src.transform)
    return paths


def whole(scene: dict[str, str], width: int, **options: str) -> str:
    """Path of a picture of the whole scene."""
    return f"/cog/preview/{width}x{width}.tif?" + urlencode({"bidx": 3, **scene, **options})


@contextmanager
def in_this_process(scene: dict[str, str], **settings: str) -> Iterator[str]:
    """A server on a real socket whose counters can be read."""
    with application(Path(scene["url"]).parent, **settings) as client, listening(client.app) as base:
        yield base


def hang_up(base: str, path: str, *, after: int) -> None:
    """Ask, and close the connection once some inferences have been made."""
    before = inferences()
    with socket.create_connection(("127.0.0.1", urlsplit(base).port or 0)) as line:
        line.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        end = time.monotonic() + 60
        while inferences() < before + after:
            assert time.monotonic() < end, "no inference is made"
            time.sleep(0.005)


def test_work_stops_when_the_client_hangs_up(scene: dict[str, str]) -> None:
    with in_this_process(scene) as base:
        before = inferences()
        hang_up(base, whole(scene, 1400), after=4)
        time.sleep(0.7)
        spent = inferences() - before
        time.sleep(1)
        assert inferences() - before == spent, "the server goes on"
        assert spent < 30
        answer = httpx2.get(base + whole(scene, 64), timeout=60)
        assert answer.status_code == 200


def test_one_client_hangs_up_and_the_other_gets_the_answer(scene: dict[str, str]) -> None:
    path = whole(scene, 200, algorithm="fill_source")
    with in_this_process(scene) as base:
        expected = httpx2.get(base + path, timeout=60).content
    with in_this_process(scene) as base, ThreadPoolExecutor() as pool:
        other = pool.submit(httpx2.get, base + path, timeout=60)
        hang_up(base, path, after=3)
        assert other.result().status_code == 200
        assert other.result().content == expected


def test_a_request_that_takes_too_long_is_given_up_and_can_be_repeated(scene: dict[str, str]) -> None:
    with in_this_process(scene, request_timeout="0.4") as base:
        first = httpx2.get(base + whole(scene, 1400), timeout=60)
        assert first.status_code == 503
        assert "0.4 s" in first.json()["detail"]
        for _ in range(60):  # each try finds more of it done
            answer = httpx2.get(base + whole(scene, 200), timeout=60)
            if answer.status_code == 200:
                break
        assert answer.status_code == 200


def test_health_is_told_while_every_thread_is_busy(scene: dict[str, str]) -> None:
    with in_this_process(scene, request_threads="1") as base, ThreadPoolExecutor() as pool:
        before = inferences()
        job = pool.submit(httpx2.get, base + whole(scene, 200), timeout=60)
        while inferences() == before:
            time.sleep(0.005)
        assert httpx2.get(base + "/healthz", timeout=5).status_code == 200
        assert not job.done()
        assert job.result().status_code == 200


def test_the_server_ends_in_time_under_load(scene: dict[str, str]) -> None:
    with serve_command(Path(scene["url"]).parent) as (process, base), ThreadPoolExecutor() as pool:
        job = pool.submit(httpx2.get, base + whole(scene, 1400), timeout=60)
        time.sleep(1)
        begun = time.monotonic()
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=10)
        assert time.monotonic() - begun < 10
        assert job.exception() is not None or job.result().status_code in (200, 503)


@pytest.mark.parametrize("power", [1, 3, 7])
def test_a_reduced_fill_is_that_of_its_squares(power: int) -> None:
    rng = np.random.default_rng(power)
    block, rim = Box(128, 128 + 100, 256, 256 + 128), Box(127, 229, 255, 385)
    source = rng.choice([0, 0, 0, 1, 2, UNFILLED], size=block.shape).astype(np.uint8)
    source[:40] = 0
    confidence = rng.integers(0, 101, block.shape, np.uint8)
    fields = rng.normal(size=(*rim.shape, 4)).astype(np.float32)
    data = rng.choice([SOME_DATA, ALL_DATA], size=block.shape, p=[0.02, 0.98]).astype(np.uint8)
    data[(source == UNFILLED) & (rng.random(block.shape) < 0.5)] = NO_DATA
    lacking = (rng.random(block.shape) < 0.02).astype(np.uint8)
    source[60:, 90:] = UNFILLED
    data[60:, 90:] = NO_DATA
    small = reduce_fill(BlockFill(source, confidence, data, lacking, {1: BlockFields(rim, fields)}), block, power)
    size = 1 << power
    inner = fields[1:-1, 1:-1]
    for i in range(small.source.shape[0]):
        for j in range(small.source.shape[1]):
            square = np.s_[i * size : (i + 1) * size, j * size : (j + 1) * size]
            there = data[square] != NO_DATA
            found = set(source[square][there].tolist())
            filled = found - {0, UNFILLED}
            assert small.source[i, j] == (min(filled) if filled else max(found, default=UNFILLED))
            least = confidence[square][there].min() if there.any() else 0
            assert small.confidence[i, j] == (max(1, least) if filled else least)  # 0 is for what is not filled
            assert small.lacking[i, j] == lacking[square].any()
            if (data[square] == ALL_DATA).all():
                assert small.data[i, j] == ALL_DATA
            else:
                assert small.data[i, j] == (SOME_DATA if there.any() else NO_DATA)
            if size * (i + 1) <= block.shape[0]:
                np.testing.assert_allclose(small.layers[1].fields[i, j], inner[square].mean(axis=(0, 1)), atol=1e-5)
    assert small.layers[1].box == Box(128 >> power, -(-228 >> power), 256 >> power, 384 >> power)
