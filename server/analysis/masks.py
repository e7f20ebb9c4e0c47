"""Cached mask tiles: classes and probabilities per block of the analysis grid."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Final, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from algorithms.cells import cell_any, on_pixels
from algorithms.mask import classify
from algorithms.masks import NODATA, dilate
from algorithms.models import INPUT_CELLS
from algorithms.moments import box_sums
from algorithms.reclassify import MODEL_REMAP, marked, reclassify
from algorithms.windows import STRIDE
from server.analysis.inference import Inference, Inferences, WantedCells, cell_metres
from server.analysis.keys import UserMaskKey
from server.analysis.plane import LayerClouds, Plane
from server.analysis.task import CloudSource
from server.raster.cache import CellReads, RasterCache
from server.raster.classes import read_classes
from server.raster.dataset import Dataset
from server.raster.grid import BLOCK_CELLS, BlockNumber, Box, Grid, fine_grid
from server.work.cache import TileCache
from server.work.pool import FairPool

BELIEVED_PROBABILITY: Final = 0.95
"""Mean probability of cloud or shadow from which the model is trusted without reserve. On the available clear dates
its false alarms stay below; the inside of real clouds reaches 0.99."""
Scalar = TypeVar("Scalar", bound=np.generic)
WantedClouds = tuple[LayerClouds, Box]
"""Clouds to be found over a box."""


class CellsSeen(Protocol):
    """Takes note of cells; gives what is wanted on account of them."""

    def __call__(self, cells: Box, *, known: bool) -> Iterable[WantedClouds]:
        """Note cells that were read, or whose mask is `known`."""


AROUND_CELLS: Final = 2
"""Radius in cells of the surroundings the mean is taken over."""


@dataclass(frozen=True, slots=True)
class MaskTile:
    """The mask of a rectangle of cells."""

    classes: npt.NDArray[np.uint8]
    """(h, w): 0 clear, 1 cloud, 2 shadow, 255 nodata; of a user's raster 0 clear, 1 cloud, 255 nodata."""
    probabilities: npt.NDArray[np.uint8]
    """(2, h, w) of cloud and of shadow, 255 = 1."""


def join_blocks(box: Box, fetch: Callable[[BlockNumber], tuple[Box, MaskTile]]) -> MaskTile:
    """Put the mask of a box together from those of blocks, each with the cells it covers."""
    classes, probabilities = np.empty(box.shape, np.uint8), np.empty((2, *box.shape), np.uint8)
    for number in box.blocks(BLOCK_CELLS):
        covered, tile = fetch(number)
        cut = box.intersection(covered)
        here, there = cut.within(box), cut.within(covered)
        classes[here] = tile.classes[there]
        probabilities[(slice(None), *here)] = tile.probabilities[(slice(None), *there)]
    return MaskTile(classes, probabilities)


@lru_cache(maxsize=256)
def _model_grid(target: Dataset) -> Grid:
    """The finest level that a network looks at."""
    return fine_grid(target)


