"""What the rest of a whole scene does not need of what is cached: dropped before the cache is full."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from typing import Final

from algorithms.models import INPUT_CELLS
from algorithms.windows import window_start
from server.analysis.keys import BlendedKey, FillKey, RefinedKey, WindowKey
from server.raster.assembling import READ_PIXELS
from server.raster.cache import CellsKey, PixelsKey
from server.raster.grid import Box, Grid
from server.raster.reading import READ_CELLS
from server.raster.stored import StoredKey
from server.work.cache import TileCache

MASK_MARGIN_PIXELS: Final = 512
"""Pixels around cells on which the masks over these can depend."""


def drop_needless(caches: Iterable[TileCache], made: list[Box], seen: list[Box]) -> None:
    """Drop what `needless` finds."""
    for cache in caches:
        cache.drop(list(needless(cache.keys, made, seen)))


def needless(keys: Iterable[Hashable], made: list[Box], seen: list[Box]) -> Iterator[Hashable]:
    """Keys of what lies outside of some boxes of the target's pixels.

    Args:
        keys: of anything.
        made: where fills and pixels are needed.
        seen: where cells are, and around which masks are.
    """
    around = [box.pad(MASK_MARGIN_PIXELS) for box in seen]
    for key in keys:
        ground, boxes = _ground(key), around
        if isinstance(key, FillKey | PixelsKey):
            boxes = made
        elif isinstance(key, CellsKey | StoredKey):
            boxes = seen
        if ground is not None and not any(ground.intersection(box).area for box in boxes):
            yield key


def _ground(key: Hashable) -> Box | None:
    """The target's pixels under what a key stands for; None of what is small, or needed everywhere."""
    match key:
        case FillKey():
            return key.core.times(key.plane.factor)
        case PixelsKey():
            rows, cols = key.layer.target.shape
            return Grid(factor=1, rows=rows, cols=cols).block(key.number, READ_PIXELS)
        case CellsKey():
            cells, factor = key.grid.block(key.number, READ_CELLS), key.grid.factor
        case StoredKey():
            # Of a raster on another lattice, or whose overviews are other than halves, this is but a guess.
            row, col = key.number
            cells, factor = (
                Box(row, row + 1, col, col + 1),
                key.side << (0 if key.overview is None else 1 + key.overview),
            )
        case BlendedKey():
            cells, factor = key.grid.block(key.number), key.grid.factor
        case RefinedKey():
            cells, factor = key.target.grid.block(key.number), key.target.grid.factor
        case WindowKey(window=(row, col)):
            top, left = window_start(row, key.grid.rows), window_start(col, key.grid.cols)
            cells, factor = Box(top, top + INPUT_CELLS, left, left + INPUT_CELLS), key.grid.factor
        case _:
            return None
    return cells.times(factor)
