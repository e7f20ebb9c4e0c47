"""Cached native pixels of any layer, moved to where they belong: for what is finer than a cell."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from algorithms.cells import Cells, bilinear, cell_means
from algorithms.shift import MARGIN, NONE, Shift, move
from server.cache import TileCache
from server.cells import READ_BLOCK, Pixels, read_pixels
from server.grid import Box, Grid
from server.layers import Layer
from server.masks import assemble

BLOCK: Final = 512
"""Side in pixels of the pieces in which pixels are read and kept: the tile of a common COG."""

Floats = npt.NDArray[np.float64]


class PixelCache:
    """Reads pixels in blocks, each once however many places need it."""

    def __init__(self, cache: TileCache) -> None:
        self._cache = cache

    def read(self, layer: Layer, box: Box, shift: Shift = NONE, bands: tuple[int, ...] | None = None) -> Pixels:
        """A layer's pixels over a box inside its target, the layer moved by `shift`; all bands or some of them."""
        native = Grid(factor=1, rows=layer.target.height, cols=layer.target.width)
        wide = box if shift == NONE else box.pad(MARGIN).clip(native.shape)

        def block(number: tuple[int, int]) -> Pixels:
            return self._cache.get(("pixels", layer, number), partial(read_pixels, layer, native.block(number, BLOCK)))

        picked = slice(None) if bands is None else list(bands)
        pixels = Pixels(
            assemble(lambda n: block(n).values, wide, native, BLOCK)[picked],
            assemble(lambda n: block(n).valid, wide, native, BLOCK).astype(bool, copy=False),
        )
        if shift == NONE:
            return pixels
        at = box.within(wide)
        return Pixels(move(pixels.clean, pixels.valid, shift)[(slice(None), *at)], pixels.valid[at])

    def cells(self, layer: Layer, shift: Shift, grid: Grid, box: Box) -> Cells:
        """Values of a layer moved by `shift` over a box of cells inside the scene."""

        def block(number: tuple[int, int]) -> Cells:
            def compute() -> Cells:
                cells = grid.block(number, READ_BLOCK)
                pixels = self.read(
                    layer, cells.times(grid.factor).clip((layer.target.height, layer.target.width)), shift
                )
                return cell_means(pixels.clean, pixels.valid, grid.factor)

            return self._cache.get(("moved", layer, shift, grid, number), compute)

        def joined(name: str) -> npt.NDArray[Any]:
            return assemble(lambda n: getattr(block(n), name), box, grid, READ_BLOCK)

        return Cells(joined("values"), joined("valid"), joined("full"))

    def sample(
        self, layer: Layer, shift: Shift, rows: Floats, cols: Floats, *, bands: tuple[int, ...], smooth: bool
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """Values of a layer moved by `shift` at points.

        Args:
            layer: what to read.
            shift: how it is moved.
            rows: (p,) positions in native pixels, pixel k from k to k + 1.
            cols: (p,) positions in native pixels.
            bands: 0-based positions of the bands.
            smooth: whether to interpolate between pixels where all around have data.

        Returns:
            (bands, p) values and (p,) validity.
        """
        height, width = layer.target.height, layer.target.width
        row, col = (np.floor(axis).astype(np.intp) for axis in (rows, cols))
        inside = (row >= 0) & (row < height) & (col >= 0) & (col < width)
        row, col = row.clip(0, height - 1), col.clip(0, width - 1)
        box = Box(int(row.min()), int(row.max()) + 1, int(col.min()), int(col.max()) + 1).pad(1).clip((height, width))
        pixels = self.read(layer, box, shift, bands)
        row, col = row - box.top, col - box.left
        values, valid = pixels.clean[:, row, col], pixels.valid[row, col] & inside
        if smooth:
            planes = np.moveaxis(np.concatenate([pixels.clean, pixels.valid[None].astype(np.float32)]), 0, -1)
            between = bilinear(planes, rows - box.top, cols - box.left).T
            values = np.where(between[-1] > 1 - 1e-6, between[:-1], values)
        return values, valid
