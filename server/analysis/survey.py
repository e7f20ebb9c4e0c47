"""What several blocks look at, looked at once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial, reduce
from typing import Final

import numpy as np

from algorithms.masks import dilate
from algorithms.moments import node_lattice
from server.analysis.extents import fill_region, narrow_extent, rim_cells, wider_extent
from server.analysis.pairs import Pair, Pairs, joined_rows
from server.analysis.task import Task
from server.raster.cache import RasterCache
from server.raster.grid import Box, Grid
from server.work.pool import FairPool

SURVEY_CELLS: Final = 3 << 17
"""Cells at most of the blocks of a survey, which looks at about twice as many: 40 MB with six bands."""


@dataclass(frozen=True, slots=True)
class Survey:
    """The target and the first replacement over the ground that the fills of neighbouring blocks look at."""

    extent: Box
    """Where."""
    pair: Pair
    """What."""

    def covers(self, number: int, box: Box) -> bool:
        """Whether it tells of a box in the `number`-th replacement (from 0)."""
        return number == 0 and self.extent.intersection(box) == box


class Surveyor:
    """Makes surveys; keeps nothing."""

    def __init__(self, rasters: RasterCache, pairs: Pairs, pool: FairPool, threads: int) -> None:
        self._rasters = rasters
        self._pairs = pairs
        self._pool = pool
        self._threads = threads

    def survey(self, task: Task, grid: Grid, cores: list[Box]) -> Survey | None:
        """A survey for the fills of boxes; None where each had better look for itself."""
        if len(cores) < 2 or not task.replacements:
            return None
        rims = [core.pad(rim_cells(task, grid)).clip(grid.shape) for core in cores]
        around = reduce(Box.union, rims)
        if around.area >= SURVEY_CELLS:
            return None
        cloud = self._pairs.masked(task, grid, around) & self._rasters.valid(task.target, grid, around)
        found = (fill_region(cloud[rim.within(around)], core, rim, grid) for core, rim in zip(cores, rims, strict=True))
        regions = [region for region in found if region is not None]
        if len(regions) < 2:
            return None
        lattice = node_lattice(task.options.window, grid.factor)
        extents = [narrow_extent(region, lattice, grid) for region in regions]
        extent, levels = reduce(Box.union, extents), 1
        if extent.area >= sum(e.area for e in extents):
            return None
        pair = self._looked_at(task, grid, extent)
        while True:
            near = np.zeros(extent.shape, bool)
            for region in regions:
                at = region.within(extent)
                near[at] |= dilate(pair.open[at], 1)
            wider = wider_extent(extent, pair.clear, near, lattice, grid, levels=levels)
            if wider is None:
                return Survey(extent, pair)
            extent, levels = wider, levels + 1
            del pair  # or both would be in memory
            pair = self._looked_at(task, grid, extent)

    def _looked_at(self, task: Task, grid: Grid, extent: Box) -> Pair:
        """Both dates over an extent, a band of rows per worker: the same bit for bit."""
        self._pairs.prefetch(task, 0, grid, extent)
        step = -(-extent.shape[0] // self._threads)
        bands = [
            Box(top, min(top + step, extent.bottom), extent.left, extent.right)
            for top in range(extent.top, extent.bottom, step)
        ]
        return joined_rows(self._pool.run([partial(self._pairs.pair, task, 0, grid, band) for band in bands]))
