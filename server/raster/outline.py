"""What a raster says of itself, remembered, so that requests whose pixels are at hand need not open it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from affine import Affine
from rasterio.coords import BoundingBox
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.transform import array_bounds

from server.raster.stack import StackBand, StackForm
from server.raster.upright import is_north_up
from server.raster.usable import EXTREMES, unreadable_extreme

STACK_BLOCK: Final = (128, 128)
"""Rows and columns of a block of GDAL's virtual rasters."""
_OWN_PIXELS = ({MaskFlags.nodata}, {MaskFlags.all_valid})
"""Flags of masks that the pixels themselves are."""


@dataclass(frozen=True, slots=True)
class Outline:
    """An open raster without its pixels, or one of its overviews; attributes are called as rasterio calls them."""

    crs: CRS | None
    """CRS."""
    transform: Affine
    """Pixel to CRS."""
    width: int
    """Columns."""
    height: int
    """Rows."""
    dtypes: tuple[str, ...]
    """Data type of each band."""
    nodata: float | None
    """Value without data."""
    descriptions: tuple[str | None, ...]
    """Of each band."""
    scales: tuple[float, ...]
    """Of each band."""
    offsets: tuple[float, ...]
    """Of each band."""
    colorinterp: tuple[ColorInterp, ...]
    """Of each band."""
    mask_flag_enums: tuple[list[MaskFlags], ...]
    """Of each band, where its mask comes from."""
    factors: tuple[int, ...]
    """Of the overviews."""
    block: tuple[int, int]
    """Rows and columns of a block of the file."""
    statistics: tuple[dict[str, str], ...]
    """Metadata of each band that rio-tiler takes for its least and greatest value; may be no numbers."""
    plain: bool
    """Whether it is north up, of real numbers of one type, and pixels alone, or a mask next to them, show where it has
    data and what it shows: without ground control points, band of alpha or colour table."""
    masked: bool = False
    """Whether a mask in the file says which pixels have data."""

    @classmethod
    def of(cls, src: Any, *, mask_beside: bool = False) -> Outline:
        """An open raster's.

        Args:
            src: the raster.
            mask_beside: whether its mask, if it has one, is a file of its own, of which GDAL takes other overviews.
        """
        flags = [set(band) for band in src.mask_flag_enums]
        kinds = {ColorInterp.alpha, ColorInterp.palette}
        masked = not mask_beside and src.nodata is None and all(band == {MaskFlags.per_dataset} for band in flags)
        return cls(
            crs=src.crs,
            transform=src.transform,
            width=src.width,
            height=src.height,
            dtypes=tuple(src.dtypes),
            nodata=src.nodata,
            descriptions=tuple(src.descriptions),
            scales=tuple(src.scales),
            offsets=tuple(src.offsets),
            colorinterp=tuple(src.colorinterp),
            mask_flag_enums=tuple(src.mask_flag_enums),
            factors=tuple(src.overviews(1)),
            block=src.block_shapes[0],
            statistics=tuple(_statistics(src.tags(index)) for index in src.indexes),
            plain=not src.gcps[0]
            and src.crs is not None
            and is_north_up(src.transform)
            and len(set(src.dtypes)) == 1
            and len(set(map(repr, src.nodatavals))) == 1  # NaN is not itself
            and "complex" not in src.dtypes[0]
            and kinds.isdisjoint(src.colorinterp)
            and (masked or all(band in _OWN_PIXELS for band in flags)),
            masked=masked,
        )

    @classmethod
    def of_stack(cls, bands: Sequence[StackBand]) -> Outline:
        """That of several files' bands as one raster (see `stack_xml`), without opening a file."""
        form, count = StackForm.of(bands), len(bands)
        base, nodata = form.base, form.nodata
        masked = nodata is None and bands[0].masked
        # Without overviews of its own, a virtual raster has what GDAL makes of those of the first file.
        whole = len(form.levels) > 1 or all(len(band.levels) == 1 for band in bands)
        flags = [MaskFlags.per_dataset] if masked else [MaskFlags.all_valid if nodata is None else MaskFlags.nodata]
        return cls(
            crs=CRS.from_wkt(base.crs),
            transform=base.affine,
            width=base.width,
            height=base.height,
            dtypes=(form.dtype,) * count,
            nodata=nodata,
            descriptions=tuple(band.name or None for band in bands),
            scales=tuple(band.scale for band in bands),
            offsets=tuple(band.offset for band in bands),
            colorinterp=(ColorInterp.undefined,) * count,
            mask_flag_enums=(flags,) * count,
            factors=tuple(level.factor for level in form.levels[1:]),
            block=STACK_BLOCK,
            statistics=({},) * count,
            plain=is_north_up(base.affine) and whole and not masked,
            masked=masked,
        )

    @property
    def indexes(self) -> tuple[int, ...]:
        """1-based numbers of the bands."""
        return tuple(range(1, 1 + len(self.dtypes)))

    @property
    def bounds(self) -> BoundingBox:
        """Left, bottom, right, top."""
        return BoundingBox(*array_bounds(self.height, self.width, self.transform))

    @property
    def gcps(self) -> tuple[list[Any], None]:
        """No ground control points."""
        return [], None

    @property
    def extremes(self) -> tuple[tuple[float, float] | None, ...]:
        """Least and greatest value of each band as its statistics say."""
        return tuple(map(_extremes, self.statistics))

    def tags(self, band: int) -> dict[str, str]:
        """Metadata of a band: no more than its statistics."""
        return self.statistics[band - 1]

    def overviews(self, _band: int) -> list[int]:
        """Factors of the overviews."""
        return list(self.factors)

    def colormap(self, _band: int) -> dict[int, tuple[int, ...]]:
        """No colour table: raises `ValueError`, as rasterio does."""
        raise ValueError("no colour table")


def _statistics(tags: dict[str, str]) -> dict[str, str]:
    return {name: tags[name] for name in EXTREMES if name in tags}


def _extremes(statistics: dict[str, str]) -> tuple[float, float] | None:
    if statistics.keys() != set(EXTREMES) or unreadable_extreme(statistics) is not None:
        return None
    low, high = (float(statistics[name]) for name in EXTREMES)
    return low, high


@lru_cache(maxsize=256)
def stack_outline(bands: tuple[StackBand, ...]) -> Outline:
    """What bands of several files say of themselves together; remembered. Raises as `StackForm.of` does."""
    return Outline.of_stack(bands)
