"""ClearSky, the tile server: bytes in, bytes out."""

import os

from server.raster.gdal import configure_gdal
from server.work.memory import limit_heaps

# Requests and blocks run side by side; threads inside small matrix products would only get in their way.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
if "MALLOC_ARENA_MAX" not in os.environ:
    limit_heaps(2)
configure_gdal()  # before anything imports rasterio, which registers GDAL's drivers

__version__ = "0.1.0"
