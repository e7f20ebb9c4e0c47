"""Masks kept block by block: the same bits as made on the spot, no inference more, and found by those who need them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import server.analysis.engine
import server.export.plan
from algorithms.models import MODELS
from algorithms.removal import CloudRemoval
from server.analysis.engine import Analysis
from server.analysis.masks import MaskTile
from server.analysis.refinement import Refinement
from server.analysis.request import Request
from server.analysis.task import Task
from server.demo import write_demo
from server.export.plan import ground_around
from server.raster.grid import Box, Grid, fine_grid

RUNS = MODELS["ukis-6b-l1c"].runs


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    scene = write_demo(tmp_path_factory.mktemp("demo"), size=1120)
    return Request(str(scene.cloudy), (str(scene.clear),)).task(CloudRemoval())


@pytest.fixture(scope="module")
def grid(task: Task) -> Grid:
    return fine_grid(task.target.dataset)


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


def test_a_box_from_kept_blocks_is_the_box_itself(analysis: Analysis, task: Task, grid: Grid) -> None:
    refinement, masks = analysis.pairs._refinement, analysis.masks
    boxes = [Box(100, 300, 5, 131), Box(250, 260, 380, 560), Box(0, 560, 0, 560)]
    runs = RUNS[0]
    first = masks.tile(task.target, task.clouds, grid, boxes[0])
    assert RUNS[0] - runs == 2  # its blocks call for six, which are not made for its sake
    before = [refinement.tile(task, grid, box) for box in boxes]
    blended = [masks.tile(task.target, task.clouds, grid, box) for box in boxes]
    assert equal(first, blended[0])
    analysis.pairs.classes(task, grid, boxes[2])
    runs = RUNS[0]
    for box, refined, plain in zip(boxes, before, blended, strict=True):
        assert 0 < (refined.classes == 1).mean() < 1
        assert equal(refinement.tile(task, grid, box), refined)
        assert equal(masks.tile(task.target, task.clouds, grid, box), plain)
        assert equal(plain, masks._blended(task.target, task.clouds.model, grid, box))  # type: ignore[arg-type]
    assert RUNS[0] == runs


def test_squares_find_all_masks_they_look_at(
    analysis: Analysis, task: Task, grid: Grid, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (server.analysis.engine, server.export.plan):
        monkeypatch.setattr(module, "SQUARE", 1)
    numbers = [(0, 1), (1, 1)]
    around = ground_around(numbers, grid, task)
    assert around.shape < grid.shape
    analysis.pairs.classes(task, grid, around)
    analysis.pairs.scene(task, 0, grid)
    boxes = made(monkeypatch, Refinement, "_refined")
    analysis.squares(task, grid, numbers)
    assert boxes == []
