"""Pixels as the tiles of a GeoTIFF, compressed as they are in the finished file."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from affine import Affine
from rasterio.io import MemoryFile

from server.export.deflated import deflated_tiles
from server.export.tiff import Tags, read_tags

TILE_PIXELS: Final = 512
"""Side of a tile, in pixels."""
ANYWHERE: Final = Affine.scale(2)
"""A place for pixels that need none: rasterio warns of files without one."""
LOSSLESS: Final = ("deflate", "lzw", "zstd", "lzma")
"""Compressions that are kept from the target; any other becomes the first of these."""


def tile_options(dtype: npt.DTypeLike, compression: str | None) -> dict[str, Any]:
    """Options of GDAL's driver for tiles of a data type; uncompressed without a compression."""
    options: dict[str, Any] = {
        "driver": "GTiff",
        "tiled": True,
        "blockxsize": TILE_PIXELS,
        "blockysize": TILE_PIXELS,
        "interleave": "pixel",
        "endianness": "little",
    }
    if compression is None:
        return options
    options["compress"] = compression
    if compression != "lzma":
        options["predictor"] = 3 if np.issubdtype(dtype, np.floating) else 2
    return options


def stored_tiles(pixels: npt.NDArray[Any], compression: str | None) -> bytes:
    """Pixels (bands, rows, cols) as the tiles of a GeoTIFF that has no place."""
    if compression == "deflate" and np.issubdtype(pixels.dtype, np.integer):
        return deflated_tiles(pixels, _template(pixels.dtype.name, len(pixels)), TILE_PIXELS)
    return _stored(pixels, tile_options(pixels.dtype, compression))


@lru_cache(maxsize=32)
def _template(dtype: str, count: int) -> Tags:
    """The tags that GDAL gives to an image of deflated tiles."""
    (tags,) = read_tags(_stored(np.zeros((count, 1, 1), dtype), tile_options(dtype, "deflate")))
    return tags


def stored_mask(mask: npt.NDArray[Any]) -> bytes:
    """A mask (rows, cols), not 0 where there is data, in the same way: a bit a pixel, as GDAL stores a raster's own."""
    return _stored((mask != 0)[None].astype(np.uint8), tile_options(np.uint8, "deflate") | {"predictor": 1, "nbits": 1})


def _stored(pixels: npt.NDArray[Any], options: dict[str, Any]) -> bytes:
    count, height, width = pixels.shape
    options |= {"count": count, "height": height, "width": width, "dtype": pixels.dtype, "transform": ANYWHERE}
    # In memory first: Python reports a full disk, GDAL does not always.
    with MemoryFile() as memory:
        with memory.open(**options) as file:
            file.write(pixels)
        return bytes(memory.getbuffer())
