"""The GDAL library that rasterio uses, for what rasterio does not offer."""

from __future__ import annotations

import ctypes
from ctypes import c_char_p, c_void_p
from functools import lru_cache
from pathlib import Path

import rasterio._base


@lru_cache(maxsize=1)
def gdal_library() -> ctypes.CDLL:
    """GDAL's C API: found through rasterio's own module, or (Windows) among its libraries.

    Raises:
        ImportError: it cannot be found.
    """
    module = Path(rasterio._base.__file__)
    for path in (module, *(module.parents[1] / "rasterio.libs").glob("gdal*")):
        library = ctypes.CDLL(str(path))
        if hasattr(library, "VSIInstallPluginHandler"):
            library.GDALGetDriverByName.restype = c_void_p
            library.GDALGetDriverByName.argtypes = [c_char_p]
            library.GDALDeregisterDriver.argtypes = [c_void_p]
            library.GDALDeregisterDriver.restype = None
            library.VSIGetFileSystemsPrefixes.restype = c_void_p
            library.CSLAddString.restype = c_void_p
            library.CSLAddString.argtypes = [c_void_p, c_char_p]
            return library
    raise ImportError(f"GDAL's VSIInstallPluginHandler cannot be reached through {module}; install rasterio's wheel")
