"""Where the pixels of an image lie in cells: what is under each, and the places of those to be filled."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from algorithms.fill import UNFILLED
from algorithms.loops import compiled_loops
from algorithms.sampling import Bytes, Floats, Integers, numpy_look_up, numpy_spread_nodes

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class FillPlaces:
    """Pixels to be filled."""

    at: Integers
    """(p,) their numbers, counted row by row of the image."""
    rows: Floats
    """(p,) in cells, in whole steps."""
    cols: Floats
    """(p,)."""

    @classmethod
    def of(cls, at: Integers, rows: Floats, cols: Floats) -> FillPlaces:
        """Those of an image of (H, W) positions by their numbers."""
        return cls(at, rows.ravel().take(at), cols.ravel().take(at))

    def where(self, chosen: Bools) -> FillPlaces:
        """Some of them, (p,)."""
        return self if chosen.all() else FillPlaces(self.at[chosen], self.rows[chosen], self.cols[chosen])


@dataclass(frozen=True, slots=True)
class CellsUnder:
    """Values of cells, or of squares of 2^`pooled` of them."""

    source: Bytes
    """(h, w): 0 what stays, `UNFILLED` what cannot be filled, else what fills it."""
    data: Bytes | None
    """(h, w), how much data the target has; None where all of the image has some."""
    full: int
    """The value of `data` for cells that have data everywhere."""
    origin: tuple[int, int]
    """Row and column of the first cell."""
    shape: tuple[int, int]
    """Rows and columns of cells."""
    pooled: int
    """See above."""


def place_pixels(
    nodes: tuple[Floats, Floats], spacing: int, shape: tuple[int, int], factor: int, cells: CellsUnder, shown: Bools
) -> tuple[Bytes, FillPlaces, int]:
    """Look the cells under an image's pixels up.

    Args:
        nodes: (m, n) rows and columns in pixels of every `spacing`-th corner of the image's pixels.
        spacing: image pixels between nodes.
        shape: the image's rows and columns.
        factor: pixels per cell.
        cells: what is looked up; beyond it nothing is filled, and there is no data.
        shown: (H, W), pixels that have data in the image.

    Returns:
        (H, W) source; the places of the pixels to be filled; and how many pixels are shown where a cell lacks data.
    """
    if (loops := compiled_loops().loops) is None:
        return numpy_place_pixels(nodes, spacing, shape, factor, cells, shown)
    data = np.zeros((0, 0), np.uint8) if cells.data is None else np.ascontiguousarray(cells.data)
    room = shape[0] * shape[1] + 1
    at, rows, cols = np.empty(room, np.int64), np.empty(room), np.empty(room)
    source, count, unsure = loops.compiled_place_pixels(
        *map(np.ascontiguousarray, nodes),
        (spacing, *shape, factor, *cells.origin, *cells.shape, cells.pooled, cells.full),
        np.ascontiguousarray(cells.source),
        data,
        np.ascontiguousarray(shown),
        at,
        rows,
        cols,
    )
    return source, FillPlaces(at[:count], rows[:count], cols[:count]), unsure


def numpy_place_pixels(
    nodes: tuple[Floats, Floats], spacing: int, shape: tuple[int, int], factor: int, cells: CellsUnder, shown: Bools
) -> tuple[Bytes, FillPlaces, int]:
    """`place_pixels` in numpy."""
    rows, cols = (numpy_spread_nodes(axis, spacing, *shape, factor) for axis in nodes)
    where = rows, cols, cells.origin, cells.shape, cells.pooled
    source = numpy_look_up(cells.source, *where, UNFILLED)
    unsure = 0
    if cells.data is not None:
        unsure = int(np.count_nonzero(shown & (numpy_look_up(cells.data, *where, 0) < cells.full)))
    at = np.flatnonzero((source != 0) & (source != UNFILLED))
    return source, FillPlaces.of(at, rows, cols), unsure
