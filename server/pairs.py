"""Both dates of a task over a box of cells: values, what is to be filled, what is clear; and the scene stage."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from algorithms.cells import Cells
from algorithms.reclassify import buffer_cells, dilate
from algorithms.sample import in_a_row
from algorithms.scene import SceneFit, fit_scene
from server.cache import TileCache
from server.grid import Box, Grid
from server.layers import Layer, Task
from server.masks import Masks, MaskTile, counted, spread
from server.refinement import Refinement, sample_boxes


@dataclass(frozen=True, slots=True)
class _Scene:
    """A scene fit that the cache can hold."""

    fit: SceneFit
    nbytes: int = 4096


@dataclass(frozen=True, slots=True)
class Pair:
    """Both dates over a box of cells."""

    target: Cells
    """The target."""
    other: Cells
    """The replacement."""
    masked: npt.NDArray[np.bool_]
    """(h, w), cloud of the target with its buffer."""
    hidden: npt.NDArray[np.bool_]
    """(h, w), cloud of the replacement with its buffer."""

    @property
    def clear(self) -> npt.NDArray[np.bool_]:
        """(h, w), clear and whole in both."""
        return self.target.full & self.other.full & ~self.masked & ~self.hidden

    def cut(self, place: tuple[slice, slice]) -> Pair:
        """The part of it in a place."""
        return Pair(self.target.cut(place), self.other.cut(place), self.masked[place], self.hidden[place])


class Pairs:
    """What both dates show, from cached cells and masks."""

    def __init__(self, masks: Masks, refinement: Refinement, cache: TileCache) -> None:
        self._masks = masks
        self._refinement = refinement
        self._cache = cache

    def masked(self, task: Task, grid: Grid, box: Box) -> npt.NDArray[np.bool_]:
        """Cells of a box to be filled: cloud with its buffer."""

        def cloudy(level: Grid, inner: Box) -> npt.NDArray[np.bool_]:
            radius = buffer_cells(task.buffer, level.factor)
            wide = inner.pad(radius).clip(level.shape)
            made = self._refinement.tile(task, level, wide) if task.refine else self._model_tile(task, level, wide)
            return dilate(counted(made.classes, task.clouds), radius)[inner.within(wide)]

        return spread(grid, box, cloudy)

    def classes(self, task: Task, grid: Grid, box: Box) -> npt.NDArray[np.uint8]:
        """Classes of the target over a box inside the scene, refined where the task says so."""
        if task.refine:
            return self._refinement.classes(task, grid, box)
        return self._model_tile(task, grid, box).classes

    def _model_tile(self, task: Task, grid: Grid, box: Box) -> MaskTile:
        return self._masks.tile(task.target, task.clouds, grid, box)

    def pair(self, task: Task, replacement: Layer, grid: Grid, box: Box) -> Pair:
        """Both dates over a box."""
        self._prefetch_pair(task, replacement, grid, [box])
        masked = self.masked(task, grid, box)
        return Pair(
            self._masks.cells(task.target, grid, box),
            self._masks.cells(replacement, grid, box),
            masked,
            self.hidden(task, replacement, grid, box),
        )

    def _prefetch_pair(self, task: Task, replacement: Layer, grid: Grid, boxes: list[Box]) -> None:
        """Run the networks for both dates at once."""
        level = grid.masks or grid
        wide = [grid.mask_cells(box)[1].pad(buffer_cells(task.buffer, level.factor)) for box in boxes]
        if task.refine:
            self._refinement.prefetch(task, level, wide)
        self._masks.prefetch(
            level,
            [(task.target, task.clouds, box) for box in wide]
            + [(replacement, task.replacement_clouds, box) for box in wide],
        )

    def hidden(
        self, task: Task, replacement: Layer, grid: Grid, box: Box, *, doubtful: bool = False
    ) -> npt.NDArray[np.bool_]:
        """Cells that are cloud in a replacement with the buffer around them; only those beyond doubt if `doubtful`."""
        judge = self._masks.certain if doubtful else self._masks.cloudy

        def judged(level: Grid, inner: Box) -> npt.NDArray[np.bool_]:
            return judge(replacement, task.replacement_clouds, level, inner, buffer_cells(task.buffer, level.factor))

        return spread(grid, box, judged)

    def scene(self, task: Task, number: int, grid: Grid) -> SceneFit:
        """The scene stage of the `number`-th replacement (from 0): the same whichever tile asks first."""
        replacement = task.replacements[number]

        def compute() -> _Scene:
            boxes = sample_boxes(grid)
            self._prefetch_pair(task, replacement, grid, boxes)
            pairs = [self.pair(task, replacement, grid, box) for box in boxes]
            return _Scene(
                fit_scene(
                    in_a_row([pair.target.values for pair in pairs]),
                    in_a_row([pair.other.values for pair in pairs]),
                    in_a_row([pair.clear for pair in pairs]),
                )
            )

        key = ("scene", *self._clearness(task, replacement), grid)
        return self._cache.get(key, compute).fit

    @staticmethod
    def _clearness(task: Task, replacement: Layer) -> tuple[object, ...]:
        """All that decides which cells are clear in both dates."""
        helpers = task.replacements if task.refine else ()
        return task.target, replacement, task.clouds, task.replacement_clouds, task.buffer, helpers
