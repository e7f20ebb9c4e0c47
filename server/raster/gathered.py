"""Images gathered from cached pieces of a raster, the pixels that rio-tiler would read by warping it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from rasterio.crs import CRS
from rio_tiler.models import ImageData

from algorithms.taking import take_pixels, taken_extent, within
from server.raster.cache import RasterCache
from server.raster.dataset import Dataset
from server.raster.distant import Bounds
from server.raster.grid import Box
from server.raster.outline import Outline
from server.raster.pixelpieces import LayerPieces, pieces_of
from server.raster.resampled import can_resample, resampled
from server.raster.storedpieces import PixelPieces, outline_of, overview_level
from server.raster.warper import MOST_VIRTUAL, VirtualRaster, WarpedPixels, warped_pixels
from server.raster.windowed import WindowOfRaster

RESAMPLING_OPTIONS: Final = frozenset({"resampling_method", "reproject_method"})
"""Options of rio-tiler that are followed, as far as `can_gather` allows; any other one with a value is left to it."""
POLE_DEGREES: Final = 85.06
"""Latitude from which rio-tiler cuts rasters off in maps of the world."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """An image."""

    dst_crs: CRS
    """Its CRS."""
    bounds: Bounds
    """Its bounds."""
    width: int
    """Columns."""
    height: int
    """Rows."""
    only: npt.NDArray[np.bool_] | None = None
    """(H, W), the pixels that matter; others may be without data. None: all."""


def can_gather(outline: Outline, options: dict[str, Any]) -> bool:
    """Whether an image may be one that `gathered` makes: a plain raster's, by a warp of nearest pixels or by none.

    Args:
        outline: the raster.
        options: rio-tiler's, apart from the image's bounds and size.
    """
    nodata = options.get("nodata")
    given = {name: value for name, value in options.items() if value and name != "nodata"}
    return (
        outline.plain
        and (nodata is None or nodata == outline.nodata)
        and given.keys() <= RESAMPLING_OPTIONS
        and given.get("reproject_method", "nearest") == "nearest"
        and _within_map(outline)
    )


def _within_map(outline: Outline) -> bool:
    """Whether a raster lies where longitudes and latitudes have their usual range."""
    left, bottom, right, top = outline.bounds
    geographic = outline.crs is not None and outline.crs.is_geographic
    return not geographic or (left >= -180 and right <= 180 and bottom > -POLE_DEGREES and top < POLE_DEGREES)


def gathered(
    rasters: RasterCache,
    dataset: Dataset,
    bands: tuple[int, ...],
    wanted: Wanted,
    options: dict[str, Any],
    shared: LayerPieces | None = None,
) -> ImageData | None:
    """An image as rio-tiler's `part` gives it; None where it takes a warp.

    Args:
        rasters: cached pieces.
        dataset: the raster.
        bands: 1-based.
        wanted: the image.
        options: rio-tiler's, apart from the image's bounds and size.
        shared: native pixels of these bands that are kept for the analysis anyway.
    """
    outline = outline_of(rasters.sources, dataset)
    if not can_gather(outline, options):
        return None
    make = _of_window if outline.crs == wanted.dst_crs else _of_warp
    src = _Bands(rasters, dataset, bands, outline, shared)
    return make(src, wanted, options.get("resampling_method") or "nearest")


@dataclass(frozen=True, slots=True)
class _Bands:
    """Bands of a raster, and where pieces of them are kept; see `gathered`."""

    rasters: RasterCache
    dataset: Dataset
    numbers: tuple[int, ...]
    outline: Outline
    shared: LayerPieces | None

    def pieces(self, overview: int | None) -> PixelPieces | None:
        """Those of the raster, or of one of its overviews; None where there are none."""
        return pieces_of(self.rasters, self.dataset, self.numbers, overview, self.shared)


def _of_warp(src: _Bands, wanted: Wanted, method: str) -> ImageData | None:
    """An image in another CRS than the raster's; None as above."""
    dataset, outline = src.dataset, src.outline
    virtual = VirtualRaster.of(outline, wanted.dst_crs, wanted.bounds, wanted.width, wanted.height)
    if virtual is None:
        return None
    size = wanted.width, wanted.height
    every = len(src.numbers) >= len(outline.dtypes)  # GDAL counts them
    overview = virtual.overview(outline, *size, nearest=method == "nearest")
    if every or (virtual.width, virtual.height) == size:
        method = "nearest"  # the virtual pixels are the image's: there is nothing to resample
    if (pieces := src.pieces(overview)) is None:
        return None
    made, only = size, wanted.only
    if method != "nearest":
        made, only = virtual.at(dataset, pieces.level), None
        if max(made[0] / size[0], made[1] / size[1]) > MOST_VIRTUAL:
            return None
        if not can_resample(method, outline.dtypes[0], outline.nodata):
            return None
    pixels = warped_pixels(dataset, pieces.level, virtual, wanted.dst_crs, *made, every=every)
    values = None if pixels is None else _taken(pieces, src, pixels, only)
    if values is not None and made != size:
        values = resampled(values, outline.nodata, *size, method)
    return None if values is None else _image(values, src, wanted)


