"""Cached adjustment tiles: from masks and cells to the fill of each block of the analysis grid."""

from __future__ import annotations

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
from server.masks import Masks, counted
from server.overview import BlockFields, BlockFill, reduce_fill
from server.pool import FairPool
from server.refinement import Refinement, sample_boxes
from server.trace import stage

CHUNK: Final = 8
"""Blocks per worker that a large image prepares at a time, so that what they share is still in the cache."""


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
        self._cache = TileCache(cache_bytes)
        self._threads = threads
        self._pool = FairPool(threads)
        self.masks = Masks(self._cache, self._pool)
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
        radius = buffer_cells(task.buffer, grid.factor)
        wide = box.pad(radius).clip(grid.shape)
        return dilate(counted(self.classes(task, grid, wide), task.clouds), radius)[box.within(wide)]

    def classes(self, task: Task, grid: Grid, box: Box) -> npt.NDArray[np.uint8]:
        """Classes of the target over a box inside the scene, refined where the task says so."""
        if task.refine:
            return self._refinement.classes(task, grid, box)
        return self.masks.tile(task.target, task.clouds, grid, box).classes

    def _pair(self, task: Task, replacement: Layer, grid: Grid, box: Box) -> _Pair:
        """Both dates over a box."""
        radius = buffer_cells(task.buffer, grid.factor)
        self._prefetch_pair(task, replacement, grid, [box])
        masked = self.masked(task, grid, box)
        hidden = self.masks.cloudy(replacement, task.replacement_clouds, grid, box, radius)
        return _Pair(self.masks.cells(task.target, grid, box), self.masks.cells(replacement, grid, box), masked, hidden)

    def _prefetch_pair(self, task: Task, replacement: Layer, grid: Grid, boxes: list[Box]) -> None:
        """Run the networks for both dates at once."""
        wide = [box.pad(buffer_cells(task.buffer, grid.factor)) for box in boxes]
        self.masks.prefetch(
            grid,
            [(task.target, task.clouds, box) for box in wide]
            + [(replacement, task.replacement_clouds, box) for box in wide],
        )
        if task.refine:
            self._refinement.prefetch(task, grid, wide)

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

    def block(self, task: Task, grid: Grid, number: tuple[int, int]) -> BlockFill:
        """The fill of one block."""
        return self._reduced(task, grid, number, 0)

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
        def compute() -> BlockFill:
            if power == 0:
                return self._compute(task, grid, number)
            return reduce_fill(self._reduced(task, grid, number, 0), grid.block(number), power)

        return self._cache.get(self._reduced_key(task, grid, number, power), compute)

    def _prepare(self, task: Task, grid: Grid, numbers: list[tuple[int, int]]) -> None:
        """Do in the request's own thread what would keep the workers waiting for each other."""
        boxes = [grid.block(n).pad(1 + buffer_cells(task.buffer, grid.factor)) for n in numbers]
        reach = self._refinement.reach(task) if task.refine else 0
        with stage("mask"):
            self.masks.prefetch(grid, [(task.target, task.clouds, box.pad(reach)) for box in boxes])
            if task.refine:
                self._refinement.prefetch(task, grid, boxes)
        with stage("adjust"):
            if task.replacements and any(self.masked(task, grid, grid.block(n)).any() for n in numbers):
                self.scene(task, 0, grid)

    def _compute(self, task: Task, grid: Grid, number: tuple[int, int]) -> BlockFill:
        core = grid.block(number)
        rim = core.pad(1).clip(grid.shape)
        masked = self.masked(task, grid, rim)
        target = self.masks.cells(task.target, grid, rim)
        source = np.where(target.valid, 0, UNFILLED).astype(np.uint8)
        source[masked] = UNFILLED
        confidence = np.where(target.valid & ~masked, 100, 0).astype(np.uint8)
        layers: dict[int, BlockFields] = {}
        if (masked & target.valid).any():
            self._fill(task, grid, rim, source, confidence, layers)
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
        source: npt.NDArray[np.uint8],
        confidence: npt.NDArray[np.uint8],
        layers: dict[int, BlockFields],
    ) -> None:
        """Fill the masked cells of `rim` from one replacement after the other; writes into the arrays given."""
        region = rim.pad(residual_reach(grid.factor)).clip(grid.shape)
        at = rim.within(region)
        known: npt.NDArray[np.bool_] | None = None
        values: npt.NDArray[np.float32] | None = None
        filled = np.zeros(region.shape, bool)
        order = list(enumerate(task.replacements, start=1))
        # What is clear in no replacement takes the first one whose cloud there is doubtful: a false alarm of the model
        # on a clear date would otherwise leave the target's cloud standing.
        for (k, replacement), doubtful in [*((entry, False) for entry in order), *((entry, True) for entry in order)]:
            pair = self._pair(task, replacement, grid, region)
            if known is None or values is None:
                known, values = pair.target.full & ~pair.masked, pair.target.values
            hidden = self._certain(task, replacement, grid, region) if doubtful else pair.hidden
            open_still = pair.masked & pair.target.valid & ~filled
            wanted = open_still & pair.other.valid & ~hidden
            if not wanted[at].any():
                continue
            fit = self._fit(
                task, grid, region, k - 1, _Ground(values, pair.other.values, pair.other.full & ~hidden, known, wanted)
            )
            take = wanted[at]
            source[take] = k
            confidence[take] = fit.confidence[at][take] // (2 if doubtful else 1)
            fields = np.concatenate([fit.gain[(slice(None), *at)], fit.offset[(slice(None), *at)]])
            layers[k] = BlockFields(rim, np.ascontiguousarray(np.moveaxis(fields, 0, -1)))
            # What is filled now is ground that the next replacement has to meet.
            values = np.where(wanted, fit.gain * pair.other.values + fit.offset, values)
            known, filled = known | wanted, filled | wanted
            if not (open_still & ~wanted)[at].any():
                return

    def _certain(self, task: Task, replacement: Layer, grid: Grid, box: Box) -> npt.NDArray[np.bool_]:
        """Cells that are cloud or shadow in a replacement beyond doubt, with the buffer around them."""
        radius = buffer_cells(task.buffer, grid.factor)
        return self.masks.certain(replacement, task.replacement_clouds, grid, box, radius)

    def _fit(
        self,
        task: Task,
        grid: Grid,
        region: Box,
        number: int,
        ground: _Ground,
    ) -> FillFields:
        """The fill of a region, from as wide a neighbourhood as its clouds call for."""
        lattice = node_lattice(task.options.window, grid.factor)
        scene = self.scene(task, number, grid)
        near = dilate(ground.wanted, 1)
        for levels in range(1, LEVELS + 1):
            extent = region.pad(lattice.reach(levels)).clip(grid.shape).align(lattice.alignment(levels))
            sums = self._sums(task, grid, extent, number, lattice)
            place = region.within(extent)
            marked = np.zeros(extent.shape, np.float32)
            marked[place] = near
            nodes = pool(marked, lattice.spacing)[: sums.shape[1], : sums.shape[2]] > 0
            if holds_enough(sums[0], lattice, level=levels - 1, near=nodes):
                break
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

    def _sums(self, task: Task, grid: Grid, extent: Box, number: int, lattice: NodeLattice) -> npt.NDArray[np.float64]:
        """Sums per node over the part of an aligned extent inside the scene, from cached blocks."""
        replacement, adjustment = task.replacements[number], task.options.adjustment
        inside = extent.clip(grid.shape)
        self._prefetch_pair(task, replacement, grid, [inside])

        def compute(block: Box) -> npt.NDArray[np.float64]:
            pair = self._pair(task, replacement, grid, block)
            return pooled_sums(
                padded(pair.target.values, lattice.spacing),
                padded(pair.other.values, lattice.spacing),
                padded(pair.clear, lattice.spacing),
                self.scene(task, number, grid),
                lattice,
                adjustment=adjustment,
            )

        # Nodes beyond the scene do not exist, here no more than on the whole array: interpolation ends with the last.
        spacing = lattice.spacing
        nodes = Box(
            extent.top // spacing, -(-inside.bottom // spacing), extent.left // spacing, -(-inside.right // spacing)
        )
        result: npt.NDArray[np.float64] | None = None
        for i, j in inside.blocks(BLOCK):
            block = grid.block((i, j))
            key = ("sums", *self._clearness(task, replacement), adjustment, lattice, grid, (i, j))
            part = self._cache.get(key, partial(compute, block))
            if result is None:
                result = np.zeros((len(part), *nodes.shape))
            top, left = block.top // spacing, block.left // spacing
            covered = Box(top, top + part.shape[1], left, left + part.shape[2])
            cut = covered.intersection(nodes)
            result[(slice(None), *cut.within(nodes))] = part[(slice(None), *cut.within(covered))]
        assert result is not None  # noqa: S101  (an extent touches at least one block)
        return result
