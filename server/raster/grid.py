"""The analysis grid: the target's own pixel lattice, decimated to 20-60 m and cut into fixed blocks."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from pyproj import CRS, Geod

from algorithms.cells import AVERAGED_FACTOR
from algorithms.models import MODELS
from algorithms.wide import WIDE_TIMES
from server.errors import SourceUnreadableError
from server.raster.dataset import Dataset

BlockNumber = tuple[int, int]
"""Row and column of a block, counted from the scene's upper left corner."""

BLOCK_CELLS: Final = 128
"""Side in cells of the blocks in which masks and fills are computed and cached."""
PIXEL_BLOCK_CELLS: Final = 64
"""Side of the blocks of fills that are corrected in pixels: views that show these cover little ground."""
WIDE_BLOCK_CELLS: Final = 512
"""Side of the blocks of fills at the coarse level, where a view covers much ground: a block reads a rim around itself
that weighs the less the larger it is."""
COARSE_SHARE: Final = 0.75
"""Share of a coarse cell that a pixel must have for the coarse level: 57 m at zoom 11 in middle latitudes."""
LEVEL_STEP: Final = 4
"""Pixels per side of a cell from one level to the next where a user's mask is followed in its own pixels: a power of
two, which overviews have."""
LEAST_CELLS: Final = 32
"""Cells along the shorter side of a scene at the coarsest of these levels, at least."""
FINEST_PIXEL_METRES: Final = 1e-5
"""Size below which a pixel cannot be real: a hundredth of a millimetre."""
FINEST_METRES, COARSEST_METRES = MODELS["ukis-6b-l1c"].resolution
"""Ground size of a cell in metres at which the cloud models are used."""


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle of cells: rows `top` to `bottom`, columns `left` to `right` (ends excluded)."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.bottom - self.top, self.right - self.left

    @property
    def area(self) -> int:
        """Number of cells."""
        return (self.bottom - self.top) * (self.right - self.left)

    def pad(self, cells: int) -> Box:
        """Grown by a number of cells on every side."""
        return Box(self.top - cells, self.bottom + cells, self.left - cells, self.right + cells)

    def clip(self, shape: tuple[int, int]) -> Box:
        """The part inside a scene of so many rows and columns."""
        rows, cols = shape
        return Box(
            min(max(self.top, 0), rows),
            min(max(self.bottom, 0), rows),
            min(max(self.left, 0), cols),
            min(max(self.right, 0), cols),
        )

    def intersection(self, other: Box) -> Box:
        """The part that both have; empty where they do not touch."""
        top, left = max(self.top, other.top), max(self.left, other.left)
        return Box(top, max(top, min(self.bottom, other.bottom)), left, max(left, min(self.right, other.right)))

    def union(self, other: Box) -> Box:
        """The smallest box around both."""
        return Box(
            min(self.top, other.top),
            max(self.bottom, other.bottom),
            min(self.left, other.left),
            max(self.right, other.right),
        )

    def align(self, step: int) -> Box:
        """Grown to multiples of `step`."""
        return Box(
            self.top // step * step,
            -(-self.bottom // step) * step,
            self.left // step * step,
            -(-self.right // step) * step,
        )

    def times(self, factor: int) -> Box:
        """The same rectangle in units of a `factor`-th."""
        return Box(self.top * factor, self.bottom * factor, self.left * factor, self.right * factor)

    def parts(self, size: int) -> Box:
        """The same rectangle in units of `size`, those it touches."""
        return Box(self.top // size, -(-self.bottom // size), self.left // size, -(-self.right // size))

    def within(self, outer: Box) -> tuple[slice, slice]:
        """This box's place in an array that covers `outer`."""
        return (
            slice(self.top - outer.top, self.bottom - outer.top),
            slice(self.left - outer.left, self.right - outer.left),
        )

    def blocks(self, size: int) -> Iterator[BlockNumber]:
        """Numbers of the blocks of `size` cells that the box touches, row by row."""
        for i in range(self.top // size, -(-self.bottom // size)):
            for j in range(self.left // size, -(-self.right // size)):
                yield i, j


@dataclass(frozen=True, slots=True)
class Grid:
    """One level of the analysis grid."""

    factor: int
    """Native pixels per side of a cell."""
    rows: int
    """Rows of cells over the whole scene."""
    cols: int
    """Columns of cells."""
    side: int = BLOCK_CELLS
    """Cells per side of a block of fills that are not corrected in pixels."""
    masks: Grid | None = None
    """Level whose masks are spread over this one's cells; None: it has its own."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.rows, self.cols

    @property
    def fine(self) -> bool:
        """Whether it is a level near native resolution, rather than one for views that cover much ground."""
        return self.side == BLOCK_CELLS

    def mask_cells(self, box: Box) -> tuple[Grid, Box]:
        """The level this one's masks are made on, and the cells there under a box."""
        if self.masks is None:
            return self, box
        size = self.masks.factor // self.factor
        return self.masks, box.parts(size)

    def block(self, number: BlockNumber, size: int = BLOCK_CELLS) -> Box:
        """The cells of a block."""
        i, j = number
        return Box(i * size, (i + 1) * size, j * size, (j + 1) * size).clip(self.shape)


@lru_cache(maxsize=256)
def ground_resolution(dataset: Dataset) -> float:
    """Ground size of a pixel in metres at the middle of the dataset (geometric mean of both sides)."""
    affine = dataset.affine
    crs = CRS.from_wkt(dataset.crs)
    if crs.is_geographic:
        x, y = affine @ (dataset.width / 2, dataset.height / 2)
        geod = Geod(ellps="WGS84")
        east = geod.inv(x, y, *(affine @ (dataset.width / 2 + 1, dataset.height / 2)))[2]
        south = geod.inv(x, y, *(affine @ (dataset.width / 2, dataset.height / 2 + 1)))[2]
        return math.sqrt(abs(east * south))
    unit = crs.axis_info[0].unit_conversion_factor if crs.axis_info else 1.0
    size = math.sqrt(abs(affine.determinant)) * unit
    if crs.to_epsg() == 3857:  # its metres are stretched by 1 / cos(latitude)
        _, y = affine @ (dataset.width / 2, dataset.height / 2)
        return size / math.cosh(y / 6378137.0)
    return size


def _resolution(dataset: Dataset) -> float:
    """Ground size of a pixel in metres, for grids to be made of.

    Raises:
        SourceUnreadableError: there is none, or it is absurd: the raster lies outside its CRS.
    """
    resolution = ground_resolution(dataset)
    if not FINEST_PIXEL_METRES <= resolution < math.inf:  # NaN is not either
        raise SourceUnreadableError(
            f"{dataset.url!r} has pixels of {resolution:g} m; its georeferencing is damaged; assign it again"
        )
    return resolution


def _grid(dataset: Dataset, factor: int, side: int = BLOCK_CELLS) -> Grid:
    return Grid(factor=factor, rows=-(-dataset.height // factor), cols=-(-dataset.width // factor), side=side)


def fine_grid(dataset: Dataset, *, follows: bool = False) -> Grid:
    """The level for views near native resolution: the least power of two that makes cells of 20 m or more.

    Args:
        dataset: the target.
        follows: whether masks are a user's. Where a cell would be more than a few pixels wide every pixel is a cell, so
            that the mask is followed in its own pixels; only the cloud models need cells of 20 m.
    """
    resolution = _resolution(dataset)
    factor = 1
    # 5 % tolerance: a nominal 10 m pixel of a geographic raster measures 9.9 m or so.
    while resolution * factor < 0.95 * FINEST_METRES:
        factor *= 2
    return _grid(dataset, 1 if follows and factor > AVERAGED_FACTOR else factor)


def coarse_grid(dataset: Dataset, *, follows: bool = False) -> Grid:
    """The level for every view coarser: the largest multiple of the fine level's cells of at most 60 m.

    `follows` as for `fine_grid`: there it is the coarsest of several levels.
    """
    fine = fine_grid(dataset, follows=follows)
    if fine.factor == 1 and fine_grid(dataset).factor > AVERAGED_FACTOR:
        return _levels(dataset)[-1]
    size = _resolution(dataset) * fine.factor
    times = math.floor(1.05 * COARSEST_METRES / size)
    return _grid(dataset, fine.factor * times, WIDE_BLOCK_CELLS) if times > 1 else fine


def wide_grid(grid: Grid) -> Grid:
    """The cells of wide windows, see `algorithms.wide`: often those of the coarse level."""
    rows, cols = (-(-n // WIDE_TIMES) for n in grid.shape)
    return Grid(grid.factor * WIDE_TIMES, rows, cols, WIDE_BLOCK_CELLS)


def _levels(dataset: Dataset) -> list[Grid]:
    """The levels of a raster whose user's mask is followed in its own pixels, from fine to coarse.

    `LEVEL_STEP` apart, so that a view takes in no more cells than one of a coarser raster does.
    """
    factors = [1]
    most = min(1.05 * COARSEST_METRES / _resolution(dataset), min(dataset.shape) / LEAST_CELLS)
    while factors[-1] * LEVEL_STEP <= most:
        factors.append(factors[-1] * LEVEL_STEP)
    return [_grid(dataset, factor, BLOCK_CELLS if factor == 1 else WIDE_BLOCK_CELLS) for factor in factors]


def native_grid(dataset: Dataset, *, follows: bool = False) -> Grid:
    """Every pixel a cell, with the masks of the fine level: finer than that the cloud models are not used."""
    fine = fine_grid(dataset, follows=follows)
    return fine if fine.factor == 1 else Grid(factor=1, rows=dataset.height, cols=dataset.width, masks=fine)


def grid_for(dataset: Dataset, pixels: float, *, follows: bool = False) -> Grid:
    """The level for a view whose pixels are `pixels` native pixels wide; `follows` as for `fine_grid`."""
    if follows and fine_grid(dataset).factor > AVERAGED_FACTOR:
        levels = _levels(dataset)
        return max((g for g in levels if pixels >= COARSE_SHARE * g.factor), key=lambda g: g.factor, default=levels[0])
    coarse = coarse_grid(dataset)
    return coarse if pixels >= COARSE_SHARE * coarse.factor else fine_grid(dataset)
