"""Cached cells and native pixels of any layer, moved to where they belong."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

import cachetools
import numpy as np
import numpy.typing as npt

from algorithms.cells import Cells, bilinear, cell_means
from algorithms.pixels import sample_pixels
from algorithms.shift import NO_SHIFT, SHIFT_MARGIN, Shift, move
from server.raster.announcing import announce, files_read
from server.raster.assembling import READ_PIXELS, assemble
from server.raster.compact import CompactCells, joined_cells
from server.raster.composite import layers_by_grid, mixed
from server.raster.grid import BlockNumber, Box, Grid
from server.raster.layer import Layer
from server.raster.means import OverviewMeans
from server.raster.pixels import Pixels
from server.raster.reading import READ_CELLS, read_cells, read_pixels
from server.raster.sources import Sources
from server.raster.stored import StoredPixels
from server.remote.files import is_remote
from server.work.cache import TileCache

EXPECTED_BLOCKS: Final = 4096
"""Most blocks remembered as needed in pixels, too."""
JUDGED_BLOCKS: Final = 4096
"""Most blocks of pixels of which it is remembered whether they have data in all bands or in none."""
ROOMY_SHARE: Final = 0.5
"""Share of the cache up to which pixels are kept wherever cells are read: the next view may show them."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PixelsKey:
    """The cache key of a block of native pixels."""

    layer: Layer
    number: BlockNumber


@dataclass(frozen=True, slots=True)
class CellsKey:
    """The cache key of a block of cells."""

    layer: Layer
    shift: Shift
    grid: Grid
    number: BlockNumber


CellReads = dict[CellsKey, Callable[[], object]]
"""What reads blocks of cells."""


