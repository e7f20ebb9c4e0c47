"""Bands of several files on one grid: the finest of theirs, and the type and nodata value that all fit into."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from affine import Affine

from algorithms.errors import BandError
from server.scenes.scene import Member

GDAL_TYPE_NAMES: Final = {
    "uint8": "Byte",
    "int8": "Int8",
    "uint16": "UInt16",
    "int16": "Int16",
    "uint32": "UInt32",
    "int32": "Int32",
    "float32": "Float32",
    "float64": "Float64",
}
"""GDAL's names of the types that a band may have."""
_ALIGNED: Final = 1e-3
"""Share of a pixel by which two grids may be off each other and still be one."""


@dataclass(frozen=True, slots=True)
class Level:
    """The pixels of a band at one resolution."""

    factor: int
    """How many of the band's own pixels along a side make one of these, about."""
    width: int
    """Columns."""
    height: int
    """Rows."""


@dataclass(frozen=True, slots=True)
class StackBand:
    """One band of a stack: the file that holds it, and what has to be known to read it."""

    url: str
    """The file."""
    version: str
    """Its state."""
    index: int
    """1-based number of the band in the file."""
    name: str
    """What the band is called."""
    crs: str
    """CRS as WKT."""
    transform: tuple[float, ...]
    """Affine coefficients a-f, pixel to CRS."""
    dtype: str
    """Type of its values."""
    nodata: float | None
    """Value without data."""
    scale: float
    """Reflectance per digital number."""
    offset: float
    """Reflectance at digital number 0."""
    levels: tuple[Level, ...]
    """Its own pixels first, then those of its overviews, each coarser than the one before."""
    member: Member | None = None
    """Where in the file its own file is, if that is an archive."""
    source: str = "the file"
    """Where scale and offset come from."""
    masked: bool = False
    """Whether a mask in the file says which pixels have data."""
    blocks: tuple[tuple[int, int], ...] = ()
    """Rows and columns of a block of the file, for each of `levels`."""

    @property
    def width(self) -> int:
        """Columns."""
        return self.levels[0].width

    @property
    def height(self) -> int:
        """Rows."""
        return self.levels[0].height

    @property
    def affine(self) -> Affine:
        """Pixel to CRS."""
        return Affine(*self.transform)

    @property
    def area(self) -> float:
        """Of a pixel, in the CRS."""
        return abs(float(self.affine.determinant))


@dataclass(frozen=True, slots=True)
class BandPlace:
    """Where a band lies on another one's pixels: `x * scale + start`."""

    left: float
    """Column of its first pixel's left edge."""
    top: float
    """Row of its first pixel's upper edge."""
    across: float
    """Columns that one of its pixels covers."""
    down: float
    """Rows that one of its pixels covers."""

    @property
    def same(self) -> bool:
        """Whether the grids are one."""
        return self.across == self.down == 1 and self.left == self.top == 0


def finest(bands: Sequence[StackBand]) -> StackBand:
    """The band whose grid is the stack's: of the smallest pixels, the first of several."""
    least = min(band.area for band in bands)
    return next(band for band in bands if band.area <= least * (1 + 1e-9))


def _near(value: float, tolerance: float) -> float:
    """A number, or the whole one that it is but for rounding."""
    return float(round(value)) if abs(value - round(value)) < tolerance else value


def place(band: StackBand, base: StackBand) -> BandPlace:
    """Where a band lies on another one's pixels.

    Raises:
        BandError: in another CRS, or turned.
    """
    if band.crs != base.crs:
        raise BandError(f"{band.url!r} has another coordinate reference system than {base.url!r}; warp it (gdalwarp)")
    if (found := _place(band.transform, base.transform)) is None:
        raise BandError(f"{band.url!r} is turned against {base.url!r}; bring the bands onto one grid (gdalwarp)")
    return found


@lru_cache(maxsize=1024)
def _place(band: tuple[float, ...], base: tuple[float, ...]) -> BandPlace | None:
    """Where one grid lies on another, by their affine coefficients; None where it is turned."""
    at = ~Affine(*base) @ Affine(*band)
    slack = 1e-6 * max(abs(at.a), abs(at.e))
    if abs(at.b) > slack or abs(at.d) > slack or at.a <= 0 or at.e <= 0:
        return None
    across, down = (_near(value, 1e-6 * max(1.0, value)) for value in (at.a, at.e))
    return BandPlace(_near(at.c, _ALIGNED), _near(at.f, _ALIGNED), across, down)


def stack_type(bands: Sequence[StackBand]) -> str:
    """The type that holds the values of every band.

    Raises:
        BandError: a band's values are not real numbers.
    """
    for band in bands:
        if band.dtype not in GDAL_TYPE_NAMES:
            raise BandError(f"{band.url!r} holds {band.dtype}, which a scene cannot have; give real numbers")
    found = np.result_type(*(np.dtype(band.dtype) for band in bands)).name
    return found if found in GDAL_TYPE_NAMES else "float64"


def stack_nodata(bands: Sequence[StackBand]) -> float | None:
    """The value without data of a whole stack: its first band's that has one."""
    return next((band.nodata for band in bands if band.nodata is not None), None)


def common_levels(bands: Sequence[StackBand]) -> tuple[Level, ...]:
    """The finest grid, and those of its coarser levels that every band of that grid has."""
    base = finest(bands)
    shared = set(base.levels)
    for band in bands:
        if place(band, base).same:
            shared &= set(band.levels)
    return (base.levels[0], *(level for level in base.levels[1:] if level in shared))


@dataclass(frozen=True, slots=True)
class StackForm:
    """What a stack is as a raster: a grid, a type and a value without data, whichever of its bands are read."""

    base: StackBand
    """The band whose grid is the stack's."""
    levels: tuple[Level, ...]
    """The grid itself, then those of the stack's overviews."""
    dtype: str
    """Type of the values."""
    nodata: float | None
    """Value without data."""

    @classmethod
    def of(cls, bands: Sequence[StackBand]) -> StackForm:
        """That of some bands. Raises as `place` and `stack_type` do."""
        return cls(finest(bands), common_levels(bands), stack_type(bands), stack_nodata(bands))

    def source_level(self, band: StackBand, level: Level) -> int:
        """Which of a band's own levels one of the stack's takes its pixels from: the nearest that is not coarser."""
        at = place(band, self.base)
        ratio = max(at.across, at.down)
        return max((k for k, own in enumerate(band.levels) if own.factor * ratio <= level.factor), default=0)

    def copied(self, band: StackBand, level: Level) -> bool:
        """Whether a band's pixels on one of the levels are those of its file, none of them interpolated."""
        return place(band, self.base).same and band.levels[self.source_level(band, level)] == level


@lru_cache(maxsize=256)
def stack_form(bands: tuple[StackBand, ...]) -> StackForm:
    """What bands are together; remembered. Raises as `StackForm.of` does."""
    return StackForm.of(bands)
