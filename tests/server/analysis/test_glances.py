"""Windows of replacements that a look at 60 m finds clear are not inferred; the clouds found are the same."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from algorithms.options import CloudOptions
from algorithms.windows import window_count
from server.analysis.engine import Analysis
from server.analysis.plane import LayerClouds, Plane
from server.analysis.request import Request
from server.analysis.tasking import make_task
from server.raster.grid import Box, coarse_grid, fine_grid
from tests.helpers.scenes import make_pair, write_raster
from tests.helpers.service import sources_by

BRIGHT = 0.9
"""Reflectance of cloud, for a network that goes by it."""
SPOT = np.s_[:, 40:52, 1060:1078]
"""A small cloud, in one window at 20 m."""


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Plane:
    """Three by three windows at 20 m, one at 60 m; the replacement has one small cloud."""
    folder, part = tmp_path_factory.mktemp("glances"), make_pair(size=(275, 275), bands=6)
    files = []
    for name in ("target", "replacement"):
        values = np.tile(part.replacement, (1, 4, 4))
        values[SPOT] = 9500
        files.append(write_raster(folder / f"{name}.tif", values))
    task = make_task(Request(files[0], (files[1],)), sources_by(""), CloudOptions())
    return Plane(task, fine_grid(task.target.dataset))


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Sizes of the windows that a network by brightness has looked at."""
    made: list[tuple[int, ...]] = []

    def by_brightness(
        reflectance: npt.NDArray[np.float32], valid: npt.NDArray[np.bool_], *_: Any
    ) -> npt.NDArray[np.uint8]:
        made.append(valid.shape)
        found = np.zeros((2, 256, 256), np.uint8)
        found[0, : valid.shape[0], : valid.shape[1]] = 255 * (reflectance[0] > BRIGHT / 2)
        return found

    monkeypatch.setattr("server.analysis.inference.window_probabilities", by_brightness)
    return made


def everywhere(analysis: Analysis, clouds: LayerClouds) -> np.ndarray:
    """Classes over the scene."""
    rows, cols = clouds.grid.shape
    return analysis.masks.tile(clouds, Box(0, rows, 0, cols)).classes


def test_only_what_a_glance_leaves_open_is_inferred(
    plane: Plane, analysis: Analysis, looks: list[tuple[int, ...]]
) -> None:
    windows = window_count(plane.shape[0]) * window_count(plane.shape[1])
    assert windows == 9
    found = everywhere(analysis, plane.replacement_clouds(1))
    assert len(looks) == 2  # the glance, and the window with the cloud
    assert (found == 1).any()
    looks.clear()
    np.testing.assert_array_equal(everywhere(analysis, plane.target_clouds), found)
    assert len(looks) == windows  # a target is looked at as closely as can be


def test_glances_are_the_coarse_levels_own_looks(
    plane: Plane, analysis: Analysis, looks: list[tuple[int, ...]]
) -> None:
    everywhere(analysis, plane.replacement_clouds(1))
    looks.clear()
    coarse = Plane(plane.task, coarse_grid(plane.target.dataset))
    assert (everywhere(analysis, coarse.replacement_clouds(1)) == 1).any()
    assert looks == []


@pytest.mark.parametrize("first", [Box(0, 60, 490, 550), Box(200, 300, 0, 100)])
def test_classes_do_not_depend_on_where_one_looks_first(
    plane: Plane, analysis: Analysis, looks: list[tuple[int, ...]], first: Box
) -> None:
    clouds = plane.replacement_clouds(1)
    part = analysis.masks.tile(clouds, first).classes
    np.testing.assert_array_equal(
        part, everywhere(analysis, clouds)[first.top : first.bottom, first.left : first.right]
    )
    assert looks