class RasterCache:
    """Reads rasters in blocks, each once however many places need it."""

    def __init__(self, sources: Sources, tiles: TileCache) -> None:
        self.sources: Final = sources
        """What opens the rasters."""
        self.stored: Final = StoredPixels(sources, tiles)
        """Pixels as they are stored."""
        self.means: Final = OverviewMeans(self.stored, self.pixels)
        """Cells from overviews."""
        self._cache = tiles
        self._expected: cachetools.LRUCache[PixelsKey, bool] = cachetools.LRUCache(EXPECTED_BLOCKS)
        self._evens: cachetools.LRUCache[PixelsKey, bool] = cachetools.LRUCache(JUDGED_BLOCKS)
        self._lock = threading.Lock()

    def expect_pixels(self, layer: Layer, box: Box) -> None:
        """Announce that native pixels under a box are needed soon: reading the cells there then keeps the pixels."""
        numbers = list(box.clip(layer.target.shape).blocks(READ_PIXELS))
        with self._lock:
            self._expected.update((PixelsKey(layer, number), True) for number in numbers)

    def announce_pixels(self, layer: Layer, box: Box) -> None:
        """Announce that native pixels under a box inside the target will be read, where remote files lack some."""
        if not any(map(is_remote, files_read(layer.dataset))):
            return
        native = _native(layer)
        numbers = box.blocks(READ_PIXELS)
        if missing := [number for number in numbers if not self._cache.peek(PixelsKey(layer, number))]:
            announce(self.sources, layer, native, [native.block(number, READ_PIXELS) for number in missing])

    def announce_cells(self, layer: Layer, grid: Grid, boxes: list[Box]) -> None:
        """Announce that cells over boxes will be read, so that the bytes of remote rasters come in few requests."""
        announce(self.sources, layer, grid, boxes, level_of=self.means.level)

    def _pixels(self, layer: Layer, number: BlockNumber) -> Pixels:
        """A block of native pixels."""
        box = _native(layer).block(number, READ_PIXELS)
        return self._cache.get(PixelsKey(layer, number), lambda: read_pixels(self.sources, layer, box).compact)

    def pixels(self, layer: Layer, box: Box, shift: Shift = NO_SHIFT, bands: tuple[int, ...] | None = None) -> Pixels:
        """A layer's pixels over a box inside its target, the layer moved by `shift`; all bands or some of them."""
        native = _native(layer)
        wide = box if shift == NO_SHIFT else box.pad(SHIFT_MARGIN).clip(native.shape)
        valid = whole = self.there(layer, wide)
        if layer.is_target:
            whole = assemble(lambda n: self._pixels(layer, n).whole, wide, native, READ_PIXELS).astype(bool, copy=False)
        values = assemble(lambda n: self._pixels(layer, n).values, wide, native, READ_PIXELS, bands)
        pixels = Pixels(values, valid, whole)
        if shift == NO_SHIFT:
            return pixels
        at = box.within(wide)
        moved = move(pixels.clean, pixels.valid, shift)[(slice(None), *at)]
        return Pixels(moved, pixels.valid[at], pixels.whole[at])

    def cells(self, layer: Layer, grid: Grid, box: Box, shift: Shift = NO_SHIFT) -> Cells:
        """Values of a layer moved by `shift` over a box of cells inside the scene."""
        fetch = partial(self._cells, layer, grid, shift=shift)
        return joined_cells(fetch, box, grid, size=READ_CELLS, bands=len(layer.indexes))

    def cell_reads(self, layer: Layer, grid: Grid, box: Box, shift: Shift = NO_SHIFT) -> CellReads:
        """What reads the cells over a box inside the scene that are not cached, block by block.

        For several workers at once: none waits for a block that another is at.
        """
        keys = (CellsKey(layer, shift, grid, number) for number in box.blocks(READ_CELLS))
        return {key: partial(self._cells, layer, grid, key.number, shift) for key in keys if not self._cache.peek(key)}

    def valid(self, layer: Layer, grid: Grid, box: Box) -> npt.NDArray[np.bool_]:
        """Cells of a layer with any data over a box inside the scene."""
        return assemble(lambda n: self._cells(layer, grid, n).valid, box, grid, READ_CELLS).astype(bool, copy=False)

    def data(self, layer: Layer, grid: Grid, box: Box) -> npt.NDArray[np.uint8]:
        """How much data cells of a layer have over a box inside the scene: 0 none, 1 some, 2 in all of their pixels."""

        def block(number: BlockNumber) -> npt.NDArray[np.uint8]:
            cells = self._cells(layer, grid, number)
            return cells.valid.astype(np.uint8) + cells.full

        return assemble(block, box, grid, READ_CELLS).astype(np.uint8, copy=False)

    def shows_gaps(self, layer: Layer, grid: Grid) -> bool:
        """Whether a layer's cells on a fine level say of each of them if all of its pixels have data."""
        dataset = layer.dataset
        if not grid.fine or (dataset.nodata is None and not dataset.fractions):
            return True
        return not any(self.means.level(own, factor) for _, own, factor in layers_by_grid(layer, grid.factor))

    def there(self, layer: Layer, box: Box) -> npt.NDArray[np.bool_]:
        """Native pixels of a layer that have data, over a box inside its target."""
        return assemble(lambda n: self._pixels(layer, n).valid, box, _native(layer), READ_PIXELS).astype(
            bool, copy=False
        )

    def is_even(self, layer: Layer, box: Box) -> bool:
        """Whether each stored pixel over a box inside a target has the nodata value in all of its bands or in none."""
        return layer.conversion is None and all(self._even(layer, number) for number in box.blocks(READ_PIXELS))

    def _even(self, layer: Layer, number: BlockNumber) -> bool:
        key = PixelsKey(layer, number)
        with self._lock:
            known = self._evens.get(key)
        if known is not None:
            return known
        pixels, nodata = self._pixels(layer, number), layer.dataset.nodata
        even = bool((pixels.valid == pixels.whole).all())  # others have guessed values
        if even and nodata is not None:
            missing = np.isnan(pixels.values) if np.isnan(nodata) else pixels.values == nodata
            even = bool((missing.any(axis=0) == missing.all(axis=0)).all())
        with self._lock:
            self._evens[key] = even
        return even

    def _cells(self, layer: Layer, grid: Grid, number: BlockNumber, shift: Shift = NO_SHIFT) -> CompactCells:
        """A block of cells: from an overview where one serves, else from pixels.

        From those that are kept where they are kept anyway, the same bit for bit, else from the raster.
        """
        block = grid.block(number, READ_CELLS)

        def compute() -> CompactCells:
            if shift == NO_SHIFT:
                if mixed(layer.dataset):
                    return CompactCells.of(read_cells(self.sources, layer, grid, block, known=self.means.cells))
                if (known := self.means.cells(layer, grid.factor, block)) is not None:
                    return CompactCells.of(known)
                if not self._from_pixels(layer, grid, number):
                    return CompactCells.of(read_cells(self.sources, layer, grid, block))
            pixels = self.pixels(layer, block.times(grid.factor).clip(layer.target.shape), shift)
            return CompactCells.of(cell_means(pixels.values, pixels.valid, grid.factor, whole=pixels.whole))

        return self._cache.get(CellsKey(layer, shift, grid, number), compute)

    def _from_pixels(self, layer: Layer, grid: Grid, number: BlockNumber) -> bool:
        """Whether a block of cells is a block of pixels that is cached or expected to be needed, or has room."""
        if READ_CELLS * grid.factor != READ_PIXELS:
            return False
        key = PixelsKey(layer, number)
        with self._lock:
            expected = key in self._expected
        return expected or self._cache.share < ROOMY_SHARE or self._cache.peek(key)

    def sample(
        self,
        layer: Layer,
        shift: Shift,
        rows: Floats,
        cols: Floats,
        *,
        bands: tuple[int, ...],
        smooth: bool,
        factor: int = 1,
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """Values of a layer moved by `shift` at points.

        Args:
            layer: what to read.
            shift: how it is moved.
            rows: (p,) positions in cells of `factor` native pixels, cell k from k to k + 1.
            cols: (p,) positions in cells.
            bands: 0-based positions of the bands.
            smooth: whether to interpolate between pixels where all around have data.
            factor: native pixels per cell.

        Returns:
            (bands, p) values and (p,) validity.
        """
        height, width = layer.target.shape
        (top, bottom), (left, right) = (
            (
                min(max(math.floor(axis.min() * factor), 0), size - 1),
                min(max(math.floor(axis.max() * factor), 0), size - 1),
            )
            for axis, size in ((rows, height), (cols, width))
        )
        box = Box(top, bottom + 1, left, right + 1).pad(1).clip((height, width))
        pixels = self.pixels(layer, box, shift, bands)
        corner = box.top, box.left
        values, valid = sample_pixels(pixels.values, pixels.valid, rows, cols, factor, corner, (height, width))
        if smooth:
            planes = np.moveaxis(np.concatenate([pixels.clean, pixels.valid[None].astype(np.float32)]), 0, -1)
            between = bilinear(planes, rows * factor - box.top, cols * factor - box.left).T
            values = np.where(between[-1] > 1 - 1e-6, between[:-1], values)
        return values, valid


def _native(layer: Layer) -> Grid:
    """The pixels of a layer's target."""
    rows, cols = layer.target.shape
    return Grid(factor=1, rows=rows, cols=cols)
