"""Where the pixels of an output image lie on the target's pixel lattice."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt
from affine import Affine
from pyproj import Transformer

from algorithms.sampling import in_steps, lerp, spread_nodes
from server.raster.dataset import Dataset
from server.raster.lattices import by_lattice
from server.raster.turns import full_turn, nearest_turn
from server.raster.upright import is_north_up

NODE_PIXELS: Final = 16
"""Output pixels between exactly transformed points; between them positions are interpolated linearly (error below
1/100 output pixel nearly everywhere, and the same for a tile and its quarters)."""
BENT_PIXELS: Final = 0.05
"""Error in output pixels from which positions are computed one by one: 1 ms per 1000 pixels."""

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]


@lru_cache(maxsize=256)
def _transformer(source: str, destination: str) -> Transformer | None:
    """Transformation between two CRS (WKT); None where they are the same."""
    if source == destination:
        return None
    transformer = Transformer.from_crs(source, destination, always_xy=True)
    return None if transformer.source_crs == transformer.target_crs else transformer


@dataclass(frozen=True, slots=True)
class OutputGrid:
    """The pixel grid of an output image."""

    crs: str
    """CRS as WKT."""
    transform: tuple[float, ...]
    """Affine coefficients a-f, pixel to CRS."""
    width: int
    """Columns."""
    height: int
    """Rows."""
    bounds: tuple[float, float, float, float] | None = None
    """Left, bottom, right, top as the image has them; None where it does not fill them."""

    @classmethod
    def from_bounds(cls, crs: str, bounds: tuple[float, float, float, float], width: int, height: int) -> OutputGrid:
        """The grid of an image that fills its bounds: left, bottom, right, top as the image has them."""
        left, bottom, right, top = bounds
        affine = ((right - left) / width, 0.0, left, 0.0, (bottom - top) / height, top)
        return cls(crs, affine, width, height, bounds)

    @property
    def affine(self) -> Affine:
        """Pixel to CRS."""
        return Affine(*self.transform)

    @property
    def north_up(self) -> bool:
        """Whether rows run south and columns east."""
        return is_north_up(self.affine)


@lru_cache(maxsize=256)
def _inverse(transform: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(~Affine(*transform))[:6]


def on_lattice(
    target: Dataset, crs: str, transform: tuple[float, ...], rows: Floats, cols: Floats
) -> tuple[Floats, Floats]:
    """Positions (row, column) on a raster's pixel lattice of those on another lattice; infinite where there is none.

    Args:
        target: whose lattice.
        crs: CRS of the other lattice as WKT.
        transform: affine coefficients a-f, its pixels to the CRS.
        rows: positions on it.
        cols: positions on it.
    """
    a, b, c, d, e, f = transform
    x, y = c + a * cols + b * rows, f + e * rows + d * cols
    if (transformer := _transformer(crs, target.crs)) is not None:
        x, y = transformer.transform(x, y)
    middle, _ = target.affine @ (target.width / 2, target.height / 2)
    a, b, c, d, e, f = _inverse(target.transform)
    with np.errstate(invalid="ignore"):  # infinite where a place has no image in the target's CRS
        x = nearest_turn(np.asarray(x, np.float64), middle, full_turn(target.crs))
        return (
            np.asarray(d * x + e * y + f, np.float64),
            np.asarray(a * x + b * y + c, np.float64),
        )


PLACES: Final = ((0.5, 0.5), (0.25, 0.25), (0.25, 0.75), (0.75, 0.25), (0.75, 0.75))
"""Where on the target, in shares of its rows and columns, the size of its pixels in a map is measured."""


def native_pixels(target: Dataset, grid: OutputGrid) -> float:
    """Native pixels per output pixel along a side, from their areas.

    Measured at the target rather than at the image, so that every tile of a zoom level gets the same level of the grid:
    the median of `PLACES`, which in nearly every map is the value at the middle, but does without it where it lies on a
    pole or on the map's edge. 1 where the target does not lie in the output's CRS at all.
    """
    area = _native_area(target, grid.crs)
    return 1.0 if area is None else float(math.sqrt(abs(grid.affine.determinant) / area))


@lru_cache(maxsize=256)
def _native_area(target: Dataset, crs: str) -> float | None:
    """Area of a native pixel in an output's CRS; None where the target does not lie in that."""
    transformer = _transformer(target.crs, crs)
    rows, cols = np.asarray(PLACES).T * np.asarray([[target.height], [target.width]])
    # The ends of a pixel's two axes: left, right, upper, lower.
    cols = cols + np.asarray([-0.5, 0.5, 0, 0])[:, None]
    rows = rows + np.asarray([0, 0, -0.5, 0.5])[:, None]
    a = target.affine
    x, y = a.c + a.a * cols + a.b * rows, a.f + a.d * cols + a.e * rows
    if transformer is not None:
        x, y = transformer.transform(x, y)
    with np.errstate(invalid="ignore"):  # infinite where a place has none in the map
        across, down = (nearest_turn(x[i + 1] - x[i], 0.0, full_turn(crs)) for i in (0, 2))
        areas = np.abs(across * (y[3] - y[2]) - down * (y[1] - y[0]))
    areas = np.sort(areas[np.isfinite(areas) & (areas > 0)])
    return float(areas[len(areas) // 2]) if len(areas) else None


@dataclass(frozen=True, slots=True)
class Positions:
    """Positions of every output pixel's centre on the target's pixel lattice."""

    node_rows: Floats
    """(m, n) rows at the nodes."""
    node_cols: Floats
    """(m, n) columns at the nodes."""
    height: int
    """Output rows."""
    width: int
    """Output columns."""
    places: tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]
    """Rows and columns (p,) of output pixels whose positions are not interpolated."""
    exact: tuple[Floats, Floats]
    """Positions (p,) of these pixels."""

    @property
    def everywhere(self) -> bool:
        """Whether every pixel has a position."""
        return all(bool(np.isfinite(axis).all()) for axis in (self.node_rows, self.node_cols, *self.exact))

    def span(self) -> tuple[float, float, float, float] | None:
        """Least and greatest row and column; None where nothing can be transformed."""
        rows, cols = (
            np.concatenate([nodes.ravel(), exact])
            for nodes, exact in zip((self.node_rows, self.node_cols), self.exact, strict=True)
        )
        good = np.isfinite(rows) & np.isfinite(cols)
        if not good.any():
            return None
        rows, cols = rows[good], cols[good]
        return float(rows.min()), float(rows.max()), float(cols.min()), float(cols.max())

    def in_cells(self, factor: int) -> tuple[Floats, Floats]:
        """(height, width) rows and columns of the pixels' centres in cells of `factor` pixels, in whole steps."""
        rows, cols = (
            spread_nodes(nodes, NODE_PIXELS, self.height, self.width, factor)
            for nodes in (self.node_rows, self.node_cols)
        )
        rows[self.places], cols[self.places] = (in_steps(axis, factor) for axis in self.exact)
        return rows, cols


def _bent(target: Dataset, grid: OutputGrid, nodes: tuple[Floats, Floats], rows: Floats, cols: Floats) -> Bools:
    """Squares between nodes (m - 1, n - 1) over which positions cannot be interpolated.

    Those at whose middle that is off by more than `BENT_PIXELS`: near poles, in views of half the world, across
    the seam of the longitudes, at the edge of what the target's CRS can hold.

    Args:
        target: the target.
        grid: the output grid.
        nodes: rows and columns of the nodes on the output grid.
        rows: their positions on the target's lattice.
        cols: their positions.
    """
    with np.errstate(invalid="ignore"):
        middles = [
            lerp(lerp(axis, 0, np.arange(axis.shape[0] - 1) + 0.5), 1, np.arange(axis.shape[1] - 1) + 0.5)
            for axis in (*nodes, rows, cols)
        ]
        at_rows, at_cols = on_lattice(target, grid.crs, grid.transform, middles[0], middles[1])
        off = np.hypot(at_rows - middles[2], at_cols - middles[3])
        step = [np.hypot(np.diff(rows, axis=axis), np.diff(cols, axis=axis)) / NODE_PIXELS for axis in (0, 1)]
        pixel = np.minimum(np.minimum(step[0][:, :-1], step[0][:, 1:]), np.minimum(step[1][:-1], step[1][1:]))
        return ~(off <= BENT_PIXELS * pixel)


@by_lattice
def positions(target: Dataset, grid: OutputGrid) -> Positions:
    """Positions of an output image's pixels on the target's lattice; its arrays cannot be written to."""
    rows = np.arange(0, math.ceil(grid.height / NODE_PIXELS) + 1, dtype=np.float64) * NODE_PIXELS
    cols = np.arange(0, math.ceil(grid.width / NODE_PIXELS) + 1, dtype=np.float64) * NODE_PIXELS
    y, x = np.meshgrid(rows, cols, indexing="ij")
    at_rows, at_cols = on_lattice(target, grid.crs, grid.transform, y, x)
    bent = _bent(target, grid, (y, x), at_rows, at_cols)
    places = np.nonzero(
        bent.repeat(NODE_PIXELS, 0).repeat(NODE_PIXELS, 1)[: grid.height, : grid.width] if bent.any() else bent
    )
    centres = (axis.astype(np.float64) + 0.5 for axis in places)
    exact = on_lattice(target, grid.crs, grid.transform, *centres)
    for array in (at_rows, at_cols, *places, *exact):
        array.flags.writeable = False
    return Positions(at_rows, at_cols, grid.height, grid.width, (places[0], places[1]), exact)
