"""Cached mask tiles: classes and probabilities per block of the analysis grid."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Final

import numpy as np
import numpy.typing as npt

from algorithms.bands import role_indexes
from algorithms.cells import cell_any, on_pixels
from algorithms.mask import classify, window_probabilities
from algorithms.masks import NODATA, dilate
from algorithms.models import WINDOW, CloudModel
from algorithms.moments import box_sums
from algorithms.reclassify import Remap, reclassify
from algorithms.windows import Window, blend, window_start, windows_over
from server.analysis.task import CloudSource
from server.raster.cache import RasterCache
from server.raster.dataset import Dataset
from server.raster.grid import BLOCK_CELLS, Box, Grid
from server.raster.layer import Layer
from server.raster.reading import announce, read_classes
from server.work.cache import TileCache
from server.work.pool import FairPool

CERTAIN_PROBABILITY: Final = 0.95
"""Mean probability of cloud or shadow from which on the model is believed without reserve. On the clear dates at
hand its false alarms stay below; the inside of real clouds reaches 0.99."""
AROUND_CELLS: Final = 2
"""Radius in cells of the surroundings the mean is taken over."""


@dataclass(frozen=True, slots=True)
class MaskTile:
    """The mask of a rectangle of cells."""

    classes: npt.NDArray[np.uint8]
    """(h, w): 0 clear, 1 cloud, 2 shadow, 255 nodata; of a user's raster 0 clear, 1 cloud, 255 nodata."""
    probabilities: npt.NDArray[np.uint8]
    """(2, h, w) of cloud and of shadow, 255 = 1."""


def joined(box: Box, fetch: Callable[[tuple[int, int]], tuple[Box, MaskTile]]) -> MaskTile:
    """Put the mask of a box together from those of blocks, each with the cells it covers."""
    classes, probabilities = np.empty(box.shape, np.uint8), np.empty((2, *box.shape), np.uint8)
    for number in box.blocks(BLOCK_CELLS):
        covered, tile = fetch(number)
        cut = box.intersection(covered)
        here, there = cut.within(box), cut.within(covered)
        classes[here] = tile.classes[there]
        probabilities[(slice(None), *here)] = tile.probabilities[(slice(None), *there)]
    return MaskTile(classes, probabilities)


