"""Output pixels at the edge of data: rio-tiler shows the nearest pixel within a tolerance, positions here are exact.

Along a nodata edge some pixels have data in the image, yet their exact position has none. They move to where the data
that they show is, or is nearest.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Final

import numpy as np
import numpy.typing as npt

from server.raster.grid import Box

REACHES: Final = (0.25, 0.5, 1.0, 1.5)
"""How far from its exact position data is looked for, in pixels of the image or of the raster, the wider of both: the
warp's tolerance is 1/8, and an image made of pixels that are warped first may be a whole one off."""
WARPED: Final = (0.125,)
"""How far off its exact position the pixel that a warp shows may be: its tolerance."""
DIRECTIONS: Final = tuple(
    (down / max(abs(down) + abs(across), 1) ** 0.5, across / max(abs(down) + abs(across), 1) ** 0.5)
    for down, across in sorted(product((-1, 0, 1), repeat=2), key=lambda d: abs(d[0]) + abs(d[1]))
    if (down, across) != (0, 0)
)
"""Rows and columns of the eight ways to look, the straight ones first."""

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
HasData = Callable[[Floats, Floats], Bools]
"""Whether there is data at positions (p,), rows and columns in cells."""


def stand_on_data(
    rows: Floats, cols: Floats, shown: Bools, unit: float, has_data: HasData, *, reaches: tuple[float, ...] = REACHES
) -> tuple[Floats, Floats, Bools]:
    """Move the positions of pixels that show data to where there is some.

    Args:
        rows: (H, W) exact positions in cells.
        cols: (H, W).
        shown: (H, W), pixels that have data in the image and perhaps none at their position.
        unit: the wider of an output and a native pixel, in cells.
        has_data: looks at the target.
        reaches: how far to look, in units.

    Returns:
        Rows and columns of all pixels, and those of `shown` that have no data near (H, W).
    """
    y, x = np.nonzero(shown)
    if len(y):
        lacking = ~has_data(rows[y, x], cols[y, x])
        y, x = y[lacking], x[lacking]
    if len(y) == 0:
        return rows, cols, np.zeros(shown.shape, bool)
    rows, cols = rows.copy(), cols.copy()
    at_row, at_col = rows[y, x], cols[y, x]
    open_still = np.ones(len(y), bool)
    for reach, (down, across) in product(reaches, DIRECTIONS):
        left = np.flatnonzero(open_still)
        there = at_row[left] + down * reach * unit, at_col[left] + across * reach * unit
        found = has_data(*there)
        hit = left[found]
        rows[y[hit], x[hit]], cols[y[hit], x[hit]] = there[0][found], there[1][found]
        open_still[hit] = False
        if not open_still.any():
            break
    lost = np.zeros(shown.shape, bool)
    lost[y[open_still], x[open_still]] = True
    return rows, cols, lost


def has_data_in(data: Bools, box: Box, *, scale: int = 1, side: int = 1) -> HasData:
    """Looks at an array of data.

    Args:
        data: (h, w), whether there is data in pixels, cells or squares of cells.
        box: what the array covers, in pixels or cells.
        scale: pixels per cell, where the box is in pixels.
        side: cells per side of a square.
    """

    def look(rows: Floats, cols: Floats) -> Bools:
        y, x = np.floor(rows * scale) - box.top, np.floor(cols * scale) - box.left
        inside = (y >= 0) & (y < box.shape[0]) & (x >= 0) & (x < box.shape[1])  # False for NaN, too
        found = np.zeros(rows.shape, bool)
        found[inside] = data[y[inside].astype(np.intp) // side, x[inside].astype(np.intp) // side]
        return found

    return look
