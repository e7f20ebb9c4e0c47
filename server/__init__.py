"""ClearSky, the tile server: bytes in, bytes out."""

import contextlib
import ctypes
import os

from server.gdal import configure_gdal

# Requests and blocks run side by side; threads inside small matrix products would only get in their way.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
if "MALLOC_ARENA_MAX" not in os.environ:
    # glibc gives threads heaps of their own, in each of which large arrays leave holes: a fifth of an export's memory.
    with contextlib.suppress(OSError, AttributeError):  # other C libraries
        ctypes.CDLL("libc.so.6").mallopt(-8, 2)  # M_ARENA_MAX
configure_gdal()  # before anything imports rasterio, which registers GDAL's drivers

__version__ = "0.1.0"
