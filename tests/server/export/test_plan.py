"""How an export is cut: strips that the cache can hold, and a cache that holds no more than strips want."""

from dataclasses import replace

import pytest

from algorithms.options import CloudOptions
from server.analysis.plane import Plane
from server.analysis.request import Request
from server.analysis.tasking import make_task
from server.export.plan import PIECE_PIXELS, cache_bytes_for, strips
from server.raster.grid import Grid
from tests.helpers.scenes import Demo
from tests.helpers.service import sources_by


def plane_of(scene: object, width: int) -> Plane:
    """The plane of a scene described as so many pixels wide."""
    request = Request(str(scene.cloudy), (str(scene.clear),))  # type: ignore[attr-defined]
    task = make_task(request, sources_by(""), CloudOptions())
    target = replace(task.target.dataset, width=width, height=width)
    layer = replace(task.target, dataset=target, target=target)
    return Plane(replace(task, target=layer), Grid(factor=2, rows=-(-width // 2), cols=-(-width // 2)))


@pytest.mark.parametrize("width", [1120, 4096, 10980, 21960])
def test_strips_cover_the_scene_once_and_want_no_more_cache_than_there_is(demo_scene: Demo, width: int) -> None:
    plane = plane_of(demo_scene(1120), width)
    wanted = []
    for cache_bytes in (64 << 20, 512 << 20, 4 << 30):
        plan = strips(plane, cache_bytes=cache_bytes)
        pieces = [piece for strip in plan for piece in strip]
        assert sum(piece.pixels.area for piece in pieces) == width**2
        assert len({piece.name for piece in pieces}) == len(pieces)
        assert all(piece.pixels.top % PIECE_PIXELS[0] == piece.pixels.left % PIECE_PIXELS[1] == 0 for piece in pieces)
        wanted.append(cache_bytes_for(plane, cache_bytes=cache_bytes))
        assert wanted[-1] <= cache_bytes
    assert wanted == sorted(wanted)
    # A cache as large as the strips want is cut into the same strips.
    assert strips(plane, cache_bytes=wanted[-1]) == strips(plane, cache_bytes=4 << 30)
