"""What the rest of a whole scene does not need of what is cached: dropped before the cache is full."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator

from server.analysis.keys import FillKey
from server.raster.assembling import READ_PIXELS
from server.raster.cache import CellsKey, PixelsKey
from server.raster.grid import Box, Grid
from server.raster.reading import READ_CELLS
from server.raster.stored import StoredKey
from server.work.cache import TileCache


def drop_needless(caches: Iterable[TileCache], made: list[Box], seen: list[Box]) -> None:
    """Drop what `needless` finds."""
    for cache in caches:
        cache.drop(list(needless(cache.keys, made, seen)))


def needless(keys: Iterable[Hashable], made: list[Box], seen: list[Box]) -> Iterator[Hashable]:
    """Keys of what lies outside of some boxes of the target's pixels.

    Masks and windows stay: they are small, and rest on each other.

    Args:
        keys: of anything.
        made: where fills and pixels are needed.
        seen: where cells are.
    """
    for key in keys:
        if isinstance(key, FillKey):
            ground, boxes = key.core.times(key.plane.factor), made
        elif isinstance(key, PixelsKey):
            rows, cols = key.layer.target.shape
            ground, boxes = Grid(factor=1, rows=rows, cols=cols).block(key.number, READ_PIXELS), made
        elif isinstance(key, CellsKey):
            ground, boxes = key.grid.block(key.number, READ_CELLS).times(key.grid.factor), seen
        elif isinstance(key, StoredKey):
            # Of a raster on another lattice, or whose overviews are other than halves, this is but a guess.
            row, col = key.number
            size = key.side * (1 if key.overview is None else 2 << key.overview)
            ground, boxes = Box(row, row + 1, col, col + 1).times(size), seen
        else:
            continue
        if not any(ground.intersection(box).area for box in boxes):
            yield key
