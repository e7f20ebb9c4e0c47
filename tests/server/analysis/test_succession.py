"""One replacement after the other: a box of cells has the same fill whichever box is computed."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from algorithms.cells import Cells, cell_means, stacked_cells
from algorithms.narrow import with_narrow
from algorithms.options import CloudOptions
from algorithms.scene import SceneFit, fit_scene
from server.analysis.filled import FilledBox
from server.analysis.filling import Filling
from server.analysis.pairs import Pair
from server.analysis.plane import Plane
from server.analysis.request import Request
from server.analysis.task import Task
from server.analysis.tasking import make_task
from server.raster.grid import Box, Grid
from server.raster.layer import Layer
from server.work.cache import TileCache
from tests.helpers.scenes import smooth_noise, write_mask, write_raster
from tests.helpers.service import sources_by

FACTOR: Final = 8
"""Native pixels per cell, so that a residual reaches 10 cells."""
SHAPE: Final = (60, 96)
WHOLE: Final = Box(0, SHAPE[0], 0, SHAPE[1])
BOXES: Final = [Box(i, i + 20, j, j + 24) for i in range(0, SHAPE[0], 20) for j in range(1, SHAPE[1] - 23, 23)]
CASES: Final[list[tuple[int, Any]]] = [
    (1, "regression"),
    (2, "regression"),
    (2, "joint"),
    (3, "regression"),
    (3, "joint"),
]


@dataclass
class Dates:
    """Cells and masks as they are given, in place of rasters and networks."""

    target: Cells
    others: list[Cells]
    cloud: np.ndarray
    hidden: list[np.ndarray]
    """Cloud of each replacement."""
    certain: list[np.ndarray]
    """What of it is beyond doubt."""
    fits: dict[int, SceneFit] = field(default_factory=dict)
    """Made once."""
    sources: Any = None

    def cells(self, layer: Layer, grid: Grid, box: Box) -> Cells:
        """The larger cells of wide windows."""
        names = ["target", "first", "second", "third"]
        date = [self.target, *self.others][names.index(Path(layer.dataset.url).stem)]
        larger = cell_means(date.values, date.valid, grid.factor // FACTOR)
        return larger.cut(box.within(Box(0, grid.rows, 0, grid.cols)))

    def data(self, _layer: object, _grid: Grid, box: Box) -> np.ndarray:
        return np.full(box.shape, 2, np.uint8)

    def masked(self, _plane: Plane, box: Box) -> np.ndarray:
        return self.cloud[box.within(WHOLE)]

    def certainly_hidden(self, _plane: Plane, k: int, box: Box) -> np.ndarray:
        return self.certain[k - 1][box.within(WHOLE)]

    def pair(self, plane: Plane, k: int, box: Box) -> Pair:
        members = [n - 1 for n in plane.task.members(k)]
        hidden = np.logical_or.reduce([self.hidden[n] for n in members])
        others = stacked_cells([self.others[n] for n in members])
        return Pair(self.target, others, self.cloud, hidden).cut(box.within(WHOLE))

    def scene(self, plane: Plane, k: int) -> SceneFit:
        if k not in self.fits:
            pair = self.pair(plane, k, WHOLE)
            parts = [(pair.target.values, pair.other.values, pair.clear)]
            self.fits[k] = with_narrow(fit_scene(*parts[0]), parts, plane.factor)
        return self.fits[k]


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[int, str], Task]:
    """By number of replacements and adjustment."""
    folder: Path = tmp_path_factory.mktemp("succession")
    values = np.full((2, 8, 8), 1000, np.uint16)
    files = [write_raster(folder / f"{name}.tif", values) for name in ("target", "first", "second", "third")]
    mask = write_mask(folder / "mask.tif", values[0] > 0)
    return {
        (n, adjustment): make_task(
            Request(files[0], tuple(files[1 : n + 1]), mask, replacement_masks=("none",) * n),
            sources_by(""),
            replace(CloudOptions(), window=40, adjustment=adjustment),
        )
        for n, adjustment in CASES
    }


def blob(rng: np.random.Generator, share: float, sigma: float) -> np.ndarray:
    """Round shapes on a share of the scene."""
    noise = smooth_noise(rng, SHAPE, sigma)
    return noise > np.quantile(noise, 1 - share)


def made(seed: int, count: int, cloud: float) -> Dates:
    """Dates that differ much, in levels of their own, with clouds and holes in each."""
    rng = np.random.default_rng(seed)
    ground = smooth_noise(rng, (2, *SHAPE), 2)

    def date(whole: np.ndarray) -> Cells:
        values = 2000 + 300 * ground + 150 * smooth_noise(rng, (2, *SHAPE), 6) + rng.uniform(-300, 300)
        return Cells(np.where(whole, values, 0).astype(np.float32), whole, whole)

    hidden = [blob(rng, 0.4, 8) for _ in range(count)]
    return Dates(
        target=date(np.ones(SHAPE, bool)),
        others=[date(~blob(rng, 0.1, 5)) for _ in range(count)],
        cloud=blob(rng, cloud, 7),
        hidden=hidden,
        certain=[cells & blob(rng, 0.4, 4) for cells in hidden],
    )


def filled(plane: Plane, dates: Dates, core: Box) -> FilledBox:
    """The fill of a box."""
    stand_in = cast(Any, dates)
    return Filling(stand_in, stand_in, TileCache(1 << 24)).fill(plane, core)


def values(box: FilledBox, core: Box, dates: Dates) -> np.ndarray:
    """What stands in the cells of a box."""
    at, shown = core.within(box.rim), core.within(WHOLE)
    result = dates.target.values[(slice(None), *shown)].copy()
    for k, layer in box.layers.items():
        gain, offset = np.split(np.moveaxis(layer.fields[at], -1, 0), 2)
        mine = box.source[at] == k
        result[:, mine] = (gain * dates.others[k - 1].values[(slice(None), *shown)] + offset)[:, mine]
    return result


@pytest.mark.parametrize(("count", "adjustment"), CASES)
@given(seed=st.integers(0, 10**6), cloud=st.sampled_from([0.3, 0.6, 0.9]))
@settings(max_examples=2, deadline=None)
def test_a_box_is_that_of_the_whole(
    tasks: dict[tuple[int, str], Task], count: int, adjustment: str, seed: int, cloud: float
) -> None:
    plane, dates = Plane(tasks[count, adjustment], Grid(FACTOR, *SHAPE)), made(seed, count, cloud)
    whole = filled(plane, dates, WHOLE)
    everything = values(whole, WHOLE, dates)
    for core in BOXES:
        part, at = filled(plane, dates, core), core.within(WHOLE)
        np.testing.assert_array_equal(part.source[core.within(part.rim)], whole.source[at])
        np.testing.assert_array_equal(part.confidence[core.within(part.rim)], whole.confidence[at])
        np.testing.assert_array_equal(values(part, core, dates), everything[(slice(None), *at)])
