"""The fill of a rectangle of cells, from one replacement after the other, and its correction in pixels."""

from __future__ import annotations

from functools import reduce

import numpy as np
import numpy.typing as npt

from algorithms.adjust import pooled_sums
from algorithms.border import Border, correct_border
from algorithms.cells import on_pixels
from algorithms.fill import UNFILLED, FillFields, Ground, fill_fields, padded
from algorithms.masks import dilate
from algorithms.moments import WindowSums
from algorithms.residual import residual_reach
from server.analysis.blocks import NO_DATA, BlockFields, BlockFill
from server.analysis.extents import fill_region, narrow_extent
from server.analysis.filled import FilledBox, FillSoFar
from server.analysis.pairs import Pair, Pairs
from server.analysis.plane import Plane
from server.analysis.succession import Turn, order, turn_regions
from server.analysis.task import JOINT, ReplacementIndex
from server.analysis.widening import Widening
from server.raster.cache import RasterCache
from server.raster.grid import Box
from server.work.cache import TileCache

Bools = npt.NDArray[np.bool_]


class Filling:
    """Computes fills; keeps nothing."""

    def __init__(self, rasters: RasterCache, pairs: Pairs, cache: TileCache) -> None:
        self._rasters = rasters
        self._pairs = pairs
        self._widening = Widening(rasters, cache)

    def announce(self, plane: Plane, cores: list[Box]) -> None:
        """Announce which native pixels the fills of boxes will read, so that they are read once for all."""
        if not plane.pixelwise:
            return
        for core in cores:
            for layer in (plane.target, *plane.task.replacements):
                self._rasters.expect_pixels(layer, core.pad(plane.rim).times(plane.factor))

    def extents(self, plane: Plane, cores: list[Box]) -> list[Box]:
        """What the windows of the fills of boxes touch; boxes without cloud touch nothing."""
        regions = (fill_region(plane, core, self._cloud(plane, plane.rimmed(core))) for core in cores)
        return [narrow_extent(plane, region) for region in regions if region is not None]

    def _cloud(self, plane: Plane, box: Box) -> Bools:
        """Cells to fill of a box."""
        return self._pairs.masked(plane, box) & (self._rasters.data(plane.target, plane.grid, box) > NO_DATA)

    def fill(self, plane: Plane, core: Box) -> FilledBox:
        """The fill of a box of cells and of the rim that `block` needs around it.

        A cell's is the same, bit for bit, in every box.
        """
        rim = plane.rimmed(core)
        masked = self._pairs.masked(plane, rim)
        data = self._rasters.data(plane.target, plane.grid, rim)
        valid = data > NO_DATA
        filled = FilledBox.original(rim, valid & ~masked, data)
        if (region := fill_region(plane, core, masked & valid)) is not None:
            self._fill(plane, region, filled)
        return filled

    def _fill(self, plane: Plane, region: Box, filled: FilledBox) -> None:
        """Fill a box and its rim from one replacement after the other, by what there is in the region around."""
        k = plane.task.turns[0]
        first = self._around(plane, k, region)
        box, pair = region, first.cut(region.within(narrow_extent(plane, region)))
        while True:
            turns = self._turns(plane, box, filled.rim, pair)
            regions = turn_regions(turns, box, filled.rim, reach=residual_reach(plane.factor), shape=plane.shape)
            wider = reduce(Box.union, (area for area in regions if area is not None), box)
            if wider == box:
                break
            # A turn looks at what turns before it fill, and that at what is around.
            box, pair = wider, self._pairs.pair(plane, k, wider)
        so_far = FillSoFar(filled, box, pair)
        for turn, area in zip(turns, regions, strict=True):
            if area is not None:
                around = first if turn is turns[0] and area == region else self._around(plane, turn.k, area)
                ground = so_far.ground(turn, area, around.other.cut(area.within(narrow_extent(plane, area))))
                fit = self._fields(plane, turn.k, area, ground, around)
                so_far.take(plane.task.members(turn.k)[0], turn, area, ground, fit)
            so_far.end(turn)

    def _around(self, plane: Plane, k: ReplacementIndex, region: Box) -> Pair:
        """What the windows of a region touch of the target and the k-th replacement."""
        return self._pairs.pair(plane, k, narrow_extent(plane, region))

    def _turns(self, plane: Plane, box: Box, inner: Box, first: Pair) -> list[Turn]:
        """What each replacement fills of a box, until nothing inside is left; `first` is what the first one shows."""
        still, at, turns = first.target.valid & first.masked, inner.intersection(box).within(box), list[Turn]()
        for k, doubtful in order(plane.task):
            pair = self._pairs.pair(plane, k, box) if turns else first
            hidden = self._pairs.certainly_hidden(plane, k, box) if doubtful else pair.hidden
            turns.append(Turn.of(k, pair, hidden, still, doubtful=doubtful))
            still = still & ~turns[-1].wanted
            if not still[at].any():
                break
        return turns

    def _fields(self, plane: Plane, k: ReplacementIndex, region: Box, ground: Ground, around: Pair) -> FillFields:
        """The fill of a region from the k-th replacement; `around` is what its windows touch."""
        lattice, extent = plane.lattice, narrow_extent(plane, region)
        scene = self._pairs.scene(plane, k)
        near = np.zeros(extent.shape, bool)
        near[region.within(extent)] = dilate(ground.wanted, 1)
        wider = self._widening.means(plane, k, scene, extent, clear=around.clear, near=near)
        # Nodes beyond the scene do not exist, here no more than on the whole array: interpolation ends with the last.
        sums = pooled_sums(
            padded(around.target.values, lattice.spacing),
            padded(around.other.values, lattice.spacing),
            padded(around.clear, lattice.spacing),
            scene,
            lattice,
            adjustment=plane.task.options.adjustment,
        )
        rows, cols = (range(s.start, s.stop) for s in region.within(extent))
        windows = WindowSums(sums, lattice, rows, cols, wider)
        return fill_fields(
            ground,
            windows,
            scene,
            options=plane.task.options,
            factor=plane.factor,
            parity=region.top + region.left,
        )

    def block(self, plane: Plane, filled: FilledBox, core: Box, *, in_pixels: bool = True) -> BlockFill:
        """The fill of a block inside the box that was filled, corrected in pixels if `in_pixels`."""
        at, around = core.within(filled.rim), core.pad(1).clip(plane.shape)
        used = set(np.unique(filled.source[around.within(filled.rim)])) - {0, UNFILLED}
        layers: dict[ReplacementIndex, BlockFields] = {}
        lacking = filled.lacking[at].copy()
        # Copies, so that a block does not keep more than itself in memory.
        for k in sorted(used & set(filled.layers)):
            border = self._border(plane, filled, k, core) if in_pixels and plane.pixelwise else None
            layers[k] = BlockFields(around, filled.layers[k].fields[around.within(filled.rim)].copy(), border)
            if not self._rasters.shows_gaps(plane.replacement(k), plane.grid):
                lacking[filled.source[at] == k] = 1
        return BlockFill(
            source=filled.source[at].copy(),
            confidence=filled.confidence[at].copy(),
            data=filled.data[at].copy(),
            lacking=lacking,
            layers=layers,
        )

    def _border(self, plane: Plane, filled: FilledBox, k: ReplacementIndex, core: Box) -> Border | None:
        """The correction of a block's pixels, and of those next to it, with rows and columns of the whole scene."""
        box = plane.rimmed(core)
        at, layer = box.within(filled.rim), filled.layers[k]
        source, clear = filled.source[at], (filled.source[at] == 0) & layer.meets[at]
        if not (dilate(source == k, 1) & clear).any():
            return None
        pixels = box.times(plane.factor).clip(plane.target.dataset.shape)
        target = self._rasters.pixels(plane.target, pixels)
        other = self._rasters.pixels(plane.replacement(k), pixels, self._pairs.shift(plane, k))
        cells = np.moveaxis(layer.fields[at], -1, 0)
        bands = len(cells) // 2
        border = correct_border(
            cells[:bands],
            cells[bands:],
            target.clean,
            other.clean,
            # Cells from overviews may count as whole though some of their pixels are missing.
            known=on_pixels(clear, plane.factor, pixels.shape) & target.whole & other.whole,
            wanted=on_pixels(source == k, plane.factor, pixels.shape) & target.valid & other.valid,
            scene=self._pairs.scene(plane, JOINT if k == 1 and JOINT in plane.task.turns else k),
            factor=plane.factor,
        )
        rows, cols = border.rows + pixels.top, border.cols + pixels.left
        near = core.times(plane.factor).pad(1)
        kept = (rows >= near.top) & (rows < near.bottom) & (cols >= near.left) & (cols < near.right)
        return Border(rows[kept], cols[kept], border.values[kept]) if kept.any() else None