class Masks:
    """Mask tiles of any layer, computed once and kept in a byte-bounded cache."""

    def __init__(self, rasters: RasterCache, cache: TileCache, pool: FairPool) -> None:
        self._rasters = rasters
        self._cache = cache
        self._pool = pool

    def _window(self, layer: Layer, model: CloudModel, grid: Grid, window: Window) -> npt.NDArray[np.uint8]:
        """Probabilities of one inference window, from the cache or the network."""

        def compute() -> npt.NDArray[np.uint8]:
            top, left = window_start(window[0], grid.rows), window_start(window[1], grid.cols)
            cells = self._rasters.cells(layer, grid, Box(top, top + WINDOW, left, left + WINDOW).clip(grid.shape))
            picked = list(role_indexes(layer.target.names, model.bands))
            scale, offset = (
                np.asarray(v, np.float32)[:, None, None]
                for v in zip(*(_reflectance(layer, band) for band in picked), strict=True)
            )
            return window_probabilities(cells.values[picked] * scale + offset, cells.valid, model)

        return self._cache.get(("window", layer, model.id, grid, window), compute)

    def prefetch(self, grid: Grid, wanted: Iterable[tuple[Layer, CloudSource, Box]]) -> None:
        """Run the networks on every window that the boxes need, side by side; tiles then find them in the cache."""
        missing: dict[tuple[Layer, Window], CloudModel] = {}
        for layer, source, box in wanted:
            if (model := source.model) is None:
                continue
            missing |= {(layer, w): model for w in self._missing(layer, model, grid, box.clip(grid.shape))}
        _announce_windows(missing, grid)
        self._pool.run(
            [partial(self._window, layer, model, grid, window) for (layer, window), model in missing.items()]
        )

    def _missing(self, layer: Layer, model: CloudModel, grid: Grid, box: Box) -> Iterator[Window]:
        """Windows over a box inside the scene that are not there yet."""
        for window in product(
            windows_over(box.top, box.bottom, grid.rows), windows_over(box.left, box.right, grid.cols)
        ):
            if not self._cache.peek(("window", layer, model.id, grid, window)):
                yield window

    def tile(self, layer: Layer, source: CloudSource, grid: Grid, box: Box) -> MaskTile:
        """Classes and probabilities over a box inside the scene.

        Blended from the windows under just this box: blocks that go beyond it would call for windows that nobody needs.
        Where these are there already, whole blocks are blended and kept; the values are the same, bit for bit.
        """
        if (model := source.model) is not None:
            self.prefetch(grid, [(layer, source, box)])
            return joined(box, lambda n: self._block(layer, model, grid, n, box))
        if (raster := source.classes) is None:
            clear = np.where(self._rasters.valid(layer, grid, box), 0, NODATA).astype(np.uint8)
            return MaskTile(clear, np.zeros((2, *box.shape), np.uint8))
        read = partial(self._read_tile, layer, raster, source.remap, grid)
        return joined(box, lambda n: (grid.block(n), read(n)))

    def _block(
        self, layer: Layer, model: CloudModel, grid: Grid, number: tuple[int, int], box: Box
    ) -> tuple[Box, MaskTile]:
        """A block by the model, or the part of it in a box if the block calls for windows that are not there."""
        block = grid.block(number)
        key = ("blended", layer, model.id, grid, number)
        if self._cache.peek(key) or next(self._missing(layer, model, grid, block), None) is None:
            return block, self._cache.get(key, partial(self._blended, layer, model, grid, block))
        part = box.intersection(block)
        return part, self._blended(layer, model, grid, part)

    def _blended(self, layer: Layer, model: CloudModel, grid: Grid, box: Box) -> MaskTile:
        probabilities = blend(
            partial(self._window, layer, model, grid), (box.top, box.bottom), (box.left, box.right), grid.shape
        )
        return MaskTile(classify(probabilities, self._rasters.valid(layer, grid, box)), probabilities)

    def _read_tile(self, layer: Layer, raster: Dataset, remap: Remap, grid: Grid, number: tuple[int, int]) -> MaskTile:
        """A block of a user's mask."""

        def compute() -> MaskTile:
            box = grid.block(number)
            valid = self._rasters.valid(layer, grid, box)
            pixels = reclassify(read_classes(raster, layer.target, grid, box), remap)
            cloudy = cell_any((pixels != 0) & (pixels != NODATA), grid.factor)
            certain = np.zeros((2, *valid.shape), np.uint8)
            certain[0, cloudy] = 255
            return MaskTile(np.where(valid, cloudy, NODATA).astype(np.uint8), certain)

        return self._cache.get(("mask", layer, raster, remap, grid, number), compute)

    def cloudy(self, layer: Layer, source: CloudSource, grid: Grid, box: Box, radius: int) -> npt.NDArray[np.bool_]:
        """Cells that count as cloud over a box inside the scene, with a buffer of `radius` cells around them."""
        wide = box.pad(radius).clip(grid.shape)
        return dilate(counted(self.tile(layer, source, grid, wide).classes, source), radius)[box.within(wide)]

    def certain(self, layer: Layer, source: CloudSource, grid: Grid, box: Box, radius: int) -> npt.NDArray[np.bool_]:
        """Cells beyond doubt cloud or shadow: their surroundings have a mean probability of `CERTAIN_PROBABILITY`."""
        wide = box.pad(radius + 2 * AROUND_CELLS).clip(grid.shape)
        certainty = self.tile(layer, source, grid, wide).probabilities.max(axis=0)
        # Whole numbers below 2^53, so that the sums do not depend on where the box begins.
        total = box_sums(certainty[None].astype(np.float64), AROUND_CELLS)[0]
        area = box_sums(np.ones((1, *certainty.shape)), AROUND_CELLS)[0]
        return dilate(total >= CERTAIN_PROBABILITY * 255 * area, radius + AROUND_CELLS)[box.within(wide)]


def spread(grid: Grid, box: Box, made: Callable[[Grid, Box], npt.NDArray[np.bool_]]) -> npt.NDArray[np.bool_]:
    """A mask over a box, made on the level that the grid takes its masks from."""
    level, outer = grid.mask_cells(box)
    cells = made(level, outer)
    if level is grid:
        return cells
    size = level.factor // grid.factor
    wide = outer.times(size)
    return on_pixels(cells, size, wide.shape)[box.within(wide)]


def counted(classes: npt.NDArray[np.uint8], source: CloudSource) -> npt.NDArray[np.bool_]:
    """Cells whose class counts as cloud."""
    if source.model is None:  # a user's classes are remapped pixel by pixel, before they become cells
        return np.asarray(classes == 1)
    mapped = reclassify(classes, source.remap)
    return np.asarray((mapped != 0) & (mapped != NODATA))


def _reflectance(layer: Layer, band: int) -> tuple[float, float]:
    """Scale and offset of the layer's band that stands for the target's band number `band` (0-based)."""
    position = layer.dataset.indexes.index(layer.indexes[band])
    return layer.dataset.scales[position], layer.dataset.offsets[position]


def _announce_windows(windows: Iterable[tuple[Layer, Window]], grid: Grid) -> None:
    """Tell which inference windows will be read, so that the bytes of remote rasters come in few requests."""
    boxes: dict[Layer, list[Box]] = {}
    for layer, (row, col) in windows:
        top, left = window_start(row, grid.rows), window_start(col, grid.cols)
        boxes.setdefault(layer, []).append(Box(top, top + WINDOW, left, left + WINDOW).clip(grid.shape))
    for layer, wanted in boxes.items():
        announce(layer, grid, wanted)
