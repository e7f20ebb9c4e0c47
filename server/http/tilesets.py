"""The tile sets of a raster: grids that contain it, each with its useful matrices and the limits of their tiles."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from morecantile import Tile, TileMatrixSet
from rio_tiler.constants import WGS84_CRS
from rio_tiler.types import BBox

from server.http.grids import TileLimits, bounds_in, sets_of, tile_limits


@dataclass(frozen=True, slots=True)
class TileSet:
    """The tiles of a raster on one grid."""

    name: str
    """Of the grid."""
    grid: TileMatrixSet
    """Its matrices and CRS."""
    limits: tuple[TileLimits, ...]
    """The tiles of each useful matrix, coarse to fine."""
    bounds: BBox
    """Of the raster in the CRS of the grid: left, bottom, right and top."""


@dataclass(frozen=True, slots=True)
class TiledRaster:
    """A raster and its tiles."""

    bounds: BBox
    """West, south, east and north in degrees."""
    sets: tuple[TileSet, ...]
    """By grid, Web Mercator first."""


def tiled(
    opened: Callable[..., Any],
    supported: Any,
    *,
    zooms: Mapping[str, tuple[int, int]] | None = None,
    from_first: bool = False,
) -> TiledRaster:
    """The tiles of a raster on every grid that contains it.

    Args:
        opened: opens its reader, with `tms=` for another grid than Web Mercator.
        supported: the grids there are.
        zooms: first and last matrix by name of a grid, or `*` for all, instead of the useful ones.
        from_first: whether to begin with the first matrix of a grid, also where the raster is a speck on it.
    """
    asked = zooms or {}
    with opened() as reader:
        chosen = sets_of(supported, reader)
        bounds: BBox = reader.get_geographic_bounds(WGS84_CRS)
    sets = []
    for name, grid in chosen:
        with opened(tms=grid) as reader:
            placed = bounds_in(grid, reader)
            low, high = asked.get(name) or asked.get("*") or _useful(grid, reader, placed)
        if placed is None:
            continue
        low = grid.minzoom if from_first else low
        found = (tile_limits(grid, placed, zoom) for zoom in range(max(low, grid.minzoom), min(high, grid.maxzoom) + 1))
        if limits := tuple(limit for limit in found if limit is not None):
            sets.append(TileSet(name, grid, limits, placed))
    return TiledRaster(bounds, tuple(sets))


def _useful(grid: TileMatrixSet, reader: Any, bounds: BBox | None) -> tuple[int, int]:
    """The matrices to offer: from the whole raster in about one tile to its own pixels, no fewer than it has."""
    low, high = reader.minzoom, reader.maxzoom
    if bounds is not None and high < grid.maxzoom:
        matrix = grid.xy_bounds(Tile(0, 0, high))
        pixel = (matrix.right - matrix.left) / grid.matrix(high).tileWidth
        own = (bounds[2] - bounds[0]) / max(reader.dataset.width, reader.dataset.height)
        high += pixel > 1.2 * own
    return low, high
