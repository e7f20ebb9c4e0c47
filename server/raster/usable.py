"""Whether a raster can be shown at all: its georeferencing, and its value for no data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

import numpy as np
import pyproj

from algorithms.errors import ParameterError
from server.errors import SourceUnreadableError

LARGEST_COORDINATE: Final = 1e12
"""Coordinates and sizes of pixels beyond which no CRS has any points."""
SMALLEST: Final = 1e-12
"""Size of a pixel below which positions cannot be distinguished."""

EXTREMES: Final = ("STATISTICS_MINIMUM", "STATISTICS_MAXIMUM")
"""Metadata of a band that rio-tiler reads as numbers: its least and greatest value."""


def check_georeference(src: Any, url: str) -> None:
    """Refuse a raster whose geotransform cannot be used.

    Raises:
        SourceUnreadableError: the geotransform is not finite, or has no inverse.
    """
    numbers = tuple(src.transform)[:6]
    remedy = "its georeferencing is damaged; assign it again (gdal_edit -a_ullr)"
    if not all(math.isfinite(value) and abs(value) <= LARGEST_COORDINATE for value in numbers):
        raise SourceUnreadableError(f"{url!r} has the geotransform {numbers}: {remedy}")
    a, b, _, d, e, _ = numbers
    sides = math.hypot(a, d), math.hypot(b, e)
    if min(sides) < SMALLEST or abs(a * e - b * d) < 1e-9 * sides[0] * sides[1]:
        raise SourceUnreadableError(f"{url!r} has pixels without an area, geotransform {numbers}: {remedy}")


def check_crs(src: Any, url: str) -> None:
    """Refuse a raster without a CRS.

    Raises:
        SourceUnreadableError: it has none.
    """
    if src.crs is None:
        raise SourceUnreadableError(f"{url!r} has no coordinate reference system; assign one (gdal_edit -a_srs)")


def check_place(src: Any, url: str) -> None:
    """Refuse a raster that has no place on the earth.

    Raises:
        SourceUnreadableError: it has no CRS, or one of a site of its own.
    """
    check_crs(src, url)
    if not (src.crs.is_geographic or src.crs.is_projected) and _is_local(src.crs.to_wkt()):
        raise SourceUnreadableError(
            f"{url!r} has a local CRS, which has no place on the earth; assign another one (gdal_edit -a_srs)"
        )


@lru_cache(maxsize=64)
def _is_local(crs: str) -> bool:
    return bool(pyproj.CRS.from_wkt(crs).is_engineering)


def check_real(src: Any, url: str) -> None:
    """Refuse to make pixels of complex numbers.

    Raises:
        SourceUnreadableError: the raster holds complex numbers.
    """
    if "complex" in src.dtypes[0]:
        raise SourceUnreadableError(
            f"{url!r} holds complex numbers ({src.dtypes[0]}), which cannot be shown as a picture; give a raster of "
            "their amplitude or phase"
        )


def check_statistics(src: Any, url: str) -> None:
    """Refuse a raster whose bands say of their least and greatest value what is no number.

    Raises:
        SourceUnreadableError: with the band and its metadata.
    """
    for band in src.indexes:
        tags = src.tags(band)
        if (name := unreadable_extreme(tags)) is not None:
            raise SourceUnreadableError(
                f"{url!r} has {name}={tags[name][:40]!r} in band {band}, which is not a number; remove it "
                "(gdal_edit -unsetstats)"
            )


def unreadable_extreme(tags: Mapping[str, str]) -> str | None:
    """Which of a band's least and greatest value is no number; None where both or neither can be read."""
    for name in EXTREMES:
        try:
            float(tags.get(name, 0))
        except ValueError:
            return name
    return None


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
        raise ParameterError(
            f"nodata={nodata:g} does not fit {dtype}; give a whole number from {limits.min} to {limits.max}"
        )
