"""Cached adjustment tiles: from masks and cells to the fill of each block of the analysis grid."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
import numpy.typing as npt

from algorithms.adjust import pooled_sums
from algorithms.cells import Cells
from algorithms.fill import UNFILLED, FillFields, fill_fields, padded
from algorithms.moments import LEVELS, NodeLattice, holds_enough, node_lattice, pool
from algorithms.reclassify import buffer_cells, dilate
from algorithms.residual import residual_reach
from algorithms.sample import in_a_row
from algorithms.scene import SceneFit, fit_scene
from server.cache import TileCache
from server.grid import BLOCK, Box, Grid
from server.layers import Layer, Task
from server.masks import Masks, MaskTile, counted, spread
from server.overview import BlockFields, BlockFill, part_of, reduce_fill
from server.pool import FairPool
from server.refinement import Refinement, sample_boxes
from server.trace import stage

CELLS: Final = 3
"""One part in so many of the memory for caches goes to the rasters' cells."""
CHUNK: Final = 8
"""Blocks per worker that a large image prepares at a time, so that what they share is still in the cache."""
SQUARE: Final = 4
"""Blocks per side of the squares that a whole scene is computed in."""


@dataclass(frozen=True, slots=True)
class _Scene:
    """A scene fit that the cache can hold."""

    fit: SceneFit
    nbytes: int = 4096


@dataclass(frozen=True, slots=True)
class _Pair:
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

    def cut(self, place: tuple[slice, slice]) -> _Pair:
        """The part of it in a place."""
        return _Pair(self.target.cut(place), self.other.cut(place), self.masked[place], self.hidden[place])


@dataclass(frozen=True, slots=True)
class _Ground:
    """What is known of a region before one replacement fills it."""

    values: npt.NDArray[np.float32]
    """(B, h, w) target, with what earlier replacements filled."""
    replacement: npt.NDArray[np.float32]
    """(B, h, w)."""
    usable: npt.NDArray[np.bool_]
    """(h, w), where this replacement can be compared with the target."""
    known: npt.NDArray[np.bool_]
    """(h, w), clear ground and cells filled earlier."""
    wanted: npt.NDArray[np.bool_]
    """(h, w), cells to fill."""


