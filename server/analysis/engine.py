"""Cached adjustment tiles: from masks and cells to the fill of each block of the analysis grid."""

from __future__ import annotations

from functools import partial
from typing import Final

from algorithms.masks import buffer_cells
from server.analysis.ahead import Ahead, Visit
from server.analysis.blocks import BlockFill, reduce_fill
from server.analysis.extents import rim_cells
from server.analysis.filling import Filling
from server.analysis.masks import Masks
from server.analysis.pairs import Pairs
from server.analysis.refinement import Refinement
from server.analysis.survey import Survey, Surveyor
from server.analysis.task import Task
from server.raster.cache import RasterCache
from server.raster.grid import BLOCK_CELLS, Box, Grid
from server.remote.files import is_remote
from server.work.cache import TileCache
from server.work.pool import FairPool
from server.work.trace import stage

RASTER_SHARE: Final = 1 / 3
"""Share of the memory for caches that goes to what is read of the rasters."""
CHUNK_BLOCKS: Final = 8
"""Blocks per worker that a large image prepares at a time, so that what they share is still in the cache."""
SQUARE_BLOCKS: Final = 4
"""Blocks per side of the squares that a whole scene is computed in."""


class Analysis:
    """Mask and adjustment tiles of any task, each computed once however many requests arrive at once."""

    def __init__(
        self, *, cache_bytes: int, threads: int, ahead: bool = False, raster_share: float = RASTER_SHARE
    ) -> None:
        raster_bytes = int(cache_bytes * raster_share)
        self._cache = TileCache(cache_bytes - raster_bytes)
        self._threads = threads
        self._pool = FairPool(threads)
        # Cells are many and quick to read again: they must not drive out what took inference.
        self.rasters = RasterCache(TileCache(raster_bytes))
        self.masks = Masks(self.rasters, self._cache, self._pool)
        self._refinement = Refinement(self.rasters, self.masks, self._cache, self._pool)
        self.pairs = Pairs(self.rasters, self.masks, self._refinement, self._cache, self._pool)
        self._surveyor = Surveyor(self.rasters, self.pairs, self._pool, threads)
        self._filling = Filling(self.rasters, self.pairs)
        self._ahead = Ahead(self._missing, lambda view, n: self.blocks(view.task, view.grid, [n])) if ahead else None

    @property
    def cache(self) -> TileCache:
        """The cache of everything computed."""
        return self._cache

    def close(self) -> None:
        """Stop the threads."""
        if self._ahead is not None:
            self._ahead.close()
        self._pool.close()

    def seen(self, task: Task, grid: Grid, box: Box) -> None:
        """Note a view that shows single cells of the fine level: somebody may go on to what lies beside it.

        Remote rasters are not read for what nobody asked for.
        """
        layers = (task.target, *task.replacements)
        if self._ahead is not None and grid.side == BLOCK_CELLS and not any(is_remote(x.dataset.url) for x in layers):
            self._ahead.seen(Visit(task, grid, box))

    def _missing(self, view: Visit, number: tuple[int, int]) -> bool:
        return not self._cache.peek(self._reduced_key(view.task, view.grid, number, 0))

    def blocks(
        self, task: Task, grid: Grid, numbers: list[tuple[int, int]], *, power: int = 0
    ) -> dict[tuple[int, int], BlockFill]:
        """The fill of several blocks, with squares of 2^`power` cells reduced to one.

        Worked off in chunks, so that an image over any number of blocks takes no more memory than the reduced result.
        """
        missing = [n for n in numbers if not self._cache.peek(self._reduced_key(task, grid, n, power))]
        step = CHUNK_BLOCKS * self._threads
        for start in range(0, len(missing), step):
            chunk = missing[start : start + step]
            self._prepare(task, grid, chunk)
            with stage("adjust"):
                unfilled = [n for n in chunk if not self._cache.peek(self._reduced_key(task, grid, n, 0))]
                survey = self._surveyor.survey(task, grid, [grid.block(n, grid.side) for n in unfilled])
                self._pool.run([partial(self._reduced, task, grid, n, power, survey) for n in chunk])
        with stage("adjust" if missing else "mask"):
            return {n: self._reduced(task, grid, n, power) for n in numbers}

    @staticmethod
    def _reduced_key(task: Task, grid: Grid, number: tuple[int, int], power: int) -> tuple[object, ...]:
        return ("fill", task, grid, number, power)

    def _reduced(
        self, task: Task, grid: Grid, number: tuple[int, int], power: int, survey: Survey | None = None
    ) -> BlockFill:
        core = grid.block(number, grid.side)

        def compute() -> BlockFill:
            if power == 0:
                return self._filling.block(task, grid, self._filling.fill(task, grid, core, survey), core)
            # The whole fill of a block weighs many times what is seen of it from afar. At the coarse level every zoom
            # asks for the same few blocks; at the fine one it is not kept for that.
            if grid.side > BLOCK_CELLS or self._cache.peek(self._reduced_key(task, grid, number, 0)):
                return reduce_fill(self._reduced(task, grid, number, 0, survey), core, power)
            filled = self._filling.fill(task, grid, core, survey)
            return reduce_fill(self._filling.block(task, grid, filled, core, in_pixels=False), core, power)

        return self._cache.get(self._reduced_key(task, grid, number, power), compute)

    def _prepare(self, task: Task, grid: Grid, numbers: list[tuple[int, int]]) -> None:
        """Do in the request's own thread what would keep the workers waiting for each other."""
        level = grid.masks or grid
        self.announce(task, grid, numbers)
        radius = rim_cells(task, grid) + buffer_cells(task.buffer, level.factor)
        boxes = [grid.mask_cells(grid.block(n, grid.side))[1].pad(radius).clip(level.shape) for n in numbers]
        with stage("mask"):
            self.masks.prefetch(level, [(task.target, task.clouds, box) for box in boxes])
            if task.refine:
                self._refinement.prefetch(task, level, boxes)
        with stage("adjust"):
            if task.replacements and any(
                self.pairs.masked(task, grid, grid.block(n, grid.side)).any() for n in numbers
            ):
                self.pairs.scene(task, 0, grid)

    def announce(self, task: Task, grid: Grid, numbers: list[tuple[int, int]]) -> None:
        """Tell which blocks will be asked for, so that their pixels are read with their cells."""
        self._filling.announce(task, grid, [grid.block(n, grid.side) for n in numbers])

    def squares(self, task: Task, grid: Grid, numbers: list[tuple[int, int]]) -> None:
        """Compute the fills of blocks, and of those beside them, in squares of `SQUARE_BLOCKS`, and keep them.

        Whoever wants a whole scene saves most of what blocks read around themselves; the values are the same but for
        rounding.
        """
        missing = [n for n in numbers if not self._cache.peek(self._reduced_key(task, grid, n, 0))]
        wanted = sorted({(i // SQUARE_BLOCKS, j // SQUARE_BLOCKS) for i, j in missing})
        cores = [grid.block(number, SQUARE_BLOCKS * grid.side) for number in wanted]
        self._prepare(task, grid, [n for core in cores for n in core.blocks(grid.side)])
        self._pool.run([partial(self._square, task, grid, core) for core in cores])

    def _square(self, task: Task, grid: Grid, core: Box) -> None:
        filled = self._filling.fill(task, grid, core)
        for number in core.blocks(grid.side):
            block = partial(self._filling.block, task, grid, filled, grid.block(number, grid.side))
            self._cache.get(self._reduced_key(task, grid, number, 0), block)
