"""ClearSky, the tile server: bytes in, bytes out."""

from server.gdal import configure_gdal

configure_gdal()  # before anything imports rasterio, which registers GDAL's drivers

__version__ = "0.1.0"
