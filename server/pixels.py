"""Cached native pixels of any layer, for what is finer than a cell."""

from __future__ import annotations

from functools import partial
from typing import Final

from server.cache import TileCache
from server.cells import Pixels, read_pixels
from server.grid import Box, Grid
from server.layers import Layer
from server.masks import assemble

BLOCK: Final = 512
"""Side in pixels of the pieces in which pixels are read and kept: the tile of a common COG."""


class PixelCache:
    """Reads pixels in blocks, each once however many places need it."""

    def __init__(self, cache: TileCache) -> None:
        self._cache = cache

    def read(self, layer: Layer, box: Box) -> Pixels:
        """A layer's pixels over a box inside its target."""
        native = Grid(factor=1, rows=layer.target.height, cols=layer.target.width)

        def block(number: tuple[int, int]) -> Pixels:
            return self._cache.get(("pixels", layer, number), partial(read_pixels, layer, native.block(number, BLOCK)))

        return Pixels(
            assemble(lambda n: block(n).values, box, native, BLOCK),
            assemble(lambda n: block(n).valid, box, native, BLOCK).astype(bool, copy=False),
        )