def _of_window(src: _Bands, wanted: Wanted, method: str) -> ImageData | None:
    """An image in the raster's own CRS; None as above, for the rim of a raster, with a mask, and for scenes.

    Of several files GDAL takes another overview now and then, and interpolates between grids at the image's resolution.
    """
    dataset, outline = src.dataset, src.outline
    window = WindowOfRaster.of(outline, wanted.bounds)
    if window is None or method != "nearest" or dataset.parts or outline.masked:
        return None
    level_of = partial(overview_level, src.rasters.sources, dataset)
    overview = window.overview(level_of, len(outline.factors), wanted.width, wanted.height)
    if (pieces := src.pieces(overview)) is None:
        return None
    pixels = window.pixels(pieces.level, wanted.width, wanted.height)
    values = None if pixels is None else _taken(pieces, src, pixels, wanted.only)
    return None if values is None else _image(values, src, replace(wanted, bounds=window.bounds))


def _taken(
    pieces: PixelPieces, src: _Bands, pixels: WarpedPixels, only: npt.NDArray[np.bool_] | None
) -> np.ma.MaskedArray[Any, Any] | None:
    """(B, H, W) pixels, masked where there is none; None where what is kept is not what is stored."""
    outline, count = src.outline, len(src.numbers)
    rows, cols, nodata, shape = pixels.rows, pixels.cols, outline.nodata, (pieces.level.height, pieces.level.width)
    extent, inside = taken_extent(rows, cols, shape, only)
    void = 0 if nodata is None else nodata
    make = np.empty if inside == rows.size else partial(np.full, fill_value=void)
    values: npt.NDArray[Any] = make((count, *rows.shape), dtype=outline.dtypes[0])
    hidden: npt.NDArray[np.bool_] | None = None

    def which(some: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        found = np.zeros((1, *rows.shape), bool)
        take_pixels(found, [some], rows, cols, extent, only)
        return np.asarray(found[0])

    if inside:
        bands, doubtful = pieces.over(Box(*extent))
        if doubtful is not None and which(doubtful).any():
            return None
        take_pixels(values, bands, rows, cols, extent, only)
        if (masked := pieces.hidden(Box(*extent))) is not None:
            hidden = which(masked)
            values[:, hidden] = 0
    if nodata is None:
        outside = np.zeros(rows.shape, bool) if inside == rows.size else ~within(rows, cols, shape, only)
        outside |= False if hidden is None else hidden
        return np.ma.MaskedArray(values, np.broadcast_to(outside, values.shape).copy())
    return np.ma.MaskedArray(values, np.isnan(values) if np.isnan(nodata) else values == nodata)


def _image(values: np.ma.MaskedArray[Any, Any], src: _Bands, wanted: Wanted) -> ImageData:
    """The image as rio-tiler describes it."""
    dataset, outline, bands = src.dataset, src.outline, src.numbers
    every = outline.extremes
    extremes = [found for band in bands if (found := every[band - 1]) is not None]
    return ImageData(
        values,
        bounds=wanted.bounds,
        crs=wanted.dst_crs,
        band_names=[f"b{band}" for band in bands],
        band_descriptions=[outline.descriptions[band - 1] or f"b{band}" for band in bands],
        dataset_statistics=extremes if len(extremes) == len(bands) else None,
        metadata={},
        nodata=outline.nodata,
        scales=[outline.scales[band - 1] for band in bands],
        offsets=[outline.offsets[band - 1] for band in bands],
        assets=[dataset.url],
    )
