"""Opening one mounted file with one driver, and refusing a raster that would make GDAL or PROJ open others."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

import rasterio
from rasterio._err import CPLE_BaseError
from rasterio.errors import RasterioIOError

from server.errors import SourceUnreadableError
from server.raster.drivers import driver_for, restrict_drivers
from server.raster.inspecting import Inspected
from server.raster.partial import Watched

REFERENCES: Final = {"OVERVIEWS": ("OVERVIEW_FILE",), "GEOLOCATION": ("X_DATASET", "Y_DATASET")}
"""Metadata by which a raster makes GDAL open other datasets: the domains and the items. An ordinary file has none."""

_CRS_FILES: Final = re.compile(
    r'PARAMETERFILE|"PROJ-based|(?<!using )\b(?:\w*grids|init|file|model|catalog)\s*=\s*(?!@?null\b)', re.IGNORECASE
)
"""Parts of WKT 2 that make PROJ open a file: grids of datum shifts, operations and definitions as PROJ strings.
(A datum called "... using nadgrids=..." is only called so.)"""

_WKT: Final = "WKT2_2019"
"""The one version of WKT that leaves nothing of these out."""

restrict_drivers()


def raise_fault(files: Sequence[Watched], error: Exception | None = None) -> None:
    """Raise what happened to a file, if anything did."""
    for file in files:
        if file.fault is not None:
            raise file.fault from error


def open_checked(url: str, name: str, seen: Inspected, overview: int | None = None) -> Any:
    """The raster under the name that GDAL knows it by, or one of its overviews, if it stands for itself."""
    driver = driver_for(url, seen.read(0, 8))
    try:
        src = rasterio.open(name, driver=driver, **({} if overview is None else {"overview_level": overview}))
    except (RasterioIOError, CPLE_BaseError) as error:
        raise SourceUnreadableError(
            f"{url!r} cannot be read as {driver}: {str(error).replace(name, url)[:300]}; give a GeoTIFF"
        ) from error
    try:
        raise_fault([seen])
        _check_references(url, src)
    except BaseException:
        src.close()
        raise
    seen.opened()
    return src


def _check_references(url: str, src: Any) -> None:
    """Refuse a raster whose reading would make GDAL or PROJ open other files.

    Raises:
        SourceUnreadableError: it names some.
    """
    for domain, items in REFERENCES.items():
        tags = src.tags(ns=domain)
        if found := next((tags[item] for item in items if item in tags), None):
            raise SourceUnreadableError(
                f"{url!r} refers to another file, {found[:200]!r}, in its {domain} metadata; "
                "write a copy without such metadata (gdal_translate)"
            )
    for crs in (src.crs, src.gcps[1]):
        if crs and _names_files(crs.to_wkt(version=_WKT)):
            raise SourceUnreadableError(
                f"{url!r} has a coordinate reference system that names a file, {crs.to_wkt()[-200:]!r}; "
                "assign a plain one (gdal_edit -a_srs)"
            )


@lru_cache(maxsize=256)
def _names_files(wkt: str) -> bool:
    return _CRS_FILES.search(wkt) is not None
