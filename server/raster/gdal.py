"""GDAL as a server needs it: few drivers, no directory listings, bounded caches. Import before rasterio."""

from __future__ import annotations

import os
from pathlib import PurePosixPath
from typing import Final
from urllib.parse import urlsplit

SKIPPED_DRIVERS: Final = (
    "DERIVED", "STACIT", "STACTA", "WMS", "WMTS", "WCS", "HTTP", "PLMOSAIC", "EEDA", "EEDAI", "DAAS",
)  # fmt: skip
"""Formats that open other datasets or addresses named inside a file. VRT, the most dangerous of them, cannot stand
here: rasterio makes one itself to compute the extent of a warp. `driver_for` keeps it from opening a request's file."""

DRIVERS: Final = {".jp2": "JP2OpenJPEG", ".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
"""Drivers by the end of the name; GeoTIFF (COG included) for every other."""

GDAL_OPTIONS: Final = {
    "GDAL_SKIP": " ".join(SKIPPED_DRIVERS),
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_CACHEMAX": "200",
    "GDAL_INGESTED_BYTES_AT_OPEN": "32768",
    "GDAL_BAND_BLOCK_CACHE": "HASHSET",
    "CPL_VSIL_CURL_ALLOWED_FILENAME": "none",
    "PROJ_NETWORK": "OFF",
}
"""Set in the environment unless the operator has set them otherwise; reasons in docs/remote.md."""


def driver_for(url: str) -> str:
    """The one driver that is offered a file a request names; no other looks at its content."""
    return DRIVERS.get(PurePosixPath(urlsplit(url).path).suffix.lower(), "GTiff")


def configure_gdal() -> None:
    """Put the options into the process environment, where GDAL looks when it registers its drivers."""
    for name, value in GDAL_OPTIONS.items():
        os.environ.setdefault(name, value)
