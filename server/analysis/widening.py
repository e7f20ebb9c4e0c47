"""What wide windows hold around what is to be filled, where narrow ones hold too little clear ground."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from algorithms.cells import stacked_cells
from algorithms.fill import padded
from algorithms.moments import WiderMeans, lacking, pool
from algorithms.scene import SceneFit
from algorithms.wide import WIDE_LEVELS, WIDE_TIMES, WideGround, wide_lattice, wide_nodes, wider_means
from server.analysis.extents import extent_of
from server.analysis.plane import Plane
from server.analysis.task import ReplacementIndex
from server.raster.announcing import announce
from server.raster.cache import RasterCache
from server.raster.grid import Box, wide_grid

Bools = npt.NDArray[np.bool_]


class Widening:
    """Looks at wide windows, which take no inference; keeps nothing."""

    def __init__(self, rasters: RasterCache) -> None:
        self._rasters = rasters

    def means(
        self, plane: Plane, k: ReplacementIndex, scene: SceneFit, extent: Box, *, clear: Bools, near: Bools
    ) -> WiderMeans | None:
        """What wide windows hold; None where all windows near what is to be filled hold enough clear ground.

        Args:
            plane: what to analyse.
            k: which replacement.
            scene: its scene stage.
            extent: the cells that narrow windows can touch, from a node on.
            clear: (h, w), clear ground in it.
            near: (h, w), cells to fill and those next to them.
        """
        lattice = plane.lattice
        counts, marked = (pool(padded(a.astype(np.float32), lattice.spacing), lattice.spacing) for a in (clear, near))
        short = lacking(counts, lattice, near=marked > 0)
        if not short.any():
            return None
        cells = extent_of(short, extent.parts(lattice.spacing)).times(lattice.spacing).clip(plane.shape)
        grid, wide = wide_grid(plane.grid), wide_lattice(plane.task.options.window, plane.factor)
        rows, cols = (
            wide_nodes(range(*side), wide, length)
            for side, length in zip(((cells.top, cells.bottom), (cells.left, cells.right)), grid.shape, strict=True)
        )
        down, across = (wide.ground(nodes, level=WIDE_LEVELS - 1) for nodes in (rows, cols))
        box = Box(down.start, down.stop, across.start, across.stop).clip(grid.shape)
        box = box.align(wide.alignment(WIDE_LEVELS)).clip(grid.shape)
        first = box.top // wide.spacing, box.left // wide.spacing
        return wider_means(
            self._ground(Plane(plane.task, grid), k, box),
            scene,
            wide,
            rows=range(rows.start - first[0], rows.stop - first[0]),
            cols=range(cols.start - first[1], cols.stop - first[1]),
            corner=(WIDE_TIMES * box.top - extent.top, WIDE_TIMES * box.left - extent.left),
            adjustment=plane.task.options.adjustment,
        )

    def _ground(self, level: Plane, k: ReplacementIndex, box: Box) -> WideGround:
        """Both dates over a box of large cells."""
        layers = [level.target, *map(level.replacement, level.task.members(k))]
        for layer in layers:
            announce(self._rasters.sources, layer, level.grid, [box])
        target, *others = (self._rasters.cells(layer, level.grid, box) for layer in layers)
        return WideGround(target, stacked_cells(others))
