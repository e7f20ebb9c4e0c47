"""Overviews: pixels halved as GDAL does it, by the nearest pixel or by the mean of those that have data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

PixelValues = npt.NDArray[Any]
Bools = npt.NDArray[np.bool_]


def level_shapes(height: int, width: int, side: int) -> list[tuple[int, int]]:
    """Rows and columns of an image and of its overviews, down to the first that fits into a square of `side`."""
    shapes = [(height, width)]
    while max(height, width) > side:
        height, width = max(height // 2, 1), max(width // 2, 1)
        shapes.append((height, width))
    return shapes


@dataclass(frozen=True, slots=True)
class Halving:
    """How the pixels of a raster are halved."""

    averaged: bool
    """The mean of four pixels, of those with data; else the upper left one."""
    nodata: float | int | None = None
    """The value that stands for no data, in every band by itself; beyond 2^53 whole numbers are not floats."""
    alpha: int | None = None
    """Position of the band that is 0 where the others have no data."""

    def halved(self, values: PixelValues, mask: Bools | None) -> tuple[PixelValues, Bools | None]:
        """Half of (B, h, w) pixels and of (h, w), where they have data; a last odd row or column is left out.

        A pixel has data if any of its four has.
        """
        quarters = _quarters(values)
        if not self.averaged:
            return np.ascontiguousarray(quarters[0]), None if mask is None else _quarters(mask)[0].copy()
        there = self._there(values, mask)
        if there is None or there.all():
            made, empty = _means(quarters), None
        else:
            made, empty = _means_of_some(quarters, _quarters(np.broadcast_to(there, values.shape)))
        if self.nodata is not None:
            made[made == self.nodata] = _next(self.nodata, made.dtype)  # a mean of data is data
        if empty is not None:
            made[empty] = 0 if self.nodata is None else self.nodata
        return made, None if mask is None else np.logical_or.reduce(_quarters(mask))

    def _there(self, values: PixelValues, mask: Bools | None) -> Bools | None:
        """Where bands have data, (h, w) or (B, h, w); None for everywhere."""
        if mask is not None:
            return mask
        if self.nodata is not None:
            # A value that the type cannot hold is nowhere.
            return ~np.isnan(values) if np.isnan(self.nodata) else values != self.nodata
        if self.alpha is not None:
            return np.asarray(values[self.alpha] != 0)
        return None


def _quarters(values: PixelValues) -> list[PixelValues]:
    """The upper left, upper right, lower left and lower right pixels of squares of two."""
    height, width = (length // 2 * 2 for length in values.shape[-2:])
    return [values[..., row:height:2, col:width:2] for row in (0, 1) for col in (0, 1)]


def _means_of_some(quarters: list[PixelValues], there: list[PixelValues]) -> tuple[PixelValues, Bools]:
    """Means of those of four numbers that are there, and where none is."""
    count = np.add.reduce([part.astype(np.uint8) for part in there])
    total = np.zeros(count.shape, np.float64)
    for part, has in zip(quarters, there, strict=True):
        np.add(total, part, out=total, where=has)
    return _rounded(total / np.maximum(count, 1), quarters[0].dtype), count == 0


def _means(quarters: list[PixelValues]) -> PixelValues:
    """Means of four numbers."""
    dtype = quarters[0].dtype
    if dtype in (np.uint8, np.uint16):
        total = quarters[0].astype(np.uint32)
        for part in quarters[1:]:
            total += part
        total += 2
        total >>= 2
        return total.astype(dtype)
    return _rounded(np.add.reduce([part.astype(np.float64) for part in quarters]) / 4, dtype)


def _rounded(values: PixelValues, dtype: np.dtype[Any]) -> PixelValues:
    """Numbers in a data type, halves away from zero."""
    if np.issubdtype(dtype, np.floating):
        return values.astype(dtype)
    whole: PixelValues = np.trunc(values + np.copysign(0.5, values)).astype(dtype)
    return whole


def _next(value: float, dtype: np.dtype[Any]) -> float:
    """A value next to another in a data type."""
    if np.issubdtype(dtype, np.floating):
        return float(np.nextafter(dtype.type(value), dtype.type(np.inf)))
    return value + 1 if value < np.iinfo(dtype).max else value - 1
