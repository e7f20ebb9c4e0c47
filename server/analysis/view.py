"""An output image on the analysis grid: its level, the cells it touches, and which of them is under each pixel."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from algorithms.placing import CellsUnder, FillPlaces, place_pixels
from algorithms.sampling import STEPS_PER_CELL, look_up
from server.analysis.blocks import ALL_DATA, NO_DATA
from server.analysis.engine import Analysis
from server.analysis.footing import has_data_in, stand_on_data
from server.analysis.plane import Plane
from server.analysis.task import Task
from server.raster.grid import Box, Grid, grid_for
from server.raster.sampling import NODE_PIXELS, OutputGrid, Positions, native_pixels, positions

FINE_PIXELS: Final = 2.0
"""Native pixels per output pixel from which single ones are not resolved, and overviews are read."""


@dataclass(frozen=True, slots=True)
class View:
    """An output image on the analysis grid."""

    plane: Plane
    """What is analysed."""
    positions: Positions
    """Output pixels on the native lattice."""
    box: Box
    """Cells that the image touches, inside the scene."""
    pooled: int
    """Powers of two by which an output pixel is wider than a cell."""
    pixel: float
    """Native pixels per output pixel."""

    @property
    def shows_pixels(self) -> bool:
        """Whether native pixels matter: output pixels are smaller than `FINE_PIXELS` of them."""
        return self.pixel < FINE_PIXELS

    @property
    def side(self) -> int:
        """Cells per side of the blocks of fills that it shows."""
        return self.plane.side(in_pixels=self.shows_pixels)

    def cells(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """(H, W) rows and columns in cells, in steps of 1 / `STEPS_PER_CELL` of `algorithms.sampling`."""
        return self.positions.in_cells(self.plane.factor)

    def lies_within(self, box: Box) -> bool:
        """Whether all pixels lie within a box of cells, in whole steps, too."""
        span = self.positions.span()
        if span is None or not self.positions.everywhere:
            return False
        low_row, high_row, low_col, high_col = (edge / self.plane.factor for edge in span)
        step = 1 / STEPS_PER_CELL
        return (
            box.top <= low_row - step
            and high_row + step < box.bottom
            and box.left <= low_col - step
            and high_col + step < box.right
        )


def look_at(task: Task, output: OutputGrid, grid: Grid | None = None) -> View | None:
    """The view of an output image, on a level other than that of its resolution if one is given.

    None where the image misses the scene.
    """
    target = task.target.dataset
    pixels = native_pixels(target, output)
    grid = grid or grid_for(target, pixels, follows=task.clouds.users)
    where = positions(target, output)
    span = where.span()
    if span is None:
        return None
    low_row, high_row, low_col, high_col = (math.floor(edge / grid.factor) for edge in span)
    box = Box(low_row, high_row + 1, low_col, high_col + 1).clip(grid.shape)
    if 0 in box.shape:
        return None
    ratio = pixels / grid.factor
    pooled = max(0, math.floor(math.log2(ratio) + 1e-6)) if ratio > 0 else 0
    return View(Plane(task, grid), where, box, min(pooled, int(math.log2(grid.side))), pixels)


def cells_under(
    view: View,
    cells: npt.NDArray[np.uint8],
    box: Box,
    rows: npt.NDArray[np.float64],
    cols: npt.NDArray[np.float64],
    outside: int,
) -> npt.NDArray[np.uint8]:
    """Value of the cell under every output pixel."""
    return look_up(cells, rows, cols, (box.top, box.left), box.shape, view.pooled, outside)


def place_at_once(
    view: View,
    box: Box,
    source: npt.NDArray[np.uint8],
    data: npt.NDArray[np.uint8],
    shown: npt.NDArray[np.bool_] | None,
) -> tuple[npt.NDArray[np.uint8], FillPlaces] | None:
    """Source under every output pixel, and where those to be filled lie.

    Args:
        view: the output image.
        box: cells of the following.
        source: what fills them.
        data: as for `standing_pixels`.
        shown: as for `standing_pixels`.

    Returns:
        None where positions are to be looked at one by one, see `standing_pixels`.
    """
    where = view.positions
    if len(where.places[0]):
        return None
    exact = shown is None or ((data == ALL_DATA).all() and view.lies_within(box))
    cells = CellsUnder(source, None if exact else data, ALL_DATA, (box.top, box.left), box.shape, view.pooled)
    found, places, unsure = place_pixels(
        (where.node_rows, where.node_cols),
        NODE_PIXELS,
        (where.height, where.width),
        view.plane.factor,
        cells,
        np.zeros((0, 0), bool) if exact or shown is None else shown,
    )
    return None if unsure else (found, places)


def standing_pixels(
    analysis: Analysis, view: View, box: Box, data: npt.NDArray[np.uint8], shown: npt.NDArray[np.bool_] | None
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Where output pixels lie, in cells; pixels that show data lie where it is.

    Args:
        analysis: cached pixels.
        view: the output image.
        box: cells of `data`.
        data: how much data the target has, in cells or squares of 2^`pooled` of them.
        shown: (H, W), pixels that have data in the image; None where positions are exact there, too.

    Returns:
        (H, W) rows, columns, and whether a pixel is shown with no data near its position.
    """
    rows, cols = view.cells()
    if (data == ALL_DATA).all() and view.lies_within(box):
        return rows, cols, np.zeros(rows.shape, bool)
    if shown is None or (shown := shown & (cells_under(view, data, box, rows, cols, NO_DATA) < ALL_DATA)).sum() == 0:
        return rows, cols, np.zeros(rows.shape, bool)
    target, factor = view.plane.target, view.plane.factor
    if view.shows_pixels:
        native = box.times(factor).clip(target.dataset.shape)
        has_data = has_data_in(analysis.rasters.there(target, native), native, scale=factor)
    else:
        has_data = has_data_in(data > NO_DATA, box, side=1 << view.pooled)
    return stand_on_data(rows, cols, shown, max(1.0, view.pixel) / factor, has_data)
