"""A remote raster is the file its server has now, and asking costs little."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import rasterio
from rasterio.errors import RasterioIOError
from starlette.testclient import TestClient

from benchmarks.remote import measure, middle_tile
from benchmarks.service import file_server
from server.http.reader import PairReader
from tests.helpers.rangeserver import RangeServer
from tests.helpers.remote import (
    PATH,
    address,
    at,
    good,
    rewrite,
    settled,
)
from tests.helpers.scenes import Demo
from tests.helpers.service import sources_by, sources_of


@pytest.mark.parametrize("validators", [("etag", "last-modified"), ("weak", "last-modified"), ()])
def test_a_remote_tile_is_the_local_one_and_follows_its_file(
    client: TestClient, served: RangeServer, fresh: Path, local_image: bytes, validators: tuple[str, ...]
) -> None:
    served.validators = validators
    params = at(address(served, fresh))
    first = client.get(PATH, params=params)
    assert first.content == local_image
    tag = first.headers["etag"]
    settled()
    served.reset()
    assert client.get(PATH, params=params, headers={"If-None-Match": tag}).status_code == 304
    checks = served.reset()
    assert checks.requests == 3
    if validators:
        assert checks.sent == 0
    rewrite(fresh, seed=6)
    settled()
    second = client.get(PATH, params=params, headers={"If-None-Match": tag})
    assert second.status_code == 200
    assert second.headers["etag"] != tag
    assert second.content == good(client, at(f"{fresh}/")) != first.content


def test_the_state_of_a_file_is_asked_once_however_many_want_it(served: RangeServer, client: TestClient) -> None:
    url = f"{served.base}target.tif"
    settled()
    served.reset()
    threads = [threading.Thread(target=sources_of(client).version, args=(url,)) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert served.reset().requests == 1


def test_opening_again_asks_nothing(served: RangeServer) -> None:
    sources, url = sources_by(served.base, source_check="600"), f"{served.base}target.tif"
    with sources.open(url) as src:
        expected = src.read(window=((0, 256), (0, 256)))
    served.reset()
    for _ in range(5):
        with sources.open(url) as src:
            np.testing.assert_array_equal(src.read(window=((0, 256), (0, 256))), expected)
    assert served.reset().requests == 0


def test_a_file_that_changes_half_way(client: TestClient, served: RangeServer, fresh: Path) -> None:
    changed = threading.Event()

    def change(path: str, start: int) -> None:
        if path.endswith("target.tif") and start > 0 and not changed.is_set():
            changed.set()
            rewrite(fresh, seed=7)

    served.trouble = change
    answer = client.get(PATH, params=at(address(served, fresh)))
    assert changed.is_set()
    assert answer.status_code == 503, answer.text
    assert "target.tif' changed while it was read" in answer.json()["detail"]
    assert good(client, at(address(served, fresh))) == good(client, at(f"{fresh}/"))


def test_an_answer_whose_file_changed_meanwhile_is_kept_by_nobody(
    client: TestClient, served: RangeServer, fresh: Path
) -> None:
    """All bytes are there before the change, so the answer is whole; its tag would be the one of another file."""
    params = at(address(served, fresh))
    before = good(client, params)
    real = PairReader.__exit__

    def slow(self: Any, *error: Any) -> None:
        real(self, *error)
        rewrite(fresh, seed=8)
        settled()

    with mock.patch.object(PairReader, "__exit__", slow):
        answer = client.get(PATH, params=params | {"_": "1"})  # the same is kept
    assert answer.content == before
    assert "etag" not in answer.headers
    assert answer.headers["cache-control"] == "no-store"


def test_gdal_itself_fetches_nothing(served: RangeServer, client: TestClient) -> None:
    served.reset()
    with pytest.raises(RasterioIOError):
        rasterio.open(f"/vsicurl/{served.base}target.tif")
    assert served.reset().requests == 0


def test_a_cold_tile_costs_little_more_than_plain_reading(demo_scene: Demo) -> None:
    scene = demo_scene(1024)
    with file_server(scene.cloudy.parent) as served:
        case = measure(served, middle_tile(str(scene.cloudy)))
    assert case.cloud > 0.02
    assert case.cold.requests <= 2 * case.plain.requests
    assert case.cold.sent <= 1.3 * case.plain.sent  # with an overview of a quarter of the pixels, for a look from afar
    assert case.warm.requests == 0
    assert case.beside.requests <= case.cold.requests
