"""ClearSky, the tile server: bytes in, bytes out."""

import os

from server.gdal import configure_gdal

# Requests and blocks run side by side; threads inside small matrix products would only get in their way.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
configure_gdal()  # before anything imports rasterio, which registers GDAL's drivers

__version__ = "0.1.0"
