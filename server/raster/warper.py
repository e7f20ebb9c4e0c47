"""Which pixels of a raster GDAL's warper takes for an image, computed without it.

rio-tiler makes a virtual warped raster of the source's resolution, or of the image's where that is finer, and reads
the image from it: by an overview of the source where it has a fitting one, and by the nearest of the virtual pixels,
or, where it reads all bands at once, by virtual pixels of the image's size. GDAL transforms three of these in a row
exactly, and the rest by a straight line between them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from rasterio.crs import CRS

from algorithms.sampling import follow_lines
from server.raster.dataset import Dataset
from server.raster.distant import Bounds, native_pixel
from server.raster.lattices import by_lattice
from server.raster.outline import Outline
from server.raster.sampling import on_lattice
from server.raster.stack import Level

TOLERANCE_PIXELS: Final = 0.125
"""Source pixels by which a line may miss the middle of a row; beyond it GDAL divides the row."""
WARP_STRETCH_PIXELS: Final = 512
"""Virtual pixels of one line: the width of a block of a warped raster."""
SHORTEST_PIXELS: Final = 16
"""Virtual pixels down to which lines are divided where rows are bent."""
MOST_VIRTUAL: Final = 4
"""Virtual pixels along a side for one of the image; more of them are a raster seen from afar."""
NEARLY: Final = 1e-10
"""What GDAL adds before it rounds a position down."""

PixelNumbers = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class WarpedPixels:
    """The source pixel of every pixel of an image."""

    rows: npt.NDArray[np.int32]
    """(H, W), may lie outside of the source."""
    cols: npt.NDArray[np.int32]
    """(H, W)."""


@dataclass(frozen=True, slots=True)
class VirtualRaster:
    """The virtual raster that rio-tiler reads an image from."""

    bounds: Bounds
    """Of the image, in its CRS."""
    width: int
    """Columns."""
    height: int
    """Rows."""

    @classmethod
    def of(cls, src: Outline, dst_crs: CRS, bounds: Bounds, width: int, height: int) -> VirtualRaster | None:
        """That of an image of so many pixels; None where the source's resolution is unknown."""
        left, bottom, right, top = bounds
        across, down = native_pixel(src, dst_crs)
        if not (across > 0 and down > 0):
            return None
        across, down = min(across, (right - left) / width), min(down, (top - bottom) / height)
        return cls(bounds, max(1, round((right - left) / across)), max(1, round((top - bottom) / down)))

    def overview(self, src: Outline, width: int, height: int, *, nearest: bool = True) -> int | None:
        """Number of the source's overview that GDAL takes for an image of so many pixels; None for the source."""
        ratio, coarser = min(self.width / width, self.height / height), 1.2 if nearest else 1.0
        fitting = [(factor, number) for number, factor in enumerate(src.factors) if factor < coarser * ratio + 0.1]
        return max(fitting)[1] if fitting and ratio > 1 else None

    def at(self, dataset: Dataset, level: Level) -> tuple[int, int]:
        """Its columns and rows where it is made from an overview of a raster."""
        ratio = dataset.width / level.width  # GDAL takes that of the columns for rows, too
        return max(1, int(self.width / ratio + 0.5)), max(1, int(self.height / ratio + 0.5))


def warped_pixels(
    dataset: Dataset, level: Level, virtual: VirtualRaster, dst_crs: CRS, width: int, height: int, *, every: bool
) -> WarpedPixels | None:
    """The pixels of a raster that make an image; None where that is unknown, or the image far coarser.

    Args:
        dataset: the raster.
        level: the size of the overview that is read, or its own.
        virtual: see `VirtualRaster`.
        dst_crs: the image's CRS.
        width: the image's columns.
        height: the image's rows.
        every: whether all bands are read at once.
    """
    cols, rows = virtual.at(dataset, level)
    if cols > MOST_VIRTUAL * width or rows > MOST_VIRTUAL * height:
        return None
    if every:
        cols, rows = width, height
    at_col = _nearest(cols, width)
    left, bottom, right, top = virtual.bounds
    transform = ((right - left) / cols, 0.0, left, 0.0, (bottom - top) / rows, top)
    found = np.empty((height, width), np.int32), np.empty((height, width), np.int32)
    stretches = [(start, min(start + WARP_STRETCH_PIXELS, cols)) for start in range(0, cols, WARP_STRETCH_PIXELS)]
    while stretches:
        start, end = stretches.pop()
        lines = _lines(dataset, level, dst_crs.wkt, transform, (rows, height), start, end)
        if lines is None:
            if end - start < 2 * SHORTEST_PIXELS:
                return None
            middle = start + (end - 1 - start) // 2
            stretches += [(start, middle), (middle, end)]
            continue
        first, last = np.searchsorted(at_col, (start, end))
        along = (at_col[first:last] - start).astype(np.float64)
        for result, (begin, step) in zip(found, lines, strict=True):
            follow_lines(result, int(first), begin + NEARLY, step, along)
    return WarpedPixels(*found)


def _nearest(size: int, count: int) -> PixelNumbers:
    """Which of `size` pixels along an axis stand for `count` ones."""
    at = (np.arange(count) + 0.5) * (size / count) + NEARLY
    return np.minimum(at.astype(np.intp), size - 1)


@by_lattice
def _lines(
    dataset: Dataset, level: Level, crs: str, transform: tuple[float, ...], rows: tuple[int, int], start: int, end: int
) -> list[tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]] | None:
    """Rows, then columns of the source along a stretch of each virtual row: where they begin, and the step per pixel.

    None where the rows are bent, or have no place in the source's CRS. `rows`: how many virtual ones there are, and how
    many of the image.
    """
    span = end - 1 - start
    places = np.array([start, start + span // 2, end - 1]) + 0.5
    y, x = np.meshgrid(_nearest(*rows) + 0.5, places, indexing="ij")
    found = on_lattice(dataset, crs, transform, y, x)
    scale = level.height / dataset.height, level.width / dataset.width
    axes = [axis * by for axis, by in zip(found, scale, strict=True)]
    if not all(np.isfinite(axis).all() for axis in axes):
        return None
    steps = [(axis[:, 2] - axis[:, 0]) / max(span, 1) for axis in axes]
    off = sum(np.abs(axis[:, 0] + step * (span // 2) - axis[:, 1]) for axis, step in zip(axes, steps, strict=True))
    if np.max(off) > TOLERANCE_PIXELS:
        return None
    return [(axis[:, 0], step) for axis, step in zip(axes, steps, strict=True)]
