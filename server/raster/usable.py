"""Whether a raster can be shown at all: where it lies, and what stands for no data in it."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from pyproj import Transformer
from pyproj.exceptions import ProjError

from algorithms.errors import ParameterError
from server.errors import SourceUnreadableError

LARGEST: Final = 1e12
"""Coordinates and sizes of pixels beyond which no CRS has any place."""
SMALLEST: Final = 1e-12
"""Size of a pixel below which positions cannot be told apart."""


def check_georeference(src: Any, url: str) -> None:
    """Refuse a raster whose geotransform leads nowhere.

    Raises:
        SourceUnreadableError: the geotransform is not finite, or has no inverse.
    """
    numbers = tuple(src.transform)[:6]
    remedy = "its place is damaged; georeference it again (gdal_edit -a_ullr)"
    if not all(math.isfinite(value) and abs(value) <= LARGEST for value in numbers):
        raise SourceUnreadableError(f"{url!r} has the geotransform {numbers}: {remedy}")
    a, b, _, d, e, _ = numbers
    sides = math.hypot(a, d), math.hypot(b, e)
    if min(sides) < SMALLEST or abs(a * e - b * d) < 1e-9 * sides[0] * sides[1]:
        raise SourceUnreadableError(f"{url!r} has pixels without an area, geotransform {numbers}: {remedy}")


def check_real(dtype: str, url: str) -> None:
    """Refuse complex values, which no picture, mask or fill is made of.

    Raises:
        SourceUnreadableError: with the type.
    """
    if dtype.startswith("complex"):
        raise SourceUnreadableError(
            f"{url!r} holds {dtype}; give a raster of real numbers (its amplitude, for example)"
        )


def check_crs(crs: str, url: str) -> None:
    """Refuse a CRS that no other can be transformed to: a local one, or that of another body.

    Raises:
        SourceUnreadableError: there is no way from longitude and latitude.
    """
    try:
        Transformer.from_crs("EPSG:4326", crs, always_xy=True)
    except ProjError as error:
        raise SourceUnreadableError(
            f"{url!r} has a coordinate reference system that leads nowhere on Earth; assign another (gdal_edit -a_srs)"
        ) from error


def check_nodata(nodata: float | None, src: Any) -> None:
    """Refuse a value for no data that the raster's type cannot hold.

    Raises:
        ParameterError: with the type's range.
    """
    if nodata is None:
        return
    dtype = src.dtypes[0]
    if not (dtype.startswith(("int", "uint")) and dtype[-1].isdigit()):
        return
    limits = np.iinfo(dtype)
    if not (float(nodata).is_integer() and limits.min <= nodata <= limits.max):
        raise ParameterError(f"nodata={nodata:g} is no {dtype}; give a whole number from {limits.min} to {limits.max}")
