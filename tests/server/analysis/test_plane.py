"""A task on one level: lengths in its cells, and keys that hold all that a value depends on and no more."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest

from algorithms.masks import buffer_cells
from algorithms.options import CloudOptions
from server.analysis.keys import BlendedKey, FillKey, FirstFitKey, RefinedKey, SceneKey, ShiftKey, WindowKey
from server.analysis.plane import MOST_HELPERS, Plane
from server.analysis.request import Request
from server.analysis.task import Task
from server.analysis.tasking import make_task
from server.raster.grid import Box, Grid, fine_grid
from tests.helpers.scenes import write_raster
from tests.helpers.service import sources_by


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    folder = tmp_path_factory.mktemp("plane")
    values = np.full((6, 300, 200), 1000, np.uint16)
    files = [write_raster(folder / f"{name}.tif", values) for name in ("target", "first", "second", "third")]
    return make_task(Request(files[0], tuple(files[1:])), sources_by(""), CloudOptions())


@pytest.fixture(scope="module")
def plane(task: Task) -> Plane:
    return Plane(task, fine_grid(task.target.dataset))


def changed(plane: Plane, **options: Any) -> Plane:
    """The plane of a task that differs in some options."""
    fields: dict[str, Any] = {name: options.pop(name) for name in ("buffer", "refine") if name in options}
    if (sensitivity := options.pop("sensitivity", None)) is not None:
        others = tuple(clouds.at(sensitivity) for clouds in plane.task.replacement_clouds)
        fields |= {"clouds": plane.task.clouds.at(sensitivity), "replacement_clouds": others}
    return Plane(replace(plane.task, **fields, options=replace(plane.task.options, **options)), plane.grid)


Key = Callable[[Plane], Hashable]
KEYS: dict[str, Key] = {
    "fill": lambda plane: FillKey(plane, (0, 0), 0, in_pixels=False),
    "scene": partial(SceneKey.of, k=1),
    "shift": partial(ShiftKey.of, k=1),
    "first fit": partial(FirstFitKey.of, k=1),
    "refined": partial(RefinedKey.of, number=(0, 0)),
}
CHANGES: dict[str, tuple[dict[str, object], set[str]]] = {
    "window": ({"window": 40}, {"fill"}),
    "adjustment": ({"adjustment": "moment"}, {"fill"}),
    "residual": ({"residual": False}, {"fill"}),
    "buffer": ({"buffer": 7}, {"fill", "scene", "shift"}),
    "sensitivity": ({"sensitivity": 40}, {"fill", "scene", "shift", "first fit", "refined"}),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", KEYS)
def test_a_key_changes_with_what_its_value_depends_on_and_with_nothing_else(
    plane: Plane, name: str, change: str
) -> None:
    options, affected = CHANGES[change]
    key = KEYS[name]
    assert (key(changed(plane, **options)) != key(plane)) == (name in affected)


@pytest.mark.parametrize("name", KEYS)
def test_equal_tasks_have_equal_keys(plane: Plane, name: str) -> None:
    task, key = plane.task, KEYS[name]
    again = Plane(replace(task, replacements=tuple(replace(layer) for layer in task.replacements)), replace(plane.grid))
    assert again is not plane
    assert key(again) == key(plane)
    assert hash(key(again)) == hash(key(plane))


@pytest.mark.parametrize("name", KEYS)
def test_levels_and_replacements_have_keys_of_their_own(plane: Plane, name: str) -> None:
    coarse = Plane(plane.task, Grid(plane.factor * 3, 50, 34, side=512))
    others = Plane(replace(plane.task, replacements=plane.task.replacements[1:]), plane.grid)
    assert len({KEYS[name](p) for p in (plane, coarse, others)}) == 3


def test_keys_of_different_kinds_differ_though_their_parts_are_equal(plane: Plane) -> None:
    parts = (plane.target, "model", plane.grid, (0, 0))
    kept = {
        WindowKey(*parts): 1,
        BlendedKey(plane.target, "model", 15, plane.grid, (0, 0), glanced=False): 2,
        SceneKey.of(plane, 1): 3,
        ShiftKey.of(plane, 1): 4,
    }
    assert list(kept.values()) == [1, 2, 3, 4]


def test_replacements_count_from_one(plane: Plane) -> None:
    assert [plane.replacement(k) for k in plane.task.indexes] == list(plane.task.replacements)
    assert plane.task.indexes[0] == 1
    for k in plane.task.indexes:
        assert plane.replacement_clouds(k).layer == plane.task.replacements[k - 1]


def test_few_replacements_refine_the_mask_and_none_that_is_not_refined(plane: Plane) -> None:
    assert list(plane.helpers) == list(plane.task.indexes)[:MOST_HELPERS]
    assert plane.refinement_reach > 0
    unrefined = changed(plane, refine=False)
    assert (list(unrefined.helpers), unrefined.refinement_reach) == ([], 0)


def test_blocks_cover_the_scene_once(plane: Plane) -> None:
    seen = np.zeros(plane.shape, int)
    whole = Box(0, plane.grid.rows, 0, plane.grid.cols)
    for number in plane.blocks(whole, in_pixels=True):
        seen[plane.block(number, in_pixels=True).within(whole)] += 1
    assert (seen == 1).all()


@pytest.mark.parametrize("buffer", [0, 1, 15])
def test_lengths_of_a_native_plane_and_of_the_level_of_its_masks(plane: Plane, buffer: int) -> None:
    task = replace(plane.task, buffer=buffer)
    native = Plane(task, Grid(factor=1, rows=300, cols=200, masks=plane.grid))
    level = native.masks
    assert level == Plane(task, plane.grid)
    assert level.masks is level
    assert native.mask_cells(Box(1, 3, 2, 4)) == Box(0, 2, 1, 2)
    assert (native.buffer, level.buffer) == (buffer_cells(buffer, 1), buffer_cells(buffer, plane.factor))
    assert not native.pixelwise
    assert level.pixelwise
    assert native.rim == 1 < level.rim


def test_the_coarse_level_neither_moves_dates_nor_corrects_pixels(plane: Plane) -> None:
    coarse = Plane(plane.task, Grid(plane.factor, *plane.shape, side=512))
    assert (plane.moved, plane.pixelwise) == (True, True)
    assert (coarse.moved, coarse.pixelwise) == (False, False)
    assert not changed(plane, residual=False).pixelwise


def test_farther_with_a_wider_window_or_buffer(plane: Plane) -> None:
    huge = Plane(plane.task, replace(plane.grid, rows=10_000, cols=10_000))
    box = Box(5000, 5001, 5000, 5001)
    near, wide, buffered = (p.farthest(box) for p in (huge, changed(huge, window=400), changed(huge, buffer=15)))
    for far in (wide, buffered):
        assert far.intersection(near) == near != far
    assert huge.farthest(Box(0, 10_000, 0, 10_000)) == Box(0, 10_000, 0, 10_000)
