"""Bands of several files as one dataset: a virtual raster on the finest of their grids.

GDAL's virtual format reads the pixels of a band from its file only when they are asked for. A coarser band is
interpolated on the way. The virtual raster has overviews of its own: each takes of every band the pixels nearest to its
size, so that a coarse band is never read from a coarser overview than the picture needs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final
from xml.sax.saxutils import escape

import numpy as np
from affine import Affine

from algorithms.errors import BandError
from server.scenes.scene import Member

_TYPES: Final = {
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
class Place:
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


def place(band: StackBand, base: StackBand) -> Place:
    """Where a band lies on another one's pixels.

    Raises:
        BandError: in another CRS, or turned.
    """
    if band.crs != base.crs:
        raise BandError(f"{band.url!r} has another coordinate reference system than {base.url!r}; warp it (gdalwarp)")
    at = ~base.affine @ band.affine
    slack = 1e-6 * max(abs(at.a), abs(at.e))
    if abs(at.b) > slack or abs(at.d) > slack or at.a <= 0 or at.e <= 0:
        raise BandError(f"{band.url!r} is turned against {base.url!r}; bring the bands onto one grid (gdalwarp)")
    across, down = (_near(value, 1e-6 * max(1.0, value)) for value in (at.a, at.e))
    return Place(_near(at.c, _ALIGNED), _near(at.f, _ALIGNED), across, down)


def stack_type(bands: Sequence[StackBand]) -> str:
    """The type that holds the values of every band.

    Raises:
        BandError: a band's values are not real numbers.
    """
    for band in bands:
        if band.dtype not in _TYPES:
            raise BandError(f"{band.url!r} holds {band.dtype}, which a scene cannot have; give real numbers")
    found = np.result_type(*(np.dtype(band.dtype) for band in bands)).name
    return found if found in _TYPES else "float64"


def stack_nodata(bands: Sequence[StackBand]) -> float | None:
    """The value without data of a whole stack: its first band's that has one."""
    return next((band.nodata for band in bands if band.nodata is not None), None)


def common_levels(bands: Sequence[StackBand]) -> tuple[Level, ...]:
    """Levels of the finest grid that every band of that grid has."""
    base = finest(bands)
    shared = set(base.levels)
    for band in bands:
        if place(band, base).same:
            shared &= set(band.levels)
    return tuple(level for level in base.levels if level in shared)


def stack_xml(bands: Sequence[StackBand], name_of: Callable[[StackBand], str], mount: Callable[[str], str]) -> str:
    """The virtual raster of some bands, in their order, as GDAL reads it.

    Args:
        bands: at least one.
        name_of: gives the name under which GDAL opens a band's file.
        mount: gives the name under which GDAL opens the text given.

    Raises:
        BandError: they do not fit onto one grid.
    """
    base, levels = finest(bands), common_levels(bands)
    own = base.levels[0]
    dtype, nodata = _TYPES[stack_type(bands)], stack_nodata(bands)
    places = [place(band, base) for band in bands]

    def single(k: int, level: Level) -> str:
        return _source(bands[k], places[k], own, level, name_of(bands[k]), nodata)

    def raster(level: Level, parts: Sequence[str], around: str = "") -> str:
        head = f'<VRTDataset rasterXSize="{level.width}" rasterYSize="{level.height}">{around}'
        missing = f"<NoDataValue>{nodata!r}</NoDataValue>" if nodata is not None else ""
        return (
            head
            + "".join(
                f'<VRTRasterBand dataType="{dtype}" band="{number}">{missing}{part}</VRTRasterBand>'
                for number, part in enumerate(parts, start=1)
            )
            + "</VRTDataset>"
        )

    described = []
    for k, band in enumerate(bands):
        coarser = (mount(raster(level, [single(k, level)])) for level in levels[1:])
        overviews = "".join(
            f'<Overview><SourceFilename relativeToVRT="0">{escape(name)}</SourceFilename>'
            "<SourceBand>1</SourceBand></Overview>"
            for name in coarser
        )
        numbers = f"<Scale>{band.scale!r}</Scale><Offset>{band.offset!r}</Offset>"
        described.append(f"<Description>{escape(band.name)}</Description>{numbers}{overviews}{single(k, own)}")
    ground = f"<SRS>{escape(base.crs)}</SRS><GeoTransform>{', '.join(map(repr, base.affine.to_gdal()))}</GeoTransform>"
    if nodata is None and bands[0].masked:
        ground += _mask(bands[0], places[0], own, name_of(bands[0]))
    return raster(own, described, ground)


def _mask(band: StackBand, at: Place, base: Level, name: str) -> str:
    """The mask of a stack whose first band has one in its file."""
    return (
        '<MaskBand><VRTRasterBand dataType="Byte"><SimpleSource>'
        f'<SourceFilename relativeToVRT="0" shared="0">{escape(name)}</SourceFilename>'
        f"<SourceBand>mask,{band.index}</SourceBand>{_rectangles(band.levels[0], band, at, base, base)}"
        "</SimpleSource></VRTRasterBand></MaskBand>"
    )


def _source(band: StackBand, at: Place, base: Level, level: Level, name: str, nodata: float | None) -> str:
    """A band's pixels as one level of the stack takes them: of its own level that is nearest, yet not coarser."""
    ratio = max(at.across, at.down)
    number = max((k for k, own in enumerate(band.levels) if own.factor * ratio <= level.factor), default=0)
    own = band.levels[number]
    if at.same and own.factor == level.factor:
        method = ""
    else:
        method = ' resampling="average"' if own.factor * ratio < level.factor else ' resampling="bilinear"'
    differs = band.nodata is not None and band.nodata != nodata
    kind = "ComplexSource" if differs else "SimpleSource"
    return (
        f'<{kind}{method}><SourceFilename relativeToVRT="0" shared="0">{escape(name)}</SourceFilename>'
        + (f'<OpenOptions><OOI key="OVERVIEW_LEVEL">{number - 1}</OOI></OpenOptions>' if number else "")
        + f'<SourceBand>{band.index}</SourceBand><SourceProperties RasterXSize="{own.width}" '
        f'RasterYSize="{own.height}" DataType="{_TYPES[band.dtype]}" BlockXSize="256" BlockYSize="256"/>'
        + _rectangles(own, band, at, base, level)
        + (f"<NODATA>{band.nodata!r}</NODATA>" if differs else "")
        + f"</{kind}>"
    )


def _rectangles(own: Level, band: StackBand, at: Place, base: Level, level: Level) -> str:
    """All of one of a band's levels, and where it lies on a level of the stack."""
    across, down = level.width / base.width, level.height / base.height
    return (
        f'<SrcRect xOff="0" yOff="0" xSize="{own.width}" ySize="{own.height}"/>'
        f'<DstRect xOff="{at.left * across!r}" yOff="{at.top * down!r}" '
        f'xSize="{band.width * at.across * across!r}" ySize="{band.height * at.down * down!r}"/>'
    )
