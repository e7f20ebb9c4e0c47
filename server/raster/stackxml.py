"""Bands of several files as one dataset: a virtual raster on the finest of their grids.

GDAL's virtual format reads the pixels of a band from its file only when they are asked for. A coarser band is
interpolated on the way. The virtual raster has overviews of its own: each takes of every band the pixels nearest to its
size, so that a coarse band is never read from a coarser overview than the picture needs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from xml.sax.saxutils import escape

from affine import Affine

from server.raster.stack import (
    GDAL_TYPE_NAMES,
    BandPlace,
    Level,
    StackBand,
    StackForm,
    place,
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
    form = StackForm.of(bands)
    own = form.levels[0]
    described = []
    for band in bands:
        coarser = (mount(level_xml([band], form, level, name_of)) for level in form.levels[1:])
        overviews = "".join(
            f'<Overview><SourceFilename relativeToVRT="0">{escape(name)}</SourceFilename>'
            "<SourceBand>1</SourceBand></Overview>"
            for name in coarser
        )
        numbers = f"<Scale>{band.scale!r}</Scale><Offset>{band.offset!r}</Offset>"
        source = _source(band, form, own, name_of(band))
        described.append(f"<Description>{escape(band.name)}</Description>{numbers}{overviews}{source}")
    mask = ""
    if form.nodata is None and bands[0].masked:
        mask = _mask(bands[0], place(bands[0], form.base), own, name_of(bands[0]))
    return _raster(form, own, described, mask)


def level_xml(bands: Sequence[StackBand], form: StackForm, level: Level, name_of: Callable[[StackBand], str]) -> str:
    """Some bands of a stack on one level of it: their pixels only.

    Args:
        bands: some of the stack's.
        form: the stack's.
        level: one of `form.levels`.
        name_of: gives the name under which GDAL opens a band's file.

    Raises:
        BandError: they do not fit onto the stack's grid.
    """
    return _raster(form, level, [_source(band, form, level, name_of(band)) for band in bands])


def _raster(form: StackForm, level: Level, bands: Sequence[str], mask: str = "") -> str:
    """A virtual raster of bands, given by what is in each, that lies on one level of a stack."""
    base = form.base
    affine = base.affine @ Affine.scale(base.width / level.width, base.height / level.height)
    missing = "" if form.nodata is None else f"<NoDataValue>{form.nodata!r}</NoDataValue>"
    kind = GDAL_TYPE_NAMES[form.dtype]
    return (
        f'<VRTDataset rasterXSize="{level.width}" rasterYSize="{level.height}"><SRS>{escape(base.crs)}</SRS>'
        f"<GeoTransform>{', '.join(map(repr, affine.to_gdal()))}</GeoTransform>{mask}"
        + "".join(
            f'<VRTRasterBand dataType="{kind}" band="{number}">{missing}{band}</VRTRasterBand>'
            for number, band in enumerate(bands, start=1)
        )
        + "</VRTDataset>"
    )


def _mask(band: StackBand, at: BandPlace, base: Level, name: str) -> str:
    """The mask of a stack whose first band has one in its file."""
    return (
        '<MaskBand><VRTRasterBand dataType="Byte"><SimpleSource>'
        f'<SourceFilename relativeToVRT="0" shared="0">{escape(name)}</SourceFilename>'
        f"<SourceBand>mask,{band.index}</SourceBand>{_rectangles(band.levels[0], band, at, base, base)}"
        "</SimpleSource></VRTRasterBand></MaskBand>"
    )


def _source(band: StackBand, form: StackForm, level: Level, name: str) -> str:
    """A band's pixels as one level of the stack takes them: of its own level that is nearest, yet not coarser."""
    at, base = place(band, form.base), form.levels[0]
    ratio, number = max(at.across, at.down), form.source_level(band, level)
    own = band.levels[number]
    if at.same and own.factor == level.factor:
        method = ""
    else:
        method = ' resampling="average"' if own.factor * ratio < level.factor else ' resampling="bilinear"'
    differs = band.nodata is not None and band.nodata != form.nodata
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