class Analysis:
    """Mask and adjustment tiles of any task, each computed once however many requests arrive at once."""

    def __init__(self, *, cache_bytes: int, threads: int) -> None:
        self._cache = TileCache(cache_bytes - cache_bytes // CELLS)
        # Cells are many and quick to read again: they must not drive out what took inference.
        cells = TileCache(cache_bytes // CELLS)
        self._threads = threads
        self._pool = FairPool(threads)
        self.masks = Masks(self._cache, cells, self._pool)
        self._refinement = Refinement(self.masks, self._cache, self._pool)

    @property
    def cache(self) -> TileCache:
        """The cache of everything computed."""
        return self._cache

    def close(self) -> None:
        """Stop the threads."""
        self._pool.close()

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
        return self.masks.tile(task.target, task.clouds, grid, box)

    def _pair(self, task: Task, replacement: Layer, grid: Grid, box: Box) -> _Pair:
        """Both dates over a box."""
        self._prefetch_pair(task, replacement, grid, [box])
        masked = self.masked(task, grid, box)
        hidden = spread(grid, box, partial(self._hidden, task, replacement, self.masks.cloudy))
        return _Pair(self.masks.cells(task.target, grid, box), self.masks.cells(replacement, grid, box), masked, hidden)

    def _prefetch_pair(self, task: Task, replacement: Layer, grid: Grid, boxes: list[Box]) -> None:
        """Run the networks for both dates at once."""
        level = grid.masks or grid
        wide = [grid.mask_cells(box)[1].pad(buffer_cells(task.buffer, level.factor)) for box in boxes]
        if task.refine:
            self._refinement.prefetch(task, level, wide)
        self.masks.prefetch(
            level,
            [(task.target, task.clouds, box) for box in wide]
            + [(replacement, task.replacement_clouds, box) for box in wide],
        )

    def scene(self, task: Task, number: int, grid: Grid) -> SceneFit:
        """The scene stage of the `number`-th replacement (from 0): the same whichever tile asks first."""
        replacement = task.replacements[number]

        def compute() -> _Scene:
            boxes = sample_boxes(grid)
            self._prefetch_pair(task, replacement, grid, boxes)
            pairs = [self._pair(task, replacement, grid, box) for box in boxes]
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

    def blocks(
        self, task: Task, grid: Grid, numbers: list[tuple[int, int]], *, power: int = 0
    ) -> dict[tuple[int, int], BlockFill]:
        """The fill of several blocks, with squares of 2^`power` cells reduced to one.

        Worked off in chunks, so that an image over any number of blocks takes no more memory than the reduced result.
        """
        missing = [n for n in numbers if not self._cache.peek(self._reduced_key(task, grid, n, power))]
        step = CHUNK * self._threads
        for start in range(0, len(missing), step):
            chunk = missing[start : start + step]
            self._prepare(task, grid, chunk)
            with stage("adjust"):
                self._pool.run([partial(self._reduced, task, grid, n, power) for n in chunk])
        with stage("adjust" if missing else "mask"):
            return {n: self._reduced(task, grid, n, power) for n in numbers}

    @staticmethod
    def _reduced_key(task: Task, grid: Grid, number: tuple[int, int], power: int) -> tuple[object, ...]:
        return ("fill", task, grid, number, power)

    def _reduced(self, task: Task, grid: Grid, number: tuple[int, int], power: int) -> BlockFill:
        core = grid.block(number, grid.side)

        def compute() -> BlockFill:
            if power == 0:
                return self._compute(task, grid, core)
            # The whole fill of a block weighs many times what is seen of it from afar. At the coarse level every zoom
            # asks for the same few blocks; at the fine one it is not kept for that.
            keep = grid.side > BLOCK or self._cache.peek(self._reduced_key(task, grid, number, 0))
            whole = self._reduced(task, grid, number, 0) if keep else self._compute(task, grid, core)
            return reduce_fill(whole, core, power)

        return self._cache.get(self._reduced_key(task, grid, number, power), compute)

    def _prepare(self, task: Task, grid: Grid, numbers: list[tuple[int, int]]) -> None:
        """Do in the request's own thread what would keep the workers waiting for each other."""
        level = grid.masks or grid
        radius = 1 + buffer_cells(task.buffer, level.factor)
        boxes = [grid.mask_cells(grid.block(n, grid.side))[1].pad(radius).clip(level.shape) for n in numbers]
        with stage("mask"):
            self.masks.prefetch(level, [(task.target, task.clouds, box) for box in boxes])
            if task.refine:
                self._refinement.prefetch(task, level, boxes)
        with stage("adjust"):
            if task.replacements and any(self.masked(task, grid, grid.block(n, grid.side)).any() for n in numbers):
                self.scene(task, 0, grid)

    def squares(self, task: Task, grid: Grid, numbers: list[tuple[int, int]]) -> None:
        """Compute the fills of blocks, and of those beside them, in squares of `SQUARE` blocks' side, and keep them.

        Whoever wants a whole scene saves most of what blocks read around themselves; the values are the same but for
        rounding.
        """
        missing = [n for n in numbers if not self._cache.peek(self._reduced_key(task, grid, n, 0))]
        wanted = sorted({(i // SQUARE, j // SQUARE) for i, j in missing})
        cores = [grid.block(number, SQUARE * grid.side) for number in wanted]
        self._prepare(task, grid, [n for core in cores for n in core.blocks(grid.side)])
        self._pool.run([partial(self._square, task, grid, core) for core in cores])

    def _square(self, task: Task, grid: Grid, core: Box) -> None:
        whole = self._compute(task, grid, core)
        for number in core.blocks(grid.side):
            part = partial(part_of, whole, core, grid.block(number, grid.side), grid.shape)
            self._cache.get(self._reduced_key(task, grid, number, 0), part)

    def _compute(self, task: Task, grid: Grid, core: Box) -> BlockFill:
        rim = core.pad(1).clip(grid.shape)
        masked = self.masked(task, grid, rim)
        target = self.masks.cells(task.target, grid, rim)
        source = np.where(target.valid, 0, UNFILLED).astype(np.uint8)
        source[masked] = UNFILLED
        confidence = np.where(target.valid & ~masked, 100, 0).astype(np.uint8)
        layers: dict[int, BlockFields] = {}
        if (cloud := masked & target.valid).any():
            self._fill(task, grid, rim, cloud, source, confidence, layers)
        inner = core.within(rim)
        used = set(np.unique(source[inner])) - {0, UNFILLED}
        return BlockFill(
            source=source[inner],
            confidence=confidence[inner],
            layers={k: v for k, v in layers.items() if k in used},
        )

    def _fill(
        self,
        task: Task,
        grid: Grid,
        rim: Box,
        cloud: npt.NDArray[np.bool_],
        source: npt.NDArray[np.uint8],
        confidence: npt.NDArray[np.uint8],
        layers: dict[int, BlockFields],
    ) -> None:
        """Fill the cells `cloud` of `rim` from one replacement after the other; writes into the arrays given."""
        region = _extent_of(cloud, rim).pad(residual_reach(grid.factor)).clip(grid.shape)
        lattice = node_lattice(task.options.window, grid.factor)
        extent = _window_extent(region, lattice, grid, levels=1)
        inner = rim.intersection(region)
        at, place = inner.within(region), inner.within(rim)
        known: npt.NDArray[np.bool_] | None = None
        values: npt.NDArray[np.float32] | None = None
        filled = np.zeros(region.shape, bool)
        order = list(enumerate(task.replacements, start=1))
        # What is clear in no replacement takes the first one whose cloud there is doubtful: a false alarm of the model
        # on a clear date would otherwise leave the target's cloud standing.
        for (k, replacement), doubtful in [*((entry, False) for entry in order), *((entry, True) for entry in order)]:
            around = self._pair(task, replacement, grid, extent)
            pair = around.cut(region.within(extent))
            if known is None or values is None:
                known, values = pair.target.full & ~pair.masked, pair.target.values
            hidden = pair.hidden
            if doubtful:
                hidden = spread(grid, region, partial(self._hidden, task, replacement, self.masks.certain))
            open_still = pair.masked & pair.target.valid & ~filled
            wanted = open_still & pair.other.valid & ~hidden
            if not wanted[at].any():
                continue
            ground = _Ground(values, pair.other.values, pair.other.full & ~hidden, known, wanted)
            fit = self._fit(task, grid, region, k - 1, ground, around)
            take = wanted[at]
            had = source == k
            source[place][take] = k
            confidence[place][take] = fit.confidence[at][take] // (2 if doubtful else 1)
            fields = np.zeros((*rim.shape, 2 * len(fit.gain)), np.float32)
            fields[place] = np.moveaxis(np.concatenate([fit.gain, fit.offset])[(slice(None), *at)], 0, -1)
            if had.any():  # filled the first time round, when the windows were chosen for them: they keep their fill
                kept = dilate(had, 1) & ((source != k) | had)
                fields[kept] = layers[k].fields[kept]
            layers[k] = BlockFields(rim, fields)
            # What is filled now is ground that the next replacement has to meet.
            values = np.where(wanted, fit.gain * pair.other.values + fit.offset, values)
            known, filled = known | wanted, filled | wanted
            if not (open_still & ~wanted)[at].any():
                return

    @staticmethod
    def _hidden(
        task: Task, replacement: Layer, of: Callable[..., npt.NDArray[np.bool_]], grid: Grid, box: Box
    ) -> npt.NDArray[np.bool_]:
        """Cells that are cloud in a replacement, by the judgement of `of`, with the buffer around them."""
        return of(replacement, task.replacement_clouds, grid, box, buffer_cells(task.buffer, grid.factor))

    def _fit(self, task: Task, grid: Grid, region: Box, number: int, ground: _Ground, around: _Pair) -> FillFields:
        """The fill of a region, from as wide a neighbourhood as its clouds call for; `around` is the narrowest."""
        lattice, scene = node_lattice(task.options.window, grid.factor), self.scene(task, number, grid)
        spacing = lattice.spacing
        near = dilate(ground.wanted, 1)
        for levels in range(1, LEVELS + 1):
            extent = _window_extent(region, lattice, grid, levels=levels)
            pair = around if levels == 1 else self._pair(task, task.replacements[number], grid, extent)
            place = region.within(extent)
            marked = np.zeros(extent.shape, np.float32)
            marked[place] = near
            counts, nodes = (pool(padded(a.astype(np.float32), spacing), spacing) for a in (pair.clear, marked))
            if holds_enough(counts, lattice, level=levels - 1, near=nodes > 0):
                break
        # Nodes beyond the scene do not exist, here no more than on the whole array: interpolation ends with the last.
        sums = pooled_sums(
            padded(pair.target.values, spacing),
            padded(pair.other.values, spacing),
            padded(pair.clear, spacing),
            scene,
            lattice,
            adjustment=task.options.adjustment,
        )
        rows, cols = (range(s.start, s.stop) for s in place)
        return fill_fields(
            ground.values,
            ground.replacement,
            usable=ground.usable,
            known=ground.known,
            wanted=ground.wanted,
            sums=sums,
            scene=scene,
            lattice=lattice,
            rows=rows,
            cols=cols,
            options=task.options,
            factor=grid.factor,
            levels=levels,
        )


def _extent_of(cells: npt.NDArray[np.bool_], box: Box) -> Box:
    """The smallest box around the cells that are set in a box."""
    rows, cols = (np.flatnonzero(cells.any(axis=axis)) for axis in (1, 0))
    return Box(
        box.top + int(rows[0]), box.top + int(rows[-1]) + 1, box.left + int(cols[0]), box.left + int(cols[-1]) + 1
    )


def _window_extent(region: Box, lattice: NodeLattice, grid: Grid, *, levels: int) -> Box:
    """The cells inside the scene that the windows of a region can touch, from a node of the widest level on."""
    return region.pad(lattice.reach(levels)).clip(grid.shape).align(lattice.alignment(levels)).clip(grid.shape)
