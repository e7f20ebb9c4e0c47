"""Which pixels of a raster GDAL takes for an image in the raster's own CRS, computed without it.

rio-tiler reads such an image from a window that need not begin or end with a pixel, and GDAL takes the nearest pixels
of the raster, or of an overview where it has a fitting one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from rasterio.windows import bounds, from_bounds

from server.raster.distant import Bounds
from server.raster.outline import Outline
from server.raster.stack import Level
from server.raster.warper import MOST_VIRTUAL, NEARLY, PixelNumbers, WarpedPixels

COARSER_OVERVIEWS: Final = 1.2
"""Overviews are taken that are coarser than the image by less than this, or by a tenth of a pixel more."""


@dataclass(frozen=True, slots=True)
class Axis:
    """A window along one axis, as GDAL is given it."""

    first: int
    """The pixel that it begins in."""
    count: int
    """Whole pixels."""
    start: float
    """Where it begins."""
    length: float
    """How long it is."""
    size: int
    """Pixels of the raster."""

    def of_overview(self, size: int) -> Axis:
        """The same in pixels of an overview that has so many, or of the raster itself."""
        factor = self.size / size
        first = min(size - 1, int(self.first / factor + 0.5))
        count = max(1, int(self.count / factor + 0.5))
        return Axis(first, min(count, size - first), self.start / factor, self.length / factor, size)

    def nearest(self, count: int) -> PixelNumbers:
        """Which pixel stands for each of so many."""
        step = self.length / count
        at = np.add.accumulate(np.array([0.5 * step + self.start + NEARLY, *[step] * (count - 1)]))
        return np.clip(at, 0, self.size - 1).astype(np.int32)


@dataclass(frozen=True, slots=True)
class WindowOfRaster:
    """The window of a raster that is an image in its CRS."""

    rows: Axis
    """Down."""
    cols: Axis
    """Across."""
    bounds: Bounds
    """As rio-tiler gives them to the image."""

    @classmethod
    def of(cls, src: Outline, wanted: Bounds) -> WindowOfRaster | None:
        """That of an image with some bounds; None where it is not inside the raster."""
        window = from_bounds(*wanted, transform=src.transform)
        (top, bottom), (left, right) = window.toranges()
        if min(top, left) < 0 or bottom > src.height or right > src.width:
            return None
        rows = Axis(int(window.row_off), int(max(1, window.height)), window.row_off, window.height, src.height)
        cols = Axis(int(window.col_off), int(max(1, window.width)), window.col_off, window.width, src.width)
        return cls(rows, cols, bounds(window, src.transform))

    def overview(self, level_of: Callable[[int], Level], count: int, width: int, height: int) -> int | None:
        """Number of the overview that GDAL takes for an image of so many pixels; None for the raster.

        Args:
            level_of: gives the size of an overview by its number.
            count: overviews.
            width: of the image.
            height: of the image.
        """
        if width >= self.cols.count and height >= self.rows.count:
            return None
        wanted = min(self.cols.count / width, self.rows.count / height)
        best, found = 0.0, None
        for number, level in enumerate(map(level_of, range(count))):
            factor = min(self.cols.size / level.width, self.rows.size / level.height)
            if best < factor < wanted * COARSER_OVERVIEWS + 0.1:
                best, found = factor, number
        return found

    def pixels(self, level: Level, width: int, height: int) -> WarpedPixels | None:
        """The pixels that make the image; None where they are far too many.

        Args:
            level: of the overview that they are taken from, or the raster's own.
            width: of the image.
            height: of the image.
        """
        rows, cols = self.rows.of_overview(level.height), self.cols.of_overview(level.width)
        if cols.count > MOST_VIRTUAL * width or rows.count > MOST_VIRTUAL * height:
            return None
        row, col = np.meshgrid(rows.nearest(height), cols.nearest(width), indexing="ij")
        return WarpedPixels(np.asarray(row, np.int32), np.asarray(col, np.int32))
