"""How an export is cut into strips that the cache can hold."""

from dataclasses import replace

import pytest

from algorithms.options import CloudOptions
from server.analysis.plane import Plane
from server.analysis.request import Request
from server.analysis.tasking import make_task
from server.export.plan import PIECE_PIXELS, strips
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
def test_strips_cover_the_scene_once_and_are_the_wider_the_larger_the_cache(demo_scene: Demo, width: int) -> None:
    plane = plane_of(demo_scene(1120), width)
    widths = []
    for cache_bytes in (64 << 20, 512 << 20, 4 << 30):
        plan = strips(plane, cache_bytes=cache_bytes)
        pieces = [piece for strip in plan for piece in strip]
        assert sum(piece.pixels.area for piece in pieces) == width**2
        assert len({piece.name for piece in pieces}) == len(pieces)
        assert all(piece.pixels.top % PIECE_PIXELS[0] == piece.pixels.left % PIECE_PIXELS[1] == 0 for piece in pieces)
        widths.append(max(sum(piece.pixels.shape[1] for piece in strip) for strip in plan))
    assert widths == sorted(widths)
    assert widths[-1] == width
    assert width < 10980 or widths[0] < width