def _on_model_level(clouds: LayerClouds, box: Box) -> tuple[LayerClouds, Box]:
    """Where a network looks for clouds: on levels finer than its own, which follow a user's mask, the level of 20 m."""
    if clouds.source.model is None or clouds.grid.factor >= (own := _model_grid(clouds.layer.target)).factor:
        return clouds, box
    return replace(clouds, grid=own), box.clip(clouds.grid.shape).parts(own.factor // clouds.grid.factor)


def _finer(values: npt.NDArray[Scalar], box: Box, cells: Box, size: int) -> npt.NDArray[Scalar]:
    """(..., h, w) of a box of cells, from larger cells of `size` of them per side."""
    return values.repeat(size, -2).repeat(size, -1)[(..., *box.within(cells.times(size)))]


class Masks:
    """Mask tiles of any layer, computed once and kept in a byte-bounded cache."""

    def __init__(self, rasters: RasterCache, cache: TileCache, pool: FairPool) -> None:
        self._rasters = rasters
        self._cache = cache
        self._inferences = Inferences(rasters, cache, pool)

    def prefetch(
        self,
        wanted: Iterable[WantedClouds],
        *,
        seen: tuple[LayerClouds, CellsSeen] | None = None,
        reads: CellReads | None = None,
    ) -> None:
        """Run the networks on all that the boxes need, side by side; tiles then find it in the cache.

        Args:
            wanted: the boxes.
            seen: clouds on the network's level, and what takes note of every window of theirs that is looked at.
            reads: what reads further cells, next to the last looks.
        """

        def placed(wanted: Iterable[WantedClouds]) -> Iterator[WantedCells]:
            for clouds, box in (_on_model_level(*each) for each in wanted):
                if (inference := Inference.of(clouds)) is not None:
                    yield inference, box.clip(clouds.grid.shape)

        def looked(inference: Inference, cells: Box, *, known: bool) -> Iterator[WantedCells]:
            # What lies beyond is in its neighbours, too.
            inner = cells.pad(STRIDE - INPUT_CELLS) if known else cells
            if seen is None or inference != watched or min(inner.shape) <= 0:
                return
            if not known or self.inferred([(seen[0], inner)]):
                yield from placed(seen[1](inner, known=known))

        watched = None if seen is None else Inference.of(seen[0])
        self._inferences.prefetch(placed(wanted), looked=None if watched is None else looked, reads=reads)

    def inferred(self, wanted: Iterable[tuple[LayerClouds, Box]]) -> bool:
        """Whether boxes inside the scene take no inference that is not cached."""
        placed = (_on_model_level(*each) for each in wanted)
        found = ((Inference.of(clouds), box) for clouds, box in placed)
        missing = (self._inferences.missing(each, box) for each, box in found if each is not None)
        return next((look for looks in missing for look in looks), None) is None

    def tile(self, clouds: LayerClouds, box: Box) -> MaskTile:
        """Classes and probabilities over a box inside the scene.

        Blended from the windows under just this box: blocks that go beyond it would need further windows.
        Where these are cached already, whole blocks are blended and kept; the values are the same, bit for bit.
        """
        coarser, cells = _on_model_level(clouds, box)
        if coarser is not clouds:
            tile, size = self.tile(coarser, cells), coarser.grid.factor // clouds.grid.factor
            return MaskTile(*(_finer(each, box, cells, size) for each in (tile.classes, tile.probabilities)))
        if (inference := Inference.of(clouds)) is not None:
            self._inferences.prefetch([(inference, box)])
            if inference.plot is not None:
                return self._in_plot(inference, inference.plot, box)
            return join_blocks(box, lambda number: self._block(inference, number, box))
        if clouds.source.classes is None:
            clear = np.where(self._rasters.valid(clouds.layer, clouds.grid, box), 0, NODATA).astype(np.uint8)
            return MaskTile(clear, np.zeros((2, *box.shape), np.uint8))
        read = partial(self._read_tile, clouds, clouds.source.classes)
        return join_blocks(box, lambda number: (clouds.grid.block(number), read(number)))

    def _block(self, inference: Inference, number: BlockNumber, box: Box) -> tuple[Box, MaskTile]:
        """A block by the model, or the part of it in a box if the block needs windows that are not cached."""
        block = inference.grid.block(number)
        key = inference.blended_key(number)
        if self._cache.peek(key) or next(self._inferences.missing(inference, block), None) is None:
            return block, self._cache.get(key, partial(self._blended, inference, block))
        part = box.intersection(block)
        return part, self._blended(inference, part)

    def _in_plot(self, inference: Inference, plot: Box, box: Box) -> MaskTile:
        """A box by the mosaic that a plot is part of; beyond the plot nothing is known."""
        classes, probabilities = np.full(box.shape, NODATA, np.uint8), np.zeros((2, *box.shape), np.uint8)
        cut = box.intersection(plot)
        if cut.area:
            tile, here = self._blended(inference, cut), cut.within(box)
            classes[here], probabilities[(slice(None), *here)] = tile.classes, tile.probabilities
        return MaskTile(classes, probabilities)

    def _blended(self, inference: Inference, box: Box) -> MaskTile:
        layer, grid = inference.layer, inference.grid
        probabilities = self._inferences.probabilities(inference, box)
        valid, metres = self._rasters.valid(layer, grid, box), cell_metres(layer.target, grid.factor * inference.shrunk)
        return MaskTile(classify(probabilities, valid, sensitivity=inference.sensitivity, metres=metres), probabilities)

    def _read_tile(self, clouds: LayerClouds, classes: Dataset, number: BlockNumber) -> MaskTile:
        """A block of a user's mask."""
        layer, grid, remap = clouds.layer, clouds.grid, clouds.source.remap

        def compute() -> MaskTile:
            box = grid.block(number)
            valid = self._rasters.valid(layer, grid, box)
            values = read_classes(self._rasters.sources, classes, layer.target, grid, box)
            cloudy = cell_any(marked(values, remap, fractions=classes.fractions), grid.factor)
            certain = np.zeros((2, *valid.shape), np.uint8)
            certain[0, cloudy] = 255
            return MaskTile(np.where(valid, cloudy, NODATA).astype(np.uint8), certain)

        return self._cache.get(UserMaskKey(layer, classes, remap, grid, number), compute)

    def cloudy(self, clouds: LayerClouds, box: Box, radius: int) -> npt.NDArray[np.bool_]:
        """Cells that count as cloud over a box inside the scene, with a buffer of `radius` cells around them."""
        wide = box.pad(radius).clip(clouds.grid.shape)
        return dilate(counted(self.tile(clouds, wide).classes, clouds.source), radius)[box.within(wide)]

    def certain(self, clouds: LayerClouds, box: Box, radius: int) -> npt.NDArray[np.bool_]:
        """Cells that are beyond doubt cloud or shadow, with a buffer of `radius` cells around them.

        The mean probability of their surroundings is at least `BELIEVED_PROBABILITY`.
        """
        around = box.pad(radius).clip(clouds.grid.shape)
        coarser, cells = _on_model_level(clouds, around)
        if coarser is not clouds:
            size = coarser.grid.factor // clouds.grid.factor
            found = _finer(self.certain(coarser, cells, 0), around, cells, size)
            return dilate(found, radius)[box.within(around)]
        wide = box.pad(radius + 2 * AROUND_CELLS).clip(clouds.grid.shape)
        certainty = self.tile(clouds, wide).probabilities.max(axis=0)
        # Whole numbers below 2^53, so that the sums do not depend on where the box begins.
        total = box_sums(certainty[None].astype(np.float64), AROUND_CELLS)[0]
        area = box_sums(np.ones((1, *certainty.shape)), AROUND_CELLS)[0]
        return dilate(total >= BELIEVED_PROBABILITY * 255 * area, radius + AROUND_CELLS)[box.within(wide)]


def spread(plane: Plane, box: Box, made: Callable[[Plane, Box], npt.NDArray[np.bool_]]) -> npt.NDArray[np.bool_]:
    """A mask over a box, made on the level that the plane takes its masks from."""
    level, outer = plane.masks, plane.mask_cells(box)
    cells = made(level, outer)
    if level is plane:
        return cells
    size = level.factor // plane.factor
    wide = outer.times(size)
    return on_pixels(cells, size, wide.shape)[box.within(wide)]


def counted(classes: npt.NDArray[np.uint8], source: CloudSource) -> npt.NDArray[np.bool_]:
    """Cells whose class counts as cloud."""
    if source.model is None:  # a user's classes are remapped pixel by pixel, before they become cells
        return np.asarray(classes == 1)
    mapped = reclassify(classes, source.remap or MODEL_REMAP)
    return np.asarray((mapped != 0) & (mapped != NODATA))
