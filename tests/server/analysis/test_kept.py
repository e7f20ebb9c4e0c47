"""Masks kept block by block: the same bits as made on the spot, no inference more, and found by those who need them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import server.analysis.grouping
import server.analysis.refinement
from algorithms.masks import dilate
from algorithms.options import CloudOptions
from algorithms.refine import refine_mask
from algorithms.sessions import SESSIONS
from server.analysis.engine import Analysis
from server.analysis.masks import MaskTile
from server.analysis.plane import Plane
from server.analysis.refinement import Refinement
from server.analysis.request import Request
from server.analysis.tasking import make_task
from server.export.plan import ground_around
from server.raster.grid import Box, fine_grid
from server.work.pool import FairPool
from tests.helpers.scenes import Demo
from tests.helpers.service import sources_by


@pytest.fixture(scope="module")
def plane(demo_scene: Demo) -> Plane:
    scene = demo_scene(1120)
    task = make_task(Request(str(scene.cloudy), (str(scene.clear),)), sources_by(""), CloudOptions())
    return Plane(task, fine_grid(task.target.dataset))


def equal(a: MaskTile, b: MaskTile) -> bool:
    return np.array_equal(a.classes, b.classes) and np.array_equal(a.probabilities, b.probabilities)


def test_a_box_from_kept_blocks_is_the_box_itself(analysis: Analysis, plane: Plane, pool: FairPool) -> None:
    masks = analysis.masks
    refinement = Refinement(analysis.rasters, masks, analysis.cache, pool)
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


def test_groups_find_all_masks_they_look_at(analysis: Analysis, plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server.analysis.grouping, "GROUP_CELLS", (128, 128))
    numbers = [(0, 2), (2, 3)]
    around = ground_around(plane, numbers)
    assert around.shape < plane.shape
    refined: list[tuple[int, ...]] = []

    def noted(classes: np.ndarray, *args: Any, **options: Any) -> np.ndarray:
        refined.append(classes.shape)
        return refine_mask(classes, *args, **options)

    monkeypatch.setattr(server.analysis.refinement, "refine_mask", noted)
    analysis.pairs.classes(plane, around)
    analysis.pairs.scene(plane, 1)
    assert refined
    refined.clear()
    analysis.groups(plane, numbers)
    assert refined == []


def test_fills_are_corrected_in_pixels_where_pixels_are_seen(analysis: Analysis, plane: Plane) -> None:
    box = Box(0, 256, 0, 256)
    seen_from_afar = analysis.blocks(plane, list(plane.blocks(box, in_pixels=False)), in_pixels=False)
    kept = analysis.cache.nbytes
    numbers = list(plane.blocks(box, in_pixels=True))
    near = analysis.blocks(plane, numbers)
    assert len(near) == 4 * len(seen_from_afar)
    assert analysis.cache.nbytes > kept
    borders = 0
    for (i, j), fill in near.items():
        whole = seen_from_afar[i // 2, j // 2]
        core, outer = plane.block((i, j), in_pixels=True), plane.block((i // 2, j // 2), in_pixels=False)
        assert np.array_equal(whole.source[core.within(outer)], fill.source)
        assert np.array_equal(whole.confidence[core.within(outer)], fill.confidence)
        for k, layer in fill.layers.items():
            filled, there = dilate(fill.source == k, 1), whole.layers[k].fields[core.within(whole.layers[k].box)]
            assert np.array_equal(there[filled], layer.fields[core.within(layer.box)][filled])
            assert whole.layers[k].border is None
            borders += layer.border is not None
    assert borders
