"""GDAL as a server needs it: no directory listings, no network, bounded caches. Import before rasterio."""

from __future__ import annotations

import os
from typing import Final

GDAL_OPTIONS: Final = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_CACHEMAX": "200",
    "GDAL_INGESTED_BYTES_AT_OPEN": "32768",
    "GDAL_BAND_BLOCK_CACHE": "HASHSET",
}
"""Set in the environment unless the operator has set them otherwise; reasons in docs/remote.md."""

SAFETY: Final = {
    "CPL_VSIL_CURL_ALLOWED_FILENAME": "none",
    "PROJ_NETWORK": "OFF",
    # Of damaged files the decoders below hand out what was in memory before, without an error.
    "GDAL_PNG_WHOLE_IMAGE_OPTIM": "NO",
    "GDAL_NUM_THREADS": "1",  # JPEG 2000: blocks that a thread of the driver's could not decode
    "GDAL_ERROR_ON_LIBJPEG_WARNING": "TRUE",  # grey, not memory; but of a file cut short
}
"""Set whatever the operator has set: without them, one request's pixels can be sent to another."""

UNTRUSTED: Final = {
    # libdeflate leaves the rest of a tile as it was when more comes than fits, and libtiff takes that for success;
    # zlib takes 1.7 to 2.3 times as long.
    "GDAL_TIFF_DEFLATE_SUBCODEC": "ZLIB",
}
"""Further options for files that only their author vouches for: those of public hosts."""


def configure_gdal() -> None:
    """Put the options into the process environment, where GDAL and PROJ look."""
    for name, value in GDAL_OPTIONS.items():
        os.environ.setdefault(name, value)
    os.environ.update(SAFETY)
