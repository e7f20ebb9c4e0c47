"""Work ahead: it finds the neighbours, gives way at once, and stays away from what is not its business."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import morecantile
import numpy as np
import pytest
from rasterio.warp import transform

from algorithms.options import CloudOptions
from algorithms.sessions import SESSIONS
from server.analysis.ahead import KEPT_VISITS, VISIT_SIDE, Ahead, Visit
from server.analysis.plane import Plane
from server.analysis.request import Request
from server.analysis.tasking import make_task
from server.errors import AbandonedError
from server.raster.grid import BLOCK_CELLS, Box, Grid, fine_grid
from server.work.activity import QUIET_SECONDS, Activity
from server.work.ticket import check_wanted
from tests.helpers.scenes import Demo, write_raster
from tests.helpers.service import analysis_of, application, services_of, sources_by

TMS = morecantile.tms.get("WebMercatorQuad")
WAIT = 60


def until(condition: object, seconds: float = WAIT) -> None:
    """Wait for something to become true."""
    end = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def view(tmp_path_factory: pytest.TempPathFactory) -> Visit:
    folder, data = tmp_path_factory.mktemp("ahead"), np.ones((6, 1100, 1000), np.uint16)
    files = [write_raster(folder / f"{name}.tif", data) for name in ("target", "replacement")]
    task = make_task(Request(files[0], (files[1],)), sources_by(""), CloudOptions())
    return Visit(Plane(task, fine_grid(task.target.dataset)), Box(130, 200, 260, 330))


def test_a_neighbour_is_there_before_anyone_asks(demo_scene: Demo) -> None:
    scene = demo_scene(1024)
    params: dict[str, Any] = {
        "url": str(scene.cloudy),
        "replacement": str(scene.clear),
        "bidx": [3, 2, 1],
        "rescale": "0,3000",
    }
    task = make_task(Request(str(scene.cloudy), (str(scene.clear),)), sources_by(""), CloudOptions())
    affine = task.target.dataset.affine
    (lon,), (lat,) = transform(task.target.dataset.crs, "EPSG:4326", *([v] for v in affine @ (512, 512)))
    tile = TMS.tile(lon, lat, 14)
    beside = morecantile.Tile(tile.x - 1, tile.y, 14)
    paths = [f"/cog/tiles/WebMercatorQuad/{t.z}/{t.x}/{t.y}.png" for t in (tile, beside)]

    images = {}
    for prefetch in ("false", "true"):
        with application(scene.cloudy.parent, prefetch=prefetch) as client:
            assert client.get(paths[0], params=params).status_code == 200
            analysis = analysis_of(client)
            if prefetch == "true":
                until(lambda a=analysis: a.ahead is not None and not a.ahead.visits)
            held, before = analysis.cache.nbytes, SESSIONS.inferences()
            images[prefetch] = client.get(paths[1], params=params).content
            new_bytes, new_runs = analysis.cache.nbytes - held, SESSIONS.inferences() - before
            assert (new_bytes == 0 and new_runs == 0) == (prefetch == "true")
    assert images["true"] == images["false"]


def test_a_request_calls_it_off(view: Visit) -> None:
    begun, stopped = threading.Event(), threading.Event()
    done: set[tuple[int, int]] = set()

    def compute(_: Visit, numbers: list[tuple[int, int]]) -> None:
        begun.set()
        try:
            for _step in range(200):
                time.sleep(0.01)
                check_wanted()
                if stopped.is_set():
                    break
        except AbandonedError:
            stopped.set()
            raise
        done.update(numbers)

    others = set(threading.enumerate())
    activity = Activity()
    ahead = Ahead(lambda _, n: n not in done, compute, activity)
    try:
        ahead.seen(view)
        assert begun.wait(WAIT)
        with activity.request():
            assert stopped.wait(1)
            count = len(done)
            time.sleep(2 * QUIET_SECONDS)
            assert len(done) == count  # not while the request runs
        until(lambda: len(done) == sum(map(len, view.around())))  # and goes on afterwards
    finally:
        ahead.close()
    until(lambda: not set(threading.enumerate()) - others)


def test_it_begins_after_a_pause_only() -> None:
    own = Activity()
    assert own.lend() is None
    time.sleep(1.1 * QUIET_SECONDS)
    ticket = own.lend()
    assert ticket is not None
    ticket.check()
    with own.request():
        with pytest.raises(AbandonedError):
            ticket.check()
        time.sleep(1.1 * QUIET_SECONDS)
        assert own.lend() is None
    assert own.lend() is None


def test_the_nearest_first_and_no_farther_than_a_view(view: Visit) -> None:
    around = view.around()
    under = set(view.plane.blocks(view.box, in_pixels=True))
    squares = len(list(view.box.blocks(BLOCK_CELLS)))
    assert under <= {number for square in around[:squares] for number in square}
    assert {number for square in around for number in square} == set(
        view.plane.blocks(view.box.pad(70), in_pixels=True)
    )


def test_an_error_ends_that_view_only(view: Visit) -> None:
    broken, good = view, Visit(view.plane, Box(0, 60, 0, 60))
    done: list[Visit] = []

    def compute(at: Visit, _: list[tuple[int, int]]) -> None:
        if at == broken:
            raise OSError("gone")
        done.append(at)

    ahead = Ahead(lambda *_: True, compute, Activity())
    try:
        ahead.seen(good)
        ahead.seen(broken)  # worked on first, as the last one seen
        until(lambda: not ahead.visits)
    finally:
        ahead.close()
    assert len(done) == len(good.around())


def test_what_is_remembered(view: Visit) -> None:
    activity = Activity()
    ahead = Ahead(lambda *_: False, lambda *_: None, activity)
    with activity.request():
        for k in range(2 * KEPT_VISITS):
            ahead.seen(Visit(view.plane, Box(k, k + 50, 0, 50)))
        assert len(ahead.visits) == KEPT_VISITS
        side = VISIT_SIDE + 1
        ahead.seen(Visit(view.plane, Box(0, 128, 0, side)))
        assert all(v.box.right < side for v in ahead.visits)
    ahead.close()


def test_only_local_rasters_and_single_cells(view: Visit, tmp_path: Path) -> None:
    with application(tmp_path, prefetch="true") as client:
        analysis = analysis_of(client)
        assert analysis.ahead is not None
        with services_of(client).activity.request():
            coarse = Plane(view.plane.task, Grid(view.plane.factor * 3, 200, 200, side=512))
            analysis.seen(coarse, view.box)
            assert not analysis.ahead.visits
            analysis.seen(view.plane, view.box)
            assert len(analysis.ahead.visits) == 1
