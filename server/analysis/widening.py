"""What wide windows hold around what is to be filled, where narrow ones hold too little clear ground."""

from __future__ import annotations

from functools import partial
from typing import Final

import numpy as np
import numpy.typing as npt

from algorithms.cells import stacked_cells
from algorithms.fill import padded
from algorithms.moments import NodeLattice, WiderMeans, lacking, pool
from algorithms.scene import SceneFit
from algorithms.wide import WIDE_LEVELS, WIDE_TIMES, WideGround, wide_lattice, wide_nodes, wide_sums, wider_means
from server.analysis.extents import extent_of
from server.analysis.keys import WideSumsKey
from server.analysis.plane import Plane
from server.analysis.task import ReplacementIndex
from server.raster.announcing import announce
from server.raster.cache import RasterCache
from server.raster.grid import BlockNumber, Box, wide_grid
from server.work.cache import TileCache

BLOCK_NODES: Final = 16
"""Nodes per side of a block: 64 cells of 60 m in most cases."""

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]


class Widening:
    """Looks at wide windows, which take no inference."""

    def __init__(self, rasters: RasterCache, cache: TileCache) -> None:
        self._rasters = rasters
        self._cache = cache

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
            self._sums(plane, k, scene, wide, box.parts(wide.spacing)),
            scene,
            wide,
            rows=range(rows.start - first[0], rows.stop - first[0]),
            cols=range(cols.start - first[1], cols.stop - first[1]),
            corner=(WIDE_TIMES * box.top - extent.top, WIDE_TIMES * box.left - extent.left),
            adjustment=plane.task.options.adjustment,
        )

    def _sums(self, plane: Plane, k: ReplacementIndex, scene: SceneFit, wide: NodeLattice, nodes: Box) -> Floats:
        """(1 + C, h, w) sums of some nodes, kept block by block, since the windows of neighbours overlap by most."""
        found: Floats | None = None
        for number in nodes.blocks(BLOCK_NODES):
            compute = partial(self._block, plane, k, scene, wide, number)
            block = self._cache.get(WideSumsKey(plane, k, number), compute)
            top, left = (BLOCK_NODES * n for n in number)
            covered = Box(top, top + block.shape[1], left, left + block.shape[2])
            cut = covered.intersection(nodes)
            found = np.empty((len(block), *nodes.shape)) if found is None else found
            found[(slice(None), *cut.within(nodes))] = block[(slice(None), *cut.within(covered))]
        assert found is not None  # noqa: S101  (there is a node in every box)
        return found

    def _block(
        self, plane: Plane, k: ReplacementIndex, scene: SceneFit, wide: NodeLattice, number: BlockNumber
    ) -> Floats:
        grid = wide_grid(plane.grid)
        box = grid.block(number, BLOCK_NODES * wide.spacing)
        layers = [plane.target, *map(plane.replacement, plane.task.members(k))]
        for layer in layers:
            announce(self._rasters.sources, layer, grid, [box])
        target, *others = (self._rasters.cells(layer, grid, box) for layer in layers)
        ground = WideGround(target, stacked_cells(others))
        return wide_sums(ground, scene, wide, adjustment=plane.task.options.adjustment)
