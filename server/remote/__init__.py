"""Remote files: who may be read, their identity, their bytes, and the way into GDAL."""
