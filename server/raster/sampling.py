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

from server.raster.dataset import Dataset

NODE: Final = 16
"""Output pixels between exactly transformed points; between them positions are interpolated linearly (error below
1/100 output pixel for any projection in use, and the same for a tile and its quarters)."""

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
    bounds: tuple[float, float, float, float]
    """Left, bottom, right, top."""
    width: int
    """Columns."""
    height: int
    """Rows."""

    @property
    def affine(self) -> Affine:
        """Pixel to CRS."""
        left, bottom, right, top = self.bounds
        return Affine((right - left) / self.width, 0, left, 0, (bottom - top) / self.height, top)


def _to_target(target: Dataset, grid: OutputGrid, rows: Floats, cols: Floats) -> tuple[Floats, Floats]:
    """Positions (row, column) on the target's pixel lattice of positions in the output grid."""
    a = grid.affine
    x, y = a.c + a.a * cols, a.f + a.e * rows
    if (transformer := _transformer(grid.crs, target.crs)) is not None:
        x, y = transformer.transform(x, y)
    inverse = ~target.affine
    with np.errstate(invalid="ignore"):  # infinite where a place has no image in the target's CRS
        return (
            np.asarray(inverse.d * x + inverse.e * y + inverse.f, np.float64),
            np.asarray(inverse.a * x + inverse.b * y + inverse.c, np.float64),
        )


def native_pixels(target: Dataset, grid: OutputGrid) -> float:
    """Native pixels per output pixel at the middle of the target.

    Measured at the target rather than at the image, so that every tile of a zoom level gets the same level of the grid.
    """
    transformer = _transformer(target.crs, grid.crs)
    middle, step = (
        target.affine @ (target.width / 2, target.height / 2),
        target.affine
        * (
            target.width / 2 + 1,
            target.height / 2 + 1,
        ),
    )
    if transformer is not None:
        middle, step = transformer.transform(*middle), transformer.transform(*step)
    across, down = abs(step[0] - middle[0]), abs(step[1] - middle[1])
    a = grid.affine
    if not (math.isfinite(across) and math.isfinite(down)) or across * down == 0:
        return 1.0
    return float(math.sqrt(abs(a.a * a.e) / (across * down)))


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

    def span(self) -> tuple[float, float, float, float] | None:
        """Least and greatest row and column; None where nothing can be transformed."""
        good = np.isfinite(self.node_rows) & np.isfinite(self.node_cols)
        if not good.any():
            return None
        rows, cols = self.node_rows[good], self.node_cols[good]
        return float(rows.min()), float(rows.max()), float(cols.min()), float(cols.max())

    def all(self) -> tuple[Floats, Floats]:
        """(height, width) rows and columns of the pixels' centres."""
        return self._spread(self.node_rows), self._spread(self.node_cols)

    def _spread(self, nodes: Floats) -> Floats:
        down = _lerp(nodes, 0, (np.arange(self.height) + 0.5) / NODE)
        return _lerp(down, 1, (np.arange(self.width) + 0.5) / NODE)


def _lerp(nodes: Floats, axis: int, at: Floats) -> Floats:
    low = np.minimum(at.astype(np.intp), nodes.shape[axis] - 2)
    weight = (at - low)[:, None] if axis == 0 else (at - low)[None]
    first: Floats = np.take(nodes, low, axis=axis)
    second: Floats = np.take(nodes, low + 1, axis=axis)
    result: Floats = first + (second - first) * weight
    return result


def positions(target: Dataset, grid: OutputGrid) -> Positions:
    """Positions of an output image's pixels on the target's lattice."""
    rows = np.arange(0, math.ceil(grid.height / NODE) + 1, dtype=np.float64) * NODE
    cols = np.arange(0, math.ceil(grid.width / NODE) + 1, dtype=np.float64) * NODE
    y, x = np.meshgrid(rows, cols, indexing="ij")
    at_rows, at_cols = _to_target(target, grid, y, x)
    return Positions(at_rows, at_cols, grid.height, grid.width)
