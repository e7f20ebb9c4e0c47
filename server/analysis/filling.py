"""The fill of a rectangle of cells, from one replacement after the other, and its correction in pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from algorithms.adjust import pooled_sums
from algorithms.border import Border, correct_border
from algorithms.cells import on_pixels
from algorithms.fill import UNFILLED, FillFields, Ground, fill_fields, padded
from algorithms.masks import dilate
from algorithms.moments import WindowSums, node_lattice
from server.analysis.blocks import BlockFields, BlockFill
from server.analysis.extents import fill_region, narrow_extent, pixelwise, rim_cells, wider_extent
from server.analysis.pairs import Pair, Pairs
from server.analysis.survey import Survey
from server.analysis.task import Task
from server.raster.cache import RasterCache
from server.raster.grid import Box, Grid

Bools = npt.NDArray[np.bool_]
Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class _Layer:
    """What one replacement fills of a box."""

    fields: Floats
    """(h, w, 2 B): gain of every band, then offset of every band."""
    meets: Bools
    """(h, w), cells at which the residual is known."""


@dataclass(frozen=True, slots=True)
class Filled:
    """The fill of a box of cells with a rim around it."""

    rim: Box
    """The box with its rim."""
    source: Bytes
    """(h, w): 0 original, k filled from the k-th replacement, 255 nodata or not filled."""
    confidence: Bytes
    """(h, w) 0-100."""
    layers: dict[int, _Layer]
    """By number of the replacement."""


class Filling:
    """Computes fills; keeps nothing."""

    def __init__(self, rasters: RasterCache, pairs: Pairs) -> None:
        self._rasters = rasters
        self._pairs = pairs

    def announce(self, task: Task, grid: Grid, cores: list[Box]) -> None:
        """Tell which native pixels the fills of boxes will look at, so that they are read once for all."""
        if not pixelwise(task, grid):
            return
        for core in cores:
            for layer in (task.target, *task.replacements):
                self._rasters.expect_pixels(layer, core.pad(rim_cells(task, grid)).times(grid.factor))

    def fill(self, task: Task, grid: Grid, core: Box, survey: Survey | None = None) -> Filled:
        """The fill of a box of cells and of the rim that `block` needs around it.

        The same bit for bit with a survey, which spares a second look.
        """
        rim = core.pad(rim_cells(task, grid)).clip(grid.shape)
        masked = self._pairs.masked(task, grid, rim)
        valid = self._rasters.valid(task.target, grid, rim)
        source = np.where(valid & ~masked, 0, UNFILLED).astype(np.uint8)
        confidence = np.where(valid & ~masked, 100, 0).astype(np.uint8)
        filled = Filled(rim, source, confidence, {})
        if (region := fill_region(masked & valid, core, rim, grid)) is not None:
            self._fill(task, grid, region, filled, survey)
        return filled

    def block(self, task: Task, grid: Grid, filled: Filled, core: Box, *, in_pixels: bool = True) -> BlockFill:
        """The fill of a block inside the box that was filled, corrected in pixels if `in_pixels`."""
        at, around = core.within(filled.rim), core.pad(1).clip(grid.shape)
        used = set(np.unique(filled.source[around.within(filled.rim)])) - {0, UNFILLED}
        layers: dict[int, BlockFields] = {}
        # Copies, so that a block does not keep more than itself in memory.
        for k in sorted(used & set(filled.layers)):
            border = self._border(task, grid, filled, k, core) if in_pixels and pixelwise(task, grid) else None
            layers[k] = BlockFields(around, filled.layers[k].fields[around.within(filled.rim)].copy(), border)
        return BlockFill(source=filled.source[at].copy(), confidence=filled.confidence[at].copy(), layers=layers)

    def _border(self, task: Task, grid: Grid, filled: Filled, k: int, core: Box) -> Border | None:
        """The correction of a block's pixels, and of those beside it, with rows and columns of the whole scene."""
        box = core.pad(rim_cells(task, grid)).clip(grid.shape)
        at, layer = box.within(filled.rim), filled.layers[k]
        source, clear = filled.source[at], (filled.source[at] == 0) & layer.meets[at]
        if not (dilate(source == k, 1) & clear).any():
            return None
        pixels = box.times(grid.factor).clip(task.target.dataset.shape)
        target = self._rasters.pixels(task.target, pixels)
        other = self._rasters.pixels(task.replacements[k - 1], pixels, self._pairs.shift(task, k - 1, grid))
        cells = np.moveaxis(layer.fields[at], -1, 0)
        bands = len(cells) // 2
        border = correct_border(
            cells[:bands],
            cells[bands:],
            target.clean,
            other.clean,
            known=on_pixels(clear, grid.factor, pixels.shape),
            wanted=on_pixels(source == k, grid.factor, pixels.shape) & target.valid & other.valid,
            scene=self._pairs.scene(task, k - 1, grid),
            factor=grid.factor,
        )
        rows, cols = border.rows + pixels.top, border.cols + pixels.left
        near = core.times(grid.factor).pad(1)
        kept = (rows >= near.top) & (rows < near.bottom) & (cols >= near.left) & (cols < near.right)
        return Border(rows[kept], cols[kept], border.values[kept]) if kept.any() else None

    def _pair(self, task: Task, number: int, grid: Grid, box: Box, survey: Survey | None) -> Pair:
        if survey is not None and survey.covers(number, box):
            return survey.pair.cut(box.within(survey.extent))
        return self._pairs.pair(task, number, grid, box)

    def _fill(self, task: Task, grid: Grid, region: Box, filled: Filled, survey: Survey | None) -> None:
        """Fill a region from one replacement after the other; writes the part inside the rim into `filled`."""
        rim, source, confidence, layers = filled.rim, filled.source, filled.confidence, filled.layers
        extent = narrow_extent(region, node_lattice(task.options.window, grid.factor), grid)
        inner = rim.intersection(region)
        at, place = inner.within(region), inner.within(rim)
        known: Bools | None = None
        values: Floats | None = None
        done = np.zeros(region.shape, bool)
        order = list(enumerate(task.replacements, start=1))
        # What is clear in no replacement takes the first one whose cloud there is doubtful: a false alarm of the model
        # on a clear date would otherwise leave the target's cloud standing.
        for (k, replacement), doubtful in [*((entry, False) for entry in order), *((entry, True) for entry in order)]:
            around = self._pair(task, k - 1, grid, extent, survey)
            pair = around.cut(region.within(extent))
            if known is None or values is None:
                known, values = pair.target.full & ~pair.masked, pair.target.values
            hidden = pair.hidden
            if doubtful:
                hidden = self._pairs.hidden(task, replacement, grid, region, doubtful=True)
            open_still = pair.masked & pair.target.valid & ~done
            wanted = open_still & pair.other.valid & ~hidden
            if not wanted[at].any():
                continue
            ground = Ground(values, pair.other.values, pair.other.full & ~hidden, known, wanted)
            fit = self._fit(task, grid, region, k - 1, ground, around, survey)
            take = wanted[at]
            had = source == k
            source[place][take] = k
            confidence[place][take] = fit.confidence[at][take] // (2 if doubtful else 1)
            fields = np.zeros((*rim.shape, 2 * len(fit.gain)), np.float32)
            fields[place] = np.moveaxis(np.concatenate([fit.gain, fit.offset])[(slice(None), *at)], 0, -1)
            meets = np.zeros(rim.shape, bool)
            meets[place] = fit.meets[at]
            if had.any():  # filled the first time round, when the windows were chosen for them: they keep their fill
                kept = dilate(had, 1) & ((source != k) | had)
                fields[kept], meets[kept] = layers[k].fields[kept], layers[k].meets[kept]
            layers[k] = _Layer(fields, meets)
            # What is filled now is ground that the next replacement has to meet.
            values = np.where(wanted, fit.gain * pair.other.values + fit.offset, values)
            known, done = known | wanted, done | wanted
            if not (open_still & ~wanted)[at].any():
                return

    def _fit(
        self,
        task: Task,
        grid: Grid,
        region: Box,
        number: int,
        ground: Ground,
        around: Pair,
        survey: Survey | None,
    ) -> FillFields:
        """The fill of a region, from as wide a neighbourhood as its clouds call for; `around` is the narrowest."""
        lattice, scene = node_lattice(task.options.window, grid.factor), self._pairs.scene(task, number, grid)
        spacing = lattice.spacing
        extent, pair, levels = narrow_extent(region, lattice, grid), around, 1
        while True:
            near = np.zeros(extent.shape, bool)
            near[region.within(extent)] = dilate(ground.wanted, 1)
            wider = wider_extent(extent, pair.clear, near, lattice, grid, levels=levels)
            if wider is None:
                break
            extent, levels = wider, levels + 1
            pair = self._pair(task, number, grid, extent, survey)
        place = region.within(extent)
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
        windows = WindowSums(sums, lattice, rows, cols, levels)
        return fill_fields(ground, windows, scene, options=task.options, factor=grid.factor)
