"""Both dates of a task over a box of cells: values, what is to be filled, what is clear; and the scene stage."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import Final

import numpy as np
import numpy.typing as npt

from algorithms.cells import Cells, on_pixels, stacked_cells
from algorithms.masks import dilate
from algorithms.narrow import with_narrow
from algorithms.sample import in_a_row
from algorithms.scene import SceneFit, fit_scene
from algorithms.shift import NO_SHIFT, Shift, estimate_shift
from server.analysis.keys import SceneKey, ShiftKey
from server.analysis.masks import Masks, MaskTile, counted, spread
from server.analysis.plane import LayerClouds, Plane
from server.analysis.refinement import Refinement
from server.analysis.sampled import SampleView, patch_views, sample_views
from server.analysis.task import ReplacementIndex
from server.raster.cache import CellReads, RasterCache
from server.raster.grid import Box
from server.work.cache import TileCache
from server.work.pool import FairPool

READ_AHEAD_BLOCKS: Final = 64
"""Most blocks of cells that are read before they are needed: 100 MB with six bands and their pixels."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Both dates over a box of cells."""

    target: Cells
    """The target."""
    other: Cells
    """The replacement; of `JOINT` the bands of all, one after the other, valid where all are."""
    masked: npt.NDArray[np.bool_]
    """(h, w), cloud of the target with its buffer."""
    hidden: npt.NDArray[np.bool_]
    """(h, w), cloud of the replacement with its buffer; of `JOINT`, of any."""

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

    def masked(self, plane: Plane, box: Box) -> npt.NDArray[np.bool_]:
        """Cells of a box to be filled: cloud with its buffer."""

        def cloudy(level: Plane, inner: Box) -> npt.NDArray[np.bool_]:
            wide = inner.pad(level.buffer).clip(level.shape)
            classes = self._refinement.tile(level, wide) if level.task.refine else self._model_tile(level, wide)
            return dilate(counted(classes.classes, level.task.clouds), level.buffer)[inner.within(wide)]

        return spread(plane, box, cloudy)

    def classes(self, plane: Plane, box: Box) -> npt.NDArray[np.uint8]:
        """Classes of the target over a box inside the scene, refined where the task says so."""
        if plane.task.refine:
            return self._refinement.classes(plane, box)
        return self._model_tile(plane, box).classes

    def _model_tile(self, plane: Plane, box: Box) -> MaskTile:
        return self._masks.tile(plane.target_clouds, box)

    def hidden(self, plane: Plane, k: ReplacementIndex, box: Box) -> npt.NDArray[np.bool_]:
        """Cells that are cloud in the k-th replacement, with the buffer around them."""

        def cloudy(level: Plane, inner: Box) -> npt.NDArray[np.bool_]:
            clouds = map(level.replacement_clouds, level.task.members(k))
            found: npt.NDArray[np.bool_] = np.logical_or.reduce(
                [self._masks.cloudy(one, inner, level.buffer) for one in clouds]
            )
            return found

        return spread(plane, box, cloudy)

    def certainly_hidden(self, plane: Plane, k: ReplacementIndex, box: Box) -> npt.NDArray[np.bool_]:
        """Cells that are beyond doubt cloud in the k-th replacement, with the buffer around them."""
        return spread(
            plane,
            box,
            lambda level, inner: self._masks.certain(level.replacement_clouds(k), inner, level.buffer),
        )

    def prefetch(self, plane: Plane, k: ReplacementIndex, boxes: list[Box]) -> None:
        """Run the networks on all that `pair` takes over boxes, for all dates at once, and read some of the cells."""
        level = plane.masks
        wide = [plane.mask_cells(box).pad(level.buffer) for box in boxes]
        others = [level.replacement_clouds(member) for member in level.task.members(k)]
        if level.task.refine:
            self._refinement.prefetch(level, wide, others=product(others, wide), reads=self._reads(plane, k, boxes))
        else:
            clouds = product((level.target_clouds, *others), wide)
            self._masks.prefetch(clouds, reads=self._reads(plane, k, boxes))

    def _reads(self, plane: Plane, k: ReplacementIndex, boxes: list[Box]) -> CellReads:
        """What reads the cells of both dates over a few boxes; of a large view they would not stay in the cache."""
        level = replace(plane.masks, plot=None)
        known = [m for m in plane.task.members(k) if not level.moved or self._cache.peek(ShiftKey.of(level, m))]
        layers = [(plane.target, NO_SHIFT), *((plane.replacement(m), self.shift(plane, m)) for m in known)]
        reads: CellReads = {}
        for (layer, shift), box in product(layers, boxes):
            reads |= self._rasters.cell_reads(layer, plane.grid, box.clip(plane.shape), shift)
        return reads if len(reads) <= READ_AHEAD_BLOCKS else {}

    def _prefetch(self, k: ReplacementIndex, views: list[SampleView]) -> None:
        """The same for a scene's sample."""
        wanted: list[tuple[LayerClouds, Box]] = []
        for plane, box in views:
            level, wide = plane.masks, plane.mask_cells(box).pad(plane.masks.buffer)
            others = map(level.replacement_clouds, level.task.members(k))
            wanted += [(clouds, wide) for clouds in (level.target_clouds, *others)]
        self._masks.prefetch(wanted)
        if level.task.refine:
            self._refinement.fit(level)

    def pair(self, plane: Plane, k: ReplacementIndex, box: Box) -> Pair:
        """The target and the k-th replacement over a box."""
        return self._pair(plane, k, box, [self.shift(plane, member) for member in plane.task.members(k)])

    def _pair(self, plane: Plane, k: ReplacementIndex, box: Box, moved_by: list[Shift]) -> Pair:
        self.prefetch(plane, k, [box])
        masked = self.masked(plane, box)
        hidden = self.hidden(plane, k, box)
        others = [
            self._rasters.cells(plane.replacement(member), plane.grid, box, shift)
            for member, shift in zip(plane.task.members(k), moved_by, strict=True)
        ]
        return Pair(self._rasters.cells(plane.target, plane.grid, box), stacked_cells(others), masked, hidden)

    def shift(self, plane: Plane, k: ReplacementIndex) -> Shift:
        """By how many native pixels the k-th replacement is moved; not at all on the coarse level."""
        level = replace(plane.masks, plot=None)
        if not level.moved:
            return NO_SHIFT

        def compute() -> Shift:
            views = patch_views(level)
            self._prefetch(k, views)
            jobs = [
                partial(self._rasters.pixels, layer, patch)
                for patch in self._patches(level)
                for layer in (level.target, level.replacement(k))
            ]
            pixels = self._pool.run(jobs)
            clear = [
                on_pixels(self._pair(view, k, box, [NO_SHIFT]).clear, level.factor, target.valid.shape)
                for (view, box), target in zip(views, pixels[::2], strict=True)
            ]
            # Cells from overviews may count as whole though some of their pixels are missing.
            return estimate_shift(
                [
                    (t.clean, r.clean, c & t.whole & r.whole)
                    for t, r, c in zip(pixels[::2], pixels[1::2], clear, strict=True)
                ]
            )

        return self._cache.get(ShiftKey.of(level, k), compute)

    def _patches(self, plane: Plane) -> list[Box]:
        """What the shift is estimated on, in pixels."""
        return [box.times(plane.factor).clip(plane.target.dataset.shape) for _, box in patch_views(plane)]

    def announce(self, plane: Plane) -> None:
        """Announce that the sample's pixels are needed, so that they are read with its cells."""
        level = replace(plane.masks, plot=None)
        for k in level.task.members(level.task.turns[0]) if level.moved and level.task.replacements else ():
            if not self._cache.peek(ShiftKey.of(level, k)):
                for patch in self._patches(level):
                    self._rasters.expect_pixels(level.target, patch)
                    self._rasters.expect_pixels(level.replacement(k), patch)

    def scene(self, plane: Plane, k: ReplacementIndex) -> SceneFit:
        """The scene stage of the k-th replacement: the same whichever tile is requested first."""
        whole = replace(plane, plot=None)

        def compute() -> SceneFit:
            views = sample_views(whole)
            self._prefetch(k, views)
            for member in whole.task.members(k):
                self.shift(whole, member)  # here, or one worker after the other would wait for it
            pairs = self._pool.run([partial(self.pair, view, k, box) for view, box in views])
            parts = [(pair.target.values, pair.other.values, pair.clear) for pair in pairs]
            target, other, clear = (in_a_row(each) for each in zip(*parts, strict=True))
            return with_narrow(fit_scene(target, other, clear), parts, plane.factor)

        return self._cache.get(SceneKey.of(whole, k), compute)
