"""What the rest of a whole scene needs stays in the caches, and no more."""

from __future__ import annotations

import pytest

from algorithms.shift import NO_SHIFT
from server.analysis.keeping import needless
from server.analysis.keys import FillKey
from server.analysis.request import Request
from server.demo import write_demo
from server.export.job import ExportJob
from server.export.preparation import prepare_export
from server.raster.cache import CellsKey, PixelsKey
from server.raster.grid import Box
from server.raster.stored import StoredKey
from server.settings import Settings


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """Keys of everything that lies over the lower right quarter of a scene of 1024 pixels, and of a mask."""
    folder = tmp_path_factory.mktemp("scene")
    scene = write_demo(folder, size=1024)
    request = Request(str(scene.cloudy), (str(scene.clear),))
    plane = prepare_export(ExportJob(request, folder / "out.tif").checked(), Settings()).plane
    pixels = PixelsKey(plane.target, (1, 1))
    return {
        "pixels": pixels,
        "fill": FillKey(plane, (3, 3), 0, in_pixels=False),
        "cells": CellsKey(plane.replacement(1), NO_SHIFT, plane.grid, (1, 1)),
        "overview": StoredKey("a.tif", "", 0, (1,), 256, (1, 1)),
        "mask": "of any other kind",
    }


QUARTER, REST = Box(512, 1024, 512, 1024), [Box(0, 512, 0, 1024), Box(0, 1024, 0, 512)]


@pytest.mark.parametrize(
    ("made", "seen", "lost"),
    [
        ([QUARTER], [QUARTER], set()),
        (REST, REST, {"pixels", "fill", "cells", "overview"}),
        (REST, [QUARTER], {"pixels", "fill"}),
        ([*REST, Box(1023, 1024, 1023, 1024)], REST, {"cells", "overview"}),
        ([], [], {"pixels", "fill", "cells", "overview"}),
    ],
)
def test_what_touches_no_box_is_needless(
    keys: dict[str, object], made: list[Box], seen: list[Box], lost: set[str]
) -> None:
    assert set(needless(keys.values(), made, seen)) == {keys[name] for name in lost}
