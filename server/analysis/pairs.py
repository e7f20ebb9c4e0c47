"""Both dates of a task over a box of cells: values, what is to be filled, what is clear; and the scene stage."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from algorithms.cells import Cells, on_pixels
from algorithms.masks import buffer_cells, dilate
from algorithms.sample import in_a_row
from algorithms.scene import SceneFit, fit_scene
from algorithms.shift import MOVED_FACTORS, NONE, Shift, estimate_shift, shift_patches
from server.analysis.masks import Masks, MaskTile, counted, spread
from server.analysis.refinement import Refinement, sample_boxes
from server.analysis.task import Task
from server.raster.cache import RasterCache
from server.raster.grid import BLOCK_CELLS, Box, Grid
from server.raster.layer import Layer
from server.raster.reading import read_pixels
from server.work.cache import TileCache
from server.work.pool import FairPool


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

    @property
    def open(self) -> npt.NDArray[np.bool_]:
        """(h, w), cells of the target to fill that the replacement can fill."""
        return self.masked & self.target.valid & self.other.valid & ~self.hidden

    def cut(self, place: tuple[slice, slice]) -> Pair:
        """The part of it in a place."""
        return Pair(self.target.cut(place), self.other.cut(place), self.masked[place], self.hidden[place])


def joined_rows(bands: list[Pair]) -> Pair:
    """What bands of rows show, one below the other."""

    def joined(*parts: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return np.concatenate(parts, axis=-2)

    def cells(parts: list[Cells]) -> Cells:
        return Cells(*(joined(*(getattr(part, name) for part in parts)) for name in ("values", "valid", "full")))

    return Pair(
        cells([band.target for band in bands]),
        cells([band.other for band in bands]),
        joined(*(band.masked for band in bands)),
        joined(*(band.hidden for band in bands)),
    )


class Pairs:
    """What both dates show, from cached cells and masks."""

    def __init__(
        self, rasters: RasterCache, masks: Masks, refinement: Refinement, cache: TileCache, pool: FairPool
    ) -> None:
        self._rasters = rasters
        self._masks = masks
        self._refinement = refinement
        self._cache = cache
        self._pool = pool

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

    def prefetch(self, task: Task, number: int, grid: Grid, box: Box) -> None:
        """Infer all that `pair` takes, side by side."""
        self._prefetch_pair(task, task.replacements[number], grid, [box])

    def pair(self, task: Task, number: int, grid: Grid, box: Box) -> Pair:
        """The target and the `number`-th replacement (from 0) over a box."""
        return self._pair(task, number, grid, box, self.shift(task, number, grid))

    def _pair(self, task: Task, number: int, grid: Grid, box: Box, moved_by: Shift) -> Pair:
        replacement = task.replacements[number]
        self._prefetch_pair(task, replacement, grid, [box])
        masked = self.masked(task, grid, box)
        hidden = self.hidden(task, replacement, grid, box)
        other = self._rasters.cells(replacement, grid, box, moved_by)
        return Pair(self._rasters.cells(task.target, grid, box), other, masked, hidden)

    def shift(self, task: Task, number: int, grid: Grid) -> Shift:
        """By how many native pixels the `number`-th replacement is moved; not at all on the coarse level."""
        level = grid.masks or grid
        if level.factor not in MOVED_FACTORS or level.side != BLOCK_CELLS:
            return NONE
        replacement = task.replacements[number]

        def compute() -> Shift:
            patches = [Box(y.start, y.stop, x.start, x.stop) for y, x in shift_patches(level.shape, level.factor)]
            boxes = [patch.parts(level.factor) for patch in patches]
            self._prefetch_pair(task, replacement, level, boxes)
            jobs = [
                partial(read_pixels, layer, patch.clip(task.target.dataset.shape))
                for patch in patches
                for layer in (task.target, replacement)
            ]
            pixels = self._pool.run(jobs)
            clear = [
                on_pixels(self._pair(task, number, level, box, NONE).clear, level.factor, target.valid.shape)
                for box, target in zip(boxes, pixels[::2], strict=True)
            ]
            return estimate_shift(
                [(t.clean, r.clean, c) for t, r, c in zip(pixels[::2], pixels[1::2], clear, strict=True)]
            )

        return self._cache.get(("shift", *self._clearness(task, replacement), level), compute)

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

        def compute() -> SceneFit:
            boxes = sample_boxes(grid)
            self._prefetch_pair(task, replacement, grid, boxes)
            pairs = [self.pair(task, number, grid, box) for box in boxes]
            return fit_scene(
                in_a_row([pair.target.values for pair in pairs]),
                in_a_row([pair.other.values for pair in pairs]),
                in_a_row([pair.clear for pair in pairs]),
            )

        key = ("scene", *self._clearness(task, replacement), grid)
        return self._cache.get(key, compute)

    @staticmethod
    def _clearness(task: Task, replacement: Layer) -> tuple[object, ...]:
        """All that decides which cells are clear in both dates."""
        helpers = task.replacements if task.refine else ()
        return task.target, replacement, task.clouds, task.replacement_clouds, task.buffer, helpers
