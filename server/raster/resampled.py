"""Images resampled from pixels in memory, as GDAL resamples what it reads of a raster."""

from __future__ import annotations

import warnings
from typing import Any, Final

import numpy as np
from rasterio.enums import ColorInterp, Resampling
from rasterio.errors import NotGeoreferencedWarning
from rasterio.io import MemoryFile

OPAQUE: Final = 255
"""Alpha of pixels with data in GDAL's virtual warped rasters, whatever their type."""

EXACT_METHODS: Final = frozenset({"bilinear", "cubic", "cubic_spline", "lanczos", "average"})
"""Methods by which pixels in memory become what GDAL makes of a virtual warped raster's."""
EXACT_ALPHA_METHODS: Final = frozenset({"bilinear", "average"})
"""The same for rasters without a value for no data: GDAL resamples their alpha, too, and others go beyond 255."""


def can_resample(method: str, dtype: str, nodata: float | None) -> bool:
    """Whether `resampled` gives what GDAL reads of a virtual warped raster of a type; int8 has no such alpha."""
    return method in EXACT_METHODS if nodata is not None else dtype != "int8" and method in EXACT_ALPHA_METHODS


def resampled(
    values: np.ma.MaskedArray[Any, Any], nodata: float | None, width: int, height: int, method: str
) -> np.ma.MaskedArray[Any, Any]:
    """An image of so many pixels.

    Args:
        values: (B, h, w) pixels; masked ones have the value for no data, if there is one.
        nodata: that value. Without one a pixel with data in no band is masked.
        width: columns of the image.
        height: its rows.
        method: rasterio's name of how it is resampled.

    Returns:
        (B, H, W), masked where any pixel that enters into one of the image's has no data; with a value for no data
        only where none has.
    """
    bands, rows, cols = values.shape
    alpha = int(nodata is None)
    profile = {"driver": "GTiff", "height": rows, "width": cols, "dtype": values.dtype, "nodata": nodata}
    with warnings.catch_warnings(), MemoryFile() as memory:
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with memory.open(**profile, count=bands + alpha, interleave="band") as dst:
            dst.write(values.data, list(range(1, 1 + bands)))
            if alpha:
                there = ~np.ma.getmaskarray(values).all(axis=0)
                dst.colorinterp = (*[ColorInterp.undefined] * bands, ColorInterp.alpha)
                dst.write((there * OPAQUE).astype(values.dtype), 1 + bands)
        with memory.open() as src:
            found = src.read(out_shape=(src.count, height, width), resampling=Resampling[method])
    if nodata is None:
        return np.ma.MaskedArray(found[:-1], np.broadcast_to(found[-1] != OPAQUE, found[:-1].shape).copy())
    return np.ma.MaskedArray(found, np.isnan(found) if np.isnan(nodata) else found == nodata)
