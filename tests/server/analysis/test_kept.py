"""Masks kept block by block: the same bits as made on the spot, no inference more, and found by those who need them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import server.analysis.engine
import server.export.plan
from algorithms.options import CloudOptions
from algorithms.sessions import SESSIONS
from server.analysis.engine import Analysis
from server.analysis.masks import MaskTile
from server.analysis.plane import Plane
from server.analysis.refinement import Refinement
from server.analysis.request import Request
from server.demo import write_demo
from server.export.plan import ground_around
from server.raster.grid import Box, fine_grid


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Plane:
    scene = write_demo(tmp_path_factory.mktemp("demo"), size=1120)
    task = Request(str(scene.cloudy), (str(scene.clear),)).task(CloudOptions())
    return Plane(task, fine_grid(task.target.dataset))


@pytest.fixture
def analysis() -> Iterator[Analysis]:
    analysis = Analysis(cache_bytes=256 << 20, threads=2)
    yield analysis
    analysis.close()


def equal(a: MaskTile, b: MaskTile) -> bool:
    return np.array_equal(a.classes, b.classes) and np.array_equal(a.probabilities, b.probabilities)


def made(monkeypatch: pytest.MonkeyPatch, owner: type, name: str) -> list[Box]:
    """Boxes that a method works on from now on, beside what it does."""
    real, boxes = getattr(owner, name), []

    def noted(*args: Any) -> Any:
        boxes.append(args[-1])
        return real(*args)

    monkeypatch.setattr(owner, name, noted)
    return boxes


def test_a_box_from_kept_blocks_is_the_box_itself(analysis: Analysis, plane: Plane) -> None:
    refinement, masks = analysis.pairs._refinement, analysis.masks
    boxes = [Box(100, 300, 5, 131), Box(250, 260, 380, 560), Box(0, 560, 0, 560)]
    runs = SESSIONS.inferences()
    first = masks.tile(plane.target_clouds, boxes[0])
    assert SESSIONS.inferences() - runs == 2  # its blocks call for six, which are not made for its sake
    before = [refinement.tile(plane, box) for box in boxes]
    blended = [masks.tile(plane.target_clouds, box) for box in boxes]
    assert equal(first, blended[0])
    analysis.pairs.classes(plane, boxes[2])
    runs = SESSIONS.inferences()
    for box, refined, plain in zip(boxes, before, blended, strict=True):
        assert 0 < (refined.classes == 1).mean() < 1
        assert equal(refinement.tile(plane, box), refined)
        assert equal(masks.tile(plane.target_clouds, box), plain)
    assert SESSIONS.inferences() == runs


def test_squares_find_all_masks_they_look_at(analysis: Analysis, plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (server.analysis.engine, server.export.plan):
        monkeypatch.setattr(module, "SQUARE_BLOCKS", 1)
    numbers = [(0, 1), (1, 1)]
    around = ground_around(plane, numbers)
    assert around.shape < plane.shape
    analysis.pairs.classes(plane, around)
    analysis.pairs.scene(plane, 1)
    boxes = made(monkeypatch, Refinement, "_refined")
    analysis.squares(plane, numbers)
    assert boxes == []
