"""The order of the work: the scene cut into pieces, so that neighbours follow each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from rasterio.windows import Window

from algorithms.moments import node_lattice
from server.analysis.engine import SQUARE_BLOCKS
from server.analysis.extents import farthest
from server.analysis.task import Task
from server.raster.dataset import Dataset
from server.raster.grid import Box, Grid

PIECE_PIXELS: Final = (512, 1024)
"""Rows and columns of pixels of a piece: whole tiles of a common COG, and little memory."""
KEPT_ROWS: Final = 1024
"""Rows of cells of every raster that a strip in work keeps in the cache: its own, and those its windows look at."""
DETAILED_ROWS: Final = 512
"""Rows of cells whose pixels are kept, too."""
EXPORT_RASTER_SHARE: Final = 0.55
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
        rows, cols = self.pixels.shape
        return Window(self.pixels.left, self.pixels.top, cols, rows)


def strips(dataset: Dataset, grid: Grid, *, rasters: int, cache_bytes: int) -> list[list[Piece]]:
    """Pieces of a scene in rows from top to bottom; scenes too wide for the cache in several swaths, left to right.

    What neighbouring rows share - cells, masks, sums - is then computed once: it is still in the cache when the next
    row wants it, however large the scene is.

    Args:
        dataset: the target.
        grid: the level of the analysis grid.
        rasters: target and replacements.
        cache_bytes: size of the cache.
    """
    bands = len(dataset.indexes)
    # Bytes of cache per column of cells: its part for what is read, and that for gains and offsets of the squares in
    # work and those in use, with as much again for borders in pixels, windows and masks.
    pixels = np.dtype(dataset.dtype).itemsize * grid.factor**2 * DETAILED_ROWS
    read, filled = rasters * bands * (4 * KEPT_ROWS + pixels), 2 * 4 * bands * 2 * 2 * SQUARE_BLOCKS * grid.side
    column = max(read / EXPORT_RASTER_SHARE, filled / (1 - EXPORT_RASTER_SHARE))
    swaths = -(-dataset.width // max(PIECE_PIXELS[1], int(cache_bytes / column) * grid.factor))
    width = -(-dataset.width // (swaths * PIECE_PIXELS[1])) * PIECE_PIXELS[1]
    result = []
    for left in range(0, dataset.width, width):
        for top in range(0, dataset.height, PIECE_PIXELS[0]):
            strip = Box(top, top + PIECE_PIXELS[0], left, left + width).clip(dataset.shape)
            result.append(
                [
                    Piece(
                        top // PIECE_PIXELS[0],
                        start // PIECE_PIXELS[1],
                        Box(strip.top, strip.bottom, start, min(start + PIECE_PIXELS[1], strip.right)),
                    )
                    for start in range(strip.left, strip.right, PIECE_PIXELS[1])
                ]
            )
    return result


def cells_under(pieces: list[Piece], grid: Grid) -> list[tuple[int, int]]:
    """Numbers of the analysis blocks that pieces touch with their borders, each once, row by row."""
    numbers: dict[tuple[int, int], None] = {}
    for piece in pieces:
        box, factor = piece.pixels, grid.factor
        cells = Box(box.top // factor, box.bottom // factor + 1, box.left // factor, box.right // factor + 1)
        numbers.update(dict.fromkeys(cells.clip(grid.shape).blocks(grid.side)))
    return sorted(numbers)


def ground_around(numbers: list[tuple[int, int]], grid: Grid, task: Task) -> Box:
    """Cells that the squares over blocks of fills can look at."""
    rows, cols = zip(*numbers, strict=True)
    blocks = Box(min(rows), max(rows) + 1, min(cols), max(cols) + 1).align(SQUARE_BLOCKS)
    return farthest(blocks.times(grid.side), node_lattice(task.options.window, grid.factor), task, grid)
