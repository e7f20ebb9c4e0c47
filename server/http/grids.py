"""Tile matrix sets and a raster: which of them contain it, and which of their tiles touch its bounds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Protocol

from morecantile import Tile, TileMatrixSet
from rasterio.crs import CRS
from rasterio.errors import CRSError
from rasterio.warp import transform_bounds
from rio_tiler.types import BBox

FIRST: Final = "WebMercatorQuad"
"""The set that clients take who do not choose."""
_TOUCH: Final = 1e-9
"""Part of a tile by which an edge may miss another and still meet it."""


class Placed(Protocol):
    """What knows where a raster lies."""

    crs: CRS
    bounds: BBox


@dataclass(frozen=True, slots=True)
class TileLimits:
    """Tiles of one matrix, ends included."""

    zoom: int
    """Of the matrix."""
    columns: tuple[int, int]
    """First and last."""
    rows: tuple[int, int]
    """First and last."""

    def hold(self, tile: Tile) -> bool:
        """Whether a tile of the matrix is one of them."""
        return self.columns[0] <= tile.x <= self.columns[1] and self.rows[0] <= tile.y <= self.rows[1]


def bounds_in(tms: TileMatrixSet, placed: Placed) -> BBox | None:
    """A raster's bounds in the CRS of a set; None where they have no place in it."""
    return _transformed(placed.crs, tms.rasterio_crs, tuple(placed.bounds))


@lru_cache(maxsize=1024)  # every tile of a raster asks for them
def _transformed(crs: CRS, other: CRS, given: BBox) -> BBox | None:
    try:
        bounds: BBox = transform_bounds(crs, other, *given, densify_pts=21)
    except (CRSError, ValueError, RuntimeError):
        return None
    return bounds if all(map(math.isfinite, bounds)) else None


def tile_limits(tms: TileMatrixSet, bounds: BBox, zoom: int) -> TileLimits | None:
    """The tiles of a matrix that touch bounds in the CRS of its set; None where there are none."""
    matrix, first = tms.matrix(zoom), tms.xy_bounds(Tile(0, 0, zoom))
    width, height = first.right - first.left, first.top - first.bottom
    left, bottom, right, top = bounds
    columns = _span((left - first.left) / width, (right - first.left) / width, matrix.matrixWidth)
    rows = _span((first.top - top) / height, (first.top - bottom) / height, matrix.matrixHeight)
    return None if columns is None or rows is None else TileLimits(zoom, columns, rows)


def _span(start: float, stop: float, count: int) -> tuple[int, int] | None:
    """First and last whole step between two positions, of `count` steps."""
    low, high = max(0, math.floor(start + _TOUCH)), min(count, math.ceil(stop - _TOUCH)) - 1
    return (low, high) if low <= high else None


def contains(tms: TileMatrixSet, placed: Placed) -> bool:
    """Whether a set of matrices of equal tiles, as WMTS 1.0 has them, contains a raster."""
    if tms.is_variable or not _used_there(tms, placed):
        return False
    bounds, extent = bounds_in(tms, placed), tms.xy_bbox
    if bounds is None or bounds[0] < extent.left or bounds[1] < extent.bottom:
        return False
    return bool(bounds[2] <= extent.right and bounds[3] <= extent.top)


def _used_there(tms: TileMatrixSet, placed: Placed) -> bool:
    """Whether the CRS of a set is meant for where a raster lies."""
    projected: Any = tms.crs
    area = getattr(getattr(projected, "_pyproj_crs", projected), "area_of_use", None)
    if area is None:
        return True
    west, south, east, north = transform_bounds(placed.crs, CRS.from_epsg(4326), *placed.bounds, densify_pts=21)
    if south < area.south or north > area.north:
        return False
    width = (area.east - area.west) % 360 or 360
    return bool((west - area.west) % 360 + (east - west) % 360 <= width)


def sets_of(supported: Any, placed: Placed) -> list[tuple[str, TileMatrixSet]]:
    """The sets that contain a raster, Web Mercator first and the others by name."""
    names = sorted(supported.list(), key=lambda name: (name != FIRST, name))
    return [(name, tms) for name in names if contains(tms := supported.get(name), placed)]
