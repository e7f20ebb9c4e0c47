"""Bands of several files as one dataset: a virtual raster on the finest of their grids.

GDAL's virtual format reads the pixels of a band from its file only when they are asked for. A coarser band is
interpolated on the way. The virtual raster has overviews of its own: each takes of every band the pixels nearest to its
size, so that a coarse band is never read from a coarser overview than the picture needs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from xml.sax.saxutils import escape

from server.raster.stack import (
    GDAL_TYPE_NAMES,
    BandPlace,
    Level,
    StackBand,
    common_levels,
    finest,
    place,
    stack_nodata,
    stack_type,
)


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
    dtype, nodata = GDAL_TYPE_NAMES[stack_type(bands)], stack_nodata(bands)
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


def _mask(band: StackBand, at: BandPlace, base: Level, name: str) -> str:
    """The mask of a stack whose first band has one in its file."""
    return (
        '<MaskBand><VRTRasterBand dataType="Byte"><SimpleSource>'
        f'<SourceFilename relativeToVRT="0" shared="0">{escape(name)}</SourceFilename>'
        f"<SourceBand>mask,{band.index}</SourceBand>{_rectangles(band.levels[0], band, at, base, base)}"
        "</SimpleSource></VRTRasterBand></MaskBand>"
    )


def _source(band: StackBand, at: BandPlace, base: Level, level: Level, name: str, nodata: float | None) -> str:
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
        f'RasterYSize="{own.height}" DataType="{GDAL_TYPE_NAMES[band.dtype]}" BlockXSize="256" BlockYSize="256"/>'
        + _rectangles(own, band, at, base, level)
        + (f"<NODATA>{band.nodata!r}</NODATA>" if differs else "")
        + f"</{kind}>"
    )


def _rectangles(own: Level, band: StackBand, at: BandPlace, base: Level, level: Level) -> str:
    """All of one of a band's levels, and where it lies on a level of the stack."""
    across, down = level.width / base.width, level.height / base.height
    return (
        f'<SrcRect xOff="0" yOff="0" xSize="{own.width}" ySize="{own.height}"/>'
        f'<DstRect xOff="{at.left * across!r}" yOff="{at.top * down!r}" '
        f'xSize="{band.width * at.across * across!r}" ySize="{band.height * at.down * down!r}"/>'
    )
