"""GDAL's drivers: the few that are needed, and which of them is offered a file."""

from __future__ import annotations

import os
from pathlib import PurePosixPath
from typing import Final
from urllib.parse import urlsplit

import rasterio

from server.remote.libgdal import gdal_library

BY_SUFFIX: Final = {".jp2": "JP2OpenJPEG", ".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
"""Drivers by the name's suffix; GeoTIFF (COG included) for every other."""

NEEDED: Final = frozenset({"GTiff", "COG", "MEM", "Memory", "VRT", *BY_SUFFIX.values()})
"""Drivers that stay. A file can name datasets of any driver there is, and some fetch what it names (`GTI`, `WMS`,
`ZARR`, `HTTP`). VRT, the most dangerous of those left, is needed: rasterio makes one to compute the extent of a warp,
and another to warp. It is never offered a file, and `server.raster.opening` refuses files that name others. `Memory`
(in newer versions part of `MEM`) holds the shapes that rasterio burns into a mask."""


BY_START: Final = {
    b"II*\0": "GTiff", b"MM\0*": "GTiff", b"II+\0": "GTiff", b"MM\0+": "GTiff",
    b"\0\0\0\x0cjP  ": "JP2OpenJPEG", b"\xffO\xffQ": "JP2OpenJPEG",
}  # fmt: skip
"""Drivers by a file's first bytes: archives name files as they like (`.../$value`)."""


def driver_for(url: str, start: bytes) -> str:
    """The one driver that is offered a file a request names; no other looks at its content.

    Args:
        url: its name. Of pictures (PNG, JPEG, WEBP) it decides, of GeoTIFF and JPEG 2000 the first bytes do.
        start: those, 8 at least where there are as many.
    """
    named = BY_SUFFIX.get(PurePosixPath(urlsplit(url).path).suffix.lower(), "GTiff")
    if named not in BY_START.values():
        return named
    return next((driver for first, driver in BY_START.items() if start.startswith(first)), named)


def restrict_drivers() -> None:
    """Remove every driver that is not needed from GDAL, whatever this build has.

    The list goes into the environment, too, for a GDAL that registers its drivers again, and for subprocesses.
    """
    gdal = gdal_library()
    with rasterio.Env() as env:  # registers the drivers
        surplus = sorted(set(env.drivers()) - NEEDED)
    for name in surplus:
        if driver := gdal.GDALGetDriverByName(name.encode()):
            gdal.GDALDeregisterDriver(driver)
    skipped = {name.strip() for name in os.environ.get("GDAL_SKIP", "").split(",")} | set(surplus)
    os.environ["GDAL_SKIP"] = ",".join(sorted(skipped - {""}))
