"""Sources: descriptions that follow their files, and rasters opened in the state that was described."""

from __future__ import annotations

import gc
import os
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS

from server.errors import AbandonedError, SourceChangedError, SourceForbiddenError, SourceUnreadableError
from server.raster.sources import Sources
from server.scenes.scene import Scene, SceneBand
from server.work.ticket import Ticket, current_ticket
from tests.helpers.rangeserver import range_server
from tests.helpers.scenes import write_raster
from tests.helpers.service import sources_by


@pytest.fixture
def sources(tmp_path: Path) -> Sources:
    return sources_by(tmp_path, source_check="0")


def rewrite(path: Path, value: int) -> None:
    """Another raster of the same size under the name, changed at another time."""
    before = path.stat().st_mtime_ns if path.exists() else 0
    write_raster(path, np.full((1, 64, 64), value, np.uint16))
    os.utime(path, ns=(before + 10**9, before + 10**9))


@pytest.mark.parametrize("where", ["local", "remote"])
def test_a_description_is_kept_until_the_file_changes(sources: Sources, tmp_path: Path, where: str) -> None:
    path = tmp_path / "a.tif"
    rewrite(path, 1)
    with range_server(tmp_path) as served:
        url = str(path) if where == "local" else f"{served.base}a.tif"
        if where == "remote":
            sources = sources_by(served.base, source_check="0")
        first = sources.dataset(url)
        assert sources.dataset(url) is first
        assert first.version == sources.version(url)
        rewrite(path, 2)
        second = sources.dataset(url)
        assert second.version != first.version
        assert replace(second, version=first.version) == first
        with sources.open_described(second) as src:
            assert src.read().max() == 2
        for opened in (sources.open(url, first.version), sources.open_described(first)):
            with pytest.raises(SourceChangedError), opened:
                pass


def test_nobody_asks_for_further_addresses_once_the_answer_is_not_wanted(sources: Sources) -> None:
    places = [f"https://example.org/{k}.tif" for k in range(5)]
    scene = Scene("item.json", (SceneBand("red", "B04", places[0], alternates=tuple(places[1:])),))
    with pytest.raises(SourceForbiddenError):
        sources.composed(scene)
    ticket = Ticket()
    ticket.abandon()
    token = current_ticket.set(ticket)
    try:
        with pytest.raises(AbandonedError):
            sources.composed(scene)
    finally:
        current_ticket.reset(token)


def test_descriptions_of_scenes_take_a_bounded_place_however_long_their_names(sources: Sources, tmp_path: Path) -> None:
    """A document names five addresses of a file, each of thousands of characters."""
    rewrite(tmp_path / "a.tif", 1)
    band = SceneBand("red", "B04", str(tmp_path / "a.tif"))
    sources.composed(Scene("item.json", (band,)))
    tracemalloc.start()
    try:
        for k in range(20):
            long = replace(band, alternates=(f"{k}" + "a" * 1_000_000,))
            assert sources.composed(Scene(f"{k}.json", (long,))).indexes == (1,)
        gc.collect()
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 5_000_000


def test_a_failure_is_no_description(sources: Sources, tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    with pytest.raises(FileNotFoundError):
        sources.dataset(str(path))
    path.write_bytes(b"no raster")
    with pytest.raises(SourceUnreadableError):
        sources.dataset(str(path))
    rewrite(path, 3)
    assert sources.dataset(str(path)).shape == (64, 64)


def test_what_is_placed_by_control_points_is_opened_where_its_description_lies(
    sources: Sources, tmp_path: Path
) -> None:
    path = tmp_path / "points.tif"
    points = [
        GroundControlPoint(row, col, 500_000 + 10 * col, 4_600_000 - 10 * row) for row in (0, 64) for col in (0, 64)
    ]
    write_raster(path, np.ones((1, 64, 64), np.uint16), crs=None)
    with rasterio.open(path, "r+") as dst:
        dst.gcps = (points, CRS.from_epsg(32633))
    dataset = sources.dataset(str(path))
    with sources.open_described(dataset) as ground, sources.open(str(path)) as raw:
        assert (tuple(ground.transform)[:6], ground.shape) == (dataset.transform, dataset.shape)
        assert raw.gcps[0]
        assert tuple(raw.transform)[:6] != dataset.transform
