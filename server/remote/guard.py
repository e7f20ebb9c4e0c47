"""The last line: a GDAL that opens nothing by name, for processes that only read what requests name."""

from __future__ import annotations

import ctypes
import logging
from ctypes import CFUNCTYPE, POINTER, c_char_p, c_int, c_void_p
from typing import Any, Final

from server.remote.libgdal import gdal_library
from server.remote.vsi import PREFIX, install

logger = logging.getLogger("clearsky")

KEPT_SYSTEMS: Final = ("/vsimem/", PREFIX)
"""What stays: images are encoded in memory, and rasters are read through our own file system."""


def _open(_: Any, name: bytes, _access: bytes) -> None:
    if not name.startswith(b"<"):  # VRTs are given by their content, which GDAL first takes for a name
        logger.warning("GDAL asked for %r, which no request names; refused", name[:200].decode("utf-8", "replace"))


def _stat(*_: Any) -> int:
    return -1


def _read_dir(*_: Any) -> None:
    return None


_CALLBACKS: Final = {
    "open": CFUNCTYPE(c_void_p, c_void_p, c_char_p, c_char_p)(_open),
    "stat": CFUNCTYPE(c_int, c_void_p, c_char_p, c_void_p, c_int)(_stat),
    "read_dir": CFUNCTYPE(c_void_p, c_void_p, c_char_p, c_int)(_read_dir),
}
"""Kept here permanently: GDAL holds pointers to them."""


def seal() -> None:
    """Remove every file system but `KEPT_SYSTEMS` from GDAL, that of real paths included, for the life of the process.

    `server.raster.opening` refuses rasters that refer to other files; whatever it misses ends here. To be
    called at start, while nobody opens files; afterwards rasterio neither opens nor writes a path.
    """
    gdal = gdal_library()
    prefixes = ctypes.cast(gdal.VSIGetFileSystemsPrefixes(), POINTER(c_char_p))
    number = 0
    while (prefix := prefixes[number]) is not None:
        if prefix.decode() not in KEPT_SYSTEMS:
            install(prefix.decode(), _CALLBACKS)
        number += 1
    install("", _CALLBACKS)  # names without a prefix: paths
