"""The order of the work: the scene cut into pieces, so that neighbours follow each other."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from typing import Final

import numpy as np
from rasterio.windows import Window

from server.analysis.grouping import GROUP_CELLS, group_blocks
from server.analysis.plane import Plane
from server.raster.grid import BlockNumber, Box

PIECE_PIXELS: Final = (512, 1024)
"""Rows and columns of pixels of a piece: whole tiles of a common COG, and little memory."""
KEPT_ROWS: Final = 832
"""Rows of cells of every raster, and of their pixels, that a strip in work keeps in the cache: its own, and those its
windows look at."""
EXPORT_RASTER_SHARE: Final = 0.6
"""Share of the cache that goes to what is read of the rasters; more, and fills and windows would be made twice."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A rectangle of the target's pixels that becomes one file."""

    row: int
    """Number of the piece from the top."""
    col: int
    """Number from the left."""
    pixels: Box
    """Rows and columns of pixels."""

    @property
    def name(self) -> str:
        """Name of its files, without the ending."""
        return f"{self.row:05d}_{self.col:05d}"

    @property
    def window(self) -> Window:
        """Its pixels as rasterio wants them."""
        return window_of(self.pixels)


def window_of(box: Box) -> Window:
    """A box of pixels as rasterio wants it."""
    rows, cols = box.shape
    return Window(box.left, box.top, cols, rows)


def _swath_width(plane: Plane, cache_bytes: int) -> int:
    """Columns of pixels, whole pieces, whose part of the analysis is still in the cache when the next row wants it."""
    dataset = plane.target.dataset
    bands, rasters = len(dataset.indexes), 1 + len(plane.task.replacements)
    # Bytes of cache per column of cells: its part for what is read, and that for gains and offsets of the groups in
    # work, those in use and those begun, with as much again for borders in pixels, windows and masks.
    pixels = np.dtype(dataset.dtype).itemsize * plane.factor**2
    read = rasters * bands * (4 + pixels) * KEPT_ROWS
    filled = 2 * 4 * bands * 2 * 3 * GROUP_CELLS[0]
    column = max(read / EXPORT_RASTER_SHARE, filled / (1 - EXPORT_RASTER_SHARE))
    swaths = -(-dataset.width // max(PIECE_PIXELS[1], int(cache_bytes / column) * plane.factor))
    return -(-dataset.width // (swaths * PIECE_PIXELS[1])) * PIECE_PIXELS[1]


def strips(plane: Plane, *, cache_bytes: int) -> list[list[Piece]]:
    """Pieces of a scene in rows from top to bottom; scenes too wide for the cache in several swaths, left to right.

    What neighbouring rows share - cells, masks, sums - is then computed once: it is still in the cache when the next
    row wants it, however large the scene is.

    Args:
        plane: what to analyse.
        cache_bytes: size of the cache.
    """
    shape = plane.target.dataset.shape
    width = _swath_width(plane, cache_bytes)
    return [
        _pieces(Box(top, top + PIECE_PIXELS[0], left, left + width).clip(shape))
        for left in range(0, shape[1], width)
        for top in range(0, shape[0], PIECE_PIXELS[0])
    ]


def _pieces(strip: Box) -> list[Piece]:
    """The pieces of a strip, from left to right."""
    return [
        Piece(
            strip.top // PIECE_PIXELS[0],
            left // PIECE_PIXELS[1],
            Box(strip.top, strip.bottom, left, min(left + PIECE_PIXELS[1], strip.right)),
        )
        for left in range(strip.left, strip.right, PIECE_PIXELS[1])
    ]


def blocks_under(plane: Plane, pieces: list[Piece]) -> list[BlockNumber]:
    """Numbers of the blocks of fills that pieces touch with their borders, each once, row by row."""
    numbers: dict[BlockNumber, None] = {}
    for piece in pieces:
        box, factor = piece.pixels, plane.factor
        cells = Box(box.top // factor, box.bottom // factor + 1, box.left // factor, box.right // factor + 1)
        numbers.update(dict.fromkeys(plane.blocks(cells.clip(plane.shape), in_pixels=True)))
    return sorted(numbers)


def blocks_box(plane: Plane, numbers: list[BlockNumber]) -> Box:
    """The cells of blocks of fills, and what lies between them."""
    return reduce(Box.union, (plane.block(number, in_pixels=True) for number in numbers))


def ground_around(plane: Plane, numbers: list[BlockNumber]) -> Box:
    """Cells that the groups over blocks of fills can look at."""
    rows, cols = zip(*numbers, strict=True)
    side = plane.side(in_pixels=True)
    down, across = group_blocks(side)
    blocks = Box(
        min(rows) // down * down,
        (max(rows) // down + 1) * down,
        min(cols) // across * across,
        (max(cols) // across + 1) * across,
    )
    return plane.farthest(blocks.times(side))
