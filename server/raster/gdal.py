"""GDAL as a server needs it: no directory listings, no network, bounded caches. Import before rasterio."""

from __future__ import annotations

import os
from typing import Final

GDAL_OPTIONS: Final = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_CACHEMAX": "200",
    "GDAL_INGESTED_BYTES_AT_OPEN": "32768",
    "GDAL_BAND_BLOCK_CACHE": "HASHSET",
    "CPL_VSIL_CURL_ALLOWED_FILENAME": "none",
    "GDAL_ERROR_ON_LIBJPEG_WARNING": "TRUE",
    "PROJ_NETWORK": "OFF",
}
"""Set in the environment unless the operator has set them otherwise; reasons in docs/remote.md."""


def configure_gdal() -> None:
    """Put the options into the process environment, where GDAL and PROJ look."""
    for name, value in GDAL_OPTIONS.items():
        os.environ.setdefault(name, value)
