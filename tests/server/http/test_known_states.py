"""States of local files looked up by the event loop: no thread, and no answer of another state."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio.to_thread
import httpx2
import numpy as np
import pytest
from starlette.testclient import TestClient

from server.http import knownstates
from tests.helpers.scenes import make_pair, write_raster
from tests.helpers.service import application

PAIR = make_pair(size=(64, 64))
TILE = "/cog/tiles/WebMercatorQuad/14/8874/6109.png"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "admitted"
    folder.mkdir()
    for name, values in (("target", PAIR.target), ("clear", PAIR.replacement)):
        write_raster(folder / f"{name}.tif", values)
    return folder


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Calls that the event loop leaves to threads, from now on."""
    calls: list[object] = []
    run = anyio.to_thread.run_sync

    async def counted(function: Callable[..., Any], *args: Any, **options: Any) -> Any:
        calls.append(function)
        return await run(function, *args, **options)

    monkeypatch.setattr(anyio.to_thread, "run_sync", counted)
    return calls


def on_disk(monkeypatch: pytest.MonkeyPatch, *, answer: bool) -> None:
    monkeypatch.setattr(knownstates, "is_on_disk", lambda _: answer)


def tile(client: TestClient, folder: Path, **headers: str) -> httpx2.Response:
    files: dict[str, Any] = {"url": str(folder / "target.tif"), "replacement": str(folder / "clear.tif")}
    return client.get(TILE, params=files | {"bidx": 1, "rescale": "0,1"}, headers=headers)


@pytest.mark.parametrize(("disk", "relative"), [(True, False), (True, True), (False, False)])
def test_a_repeated_tile_takes_a_thread_only_for_files_that_may_stall(
    folder: Path, monkeypatch: pytest.MonkeyPatch, threads: list[object], *, disk: bool, relative: bool
) -> None:
    on_disk(monkeypatch, answer=disk)
    monkeypatch.chdir(folder.parent)
    with application(folder) as client:
        folder = Path(folder.name) if relative else folder
        first = tile(client, folder)
        assert first.status_code == 200
        threads.clear()
        again, known = tile(client, folder), tile(client, folder, **{"If-None-Match": first.headers["etag"]})
        assert (again.content, again.headers["etag"], known.status_code) == (first.content, first.headers["etag"], 304)
        assert again.headers["server-timing"].startswith("kept")
        assert bool(threads) == (not disk)


@pytest.mark.parametrize("name", ["target.tif", "clear.tif", "target.tif.msk"])
def test_a_changed_file_counts_at_once(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    on_disk(monkeypatch, answer=True)
    with application(folder) as client:
        before = [tile(client, folder).headers["etag"] for _ in range(2)]
        file = folder / name
        if file.suffix == ".tif":
            os.utime(file, (1, 1))
        else:
            write_raster(file, np.full((1, 64, 64), 255, np.uint8), nodata=None)
        after = [tile(client, folder).headers["etag"] for _ in range(2)]
        assert (len({*before}), len({*after}), len({*before, *after})) == (1, 1, 2)


def test_who_may_not_read_a_file_any_more_gets_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on_disk(monkeypatch, answer=True)
    with application(folder) as client:
        known = {"If-None-Match": tile(client, folder).headers["etag"]}
        assert tile(client, folder, **known).status_code == 304
        outside = folder.parent / "outside.tif"
        (folder / "clear.tif").rename(outside)
        assert tile(client, folder, **known).status_code == 404
        (folder / "clear.tif").symlink_to(outside)
        assert tile(client, folder, **known).status_code == 403


@pytest.mark.parametrize("others", [0, 200])
def test_the_event_loop_looks_at_few_files(
    folder: Path, monkeypatch: pytest.MonkeyPatch, threads: list[object], others: int
) -> None:
    on_disk(monkeypatch, answer=True)
    files = [("url", str(folder / "target.tif")), *[("mask", str(folder / "clear.tif"))] * others]
    with application(folder) as client:
        for _ in range(2):
            threads.clear()
            assert client.get(TILE, params=[*files, ("bidx", "1"), ("rescale", "0,1")]).status_code == 200
        assert bool(threads) == bool(others)


def test_a_link_to_a_document_follows_the_files_that_it_names(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on_disk(monkeypatch, answer=True)
    assets = {"red": {"href": "./target.tif", "type": "image/tiff", "eo:bands": [{"common_name": "red"}]}}
    item: dict[str, Any] = {"type": "Feature", "stac_version": "1.0.0", "id": "one", "geometry": None, "links": []}
    about = {"properties": {"datetime": "2024-07-01T00:00:00Z"}, "assets": assets}
    (folder / "item.json").write_text(json.dumps(item | about))
    (folder / "latest.tif").symlink_to("item.json")
    query = {"url": str(folder / "latest.tif"), "assets": "red", "rescale": "0,1"}
    with application(folder) as client:
        before = [client.get(TILE.replace("/cog", "/stac"), params=query).headers["etag"] for _ in range(2)]
        os.utime(folder / "target.tif", (1, 1))
        assert client.get(TILE.replace("/cog", "/stac"), params=query).headers["etag"] not in before
