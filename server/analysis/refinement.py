"""Cached refined masks: the target's classes, corrected by what the replacements show of the ground."""

from __future__ import annotations

from functools import partial
from typing import Final

import numpy as np
import numpy.typing as npt

from algorithms.cells import Cells
from algorithms.refine import ENOUGH, FIT_BUFFER, LIKELY, RADIUS, fit_cells, refine_mask, trusted
from algorithms.sample import in_a_row, sample_squares
from algorithms.scene import SceneFit, fit_scene
from server.analysis.masks import Masks, MaskTile, joined
from server.analysis.task import Task
from server.raster.cache import RasterCache
from server.raster.grid import BLOCK_CELLS, Box, Grid
from server.raster.layer import Layer
from server.work.cache import TileCache
from server.work.pool import FairPool

MOST_HELPERS: Final = 2
"""Replacements that take part: each further one widens what has to be read around a block."""


def sample_boxes(grid: Grid) -> list[Box]:
    """Boxes of cells that a scene stage is fitted on."""
    squares = sample_squares(grid.shape)
    if squares is None:
        return [Box(0, grid.rows, 0, grid.cols)]
    return [Box(y.start, y.stop, x.start, x.stop) for y, x in squares]


class Refinement:
    """Refined classes of any task, computed once per block and kept with the masks."""

    def __init__(self, rasters: RasterCache, masks: Masks, cache: TileCache, pool: FairPool) -> None:
        self._rasters = rasters
        self._masks = masks
        self._cache = cache
        self._pool = pool

    @staticmethod
    def reach(task: Task) -> int:
        """Cells around a cell that its refined class can depend on."""
        return RADIUS * min(len(task.replacements), MOST_HELPERS)

    def classes(self, task: Task, grid: Grid, box: Box) -> npt.NDArray[np.uint8]:
        """Refined classes over a box inside the scene, kept block by block."""
        numbers = list(box.blocks(BLOCK_CELLS))
        missing = [n for n in numbers if not self._cache.peek(self._key(task, grid, n))]
        self.prefetch(task, grid, [grid.block(n) for n in missing])
        self._pool.run([partial(self._block, task, grid, n) for n in missing])
        return self._joined(task, grid, box).classes

    def _kept(self, task: Task, grid: Grid, box: Box) -> bool:
        """Whether all blocks under a box are there."""
        return all(self._cache.peek(self._key(task, grid, n)) for n in box.blocks(BLOCK_CELLS))

    def _joined(self, task: Task, grid: Grid, box: Box) -> MaskTile:
        return joined(box, lambda n: (grid.block(n), self._block(task, grid, n)))

    def prefetch(self, task: Task, grid: Grid, boxes: list[Box]) -> None:
        """Infer all that refining the boxes takes, and fit the scene stage it rests on."""
        wide = [box.pad(self.reach(task)).clip(grid.shape) for box in boxes if not self._kept(task, grid, box)]
        self._masks.prefetch(grid, [(task.target, task.clouds, box) for box in wide])
        doubtful = [box for box in wide if self._doubtful(task, grid, box)]
        for replacement in task.replacements[:MOST_HELPERS] if doubtful else ():
            # Fitted here rather than by whichever worker comes first, while the others stand and wait.
            self._first_fit(task, replacement, grid)
            around = [box.pad(FIT_BUFFER) for box in doubtful]
            self._masks.prefetch(grid, [(replacement, task.replacement_clouds, box) for box in around])

    def _doubtful(self, task: Task, grid: Grid, box: Box) -> bool:
        """Whether the model sees anything in a box: elsewhere nothing can be given back and nothing can join."""
        return bool((self._masks.tile(task.target, task.clouds, grid, box).probabilities >= LIKELY * 255).any())

    @staticmethod
    def _key(task: Task, grid: Grid, number: tuple[int, int]) -> tuple[object, ...]:
        helpers = task.replacements[:MOST_HELPERS]
        return ("refined", task.target, helpers, task.clouds, task.replacement_clouds, grid, number)

    def _block(self, task: Task, grid: Grid, number: tuple[int, int]) -> MaskTile:
        return self._cache.get(self._key(task, grid, number), lambda: self._refined(task, grid, grid.block(number)))

    def tile(self, task: Task, grid: Grid, box: Box) -> MaskTile:
        """Refined classes over a box inside the scene; the model's probabilities beside them.

        From the blocks if they are all there, else for just this box and not kept: the same, bit for bit.
        """
        return self._joined(task, grid, box) if self._kept(task, grid, box) else self._refined(task, grid, box)

    def _refined(self, task: Task, grid: Grid, block: Box) -> MaskTile:
        wide = block.pad(self.reach(task)).clip(grid.shape)
        core = block.within(wide)
        tile = self._masks.tile(task.target, task.clouds, grid, wide)
        classes = tile.classes
        if self._doubtful(task, grid, wide):
            covered = np.zeros(wide.shape, bool)
            for replacement in task.replacements[:MOST_HELPERS]:
                if (first := self._first_fit(task, replacement, grid)) is None:
                    continue
                target, other, usable = self._usable(task, replacement, grid, wide)
                classes = refine_mask(
                    classes,
                    tile.probabilities,
                    target.values,
                    first.estimate(first.standardise(other.values)),
                    first.noise,
                    usable & ~covered,
                    bands=task.target.dataset.names,
                )
                covered |= usable
        return MaskTile(classes[core], tile.probabilities[(slice(None), *core)])

    def _usable(
        self, task: Task, replacement: Layer, grid: Grid, box: Box
    ) -> tuple[Cells, Cells, npt.NDArray[np.bool_]]:
        """Both dates' cells, and where they can be compared and the replacement is clear."""
        clouds = task.replacement_clouds
        around = box.pad(FIT_BUFFER)
        self._masks.prefetch(grid, [(task.target, task.clouds, around), (replacement, clouds, around)])
        hidden = self._masks.cloudy(replacement, clouds, grid, box, FIT_BUFFER)
        target, other = (self._rasters.cells(layer, grid, box) for layer in (task.target, replacement))
        return target, other, target.full & other.full & ~hidden

    def _first_fit(self, task: Task, replacement: Layer, grid: Grid) -> SceneFit | None:
        """The scene stage that serves the refinement, None where it is not to be trusted.

        It rests on the model's masks and on no slider.
        """

        def compute() -> SceneFit | None:
            boxes = sample_boxes(grid)
            wide = [box.pad(2 * FIT_BUFFER) for box in boxes]
            sources = ((task.target, task.clouds), (replacement, task.replacement_clouds))
            self._masks.prefetch(grid, [(*source, box) for source in sources for box in wide])
            targets, others, clears, doubts = [], [], [], []
            for box in boxes:
                around = box.pad(FIT_BUFFER).clip(grid.shape)
                core = box.within(around)
                tile = self._masks.tile(task.target, task.clouds, grid, around)
                target, other, usable = self._usable(task, replacement, grid, around)
                clear, doubtful = fit_cells(tile.classes, tile.probabilities, usable)
                targets.append(target.values[(slice(None), *core)])
                others.append(other.values[(slice(None), *core)])
                clears.append(clear[core])
                doubts.append(doubtful[core])
            few = sum(int(clear.sum()) for clear in clears) < ENOUGH
            fit = fit_scene(
                in_a_row(targets),
                in_a_row(others),
                in_a_row(doubts if few else clears),
                bends=False,  # the refinement's limits are in units of the straight fit's noise
            )
            return fit if trusted(fit, doubtful=few) else None

        key = ("first fit", task.target, replacement, task.clouds, task.replacement_clouds, grid)
        return self._cache.get(key, compute)
