"""Tiles compressed by ISA-L: in a third of the time that GDAL takes, and a fiftieth smaller."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from isal import isal_zlib

from server.export.tiff import StoredImage, Tags, head_of, write_tile

DEFLATE_LEVEL: Final = 3
"""Of ISA-L's 0 to 3; the others are no faster."""


def deflated_tiles(pixels: npt.NDArray[Any], template: Tags, side: int) -> bytes:
    """Pixels as the tiles of a GeoTIFF.

    Args:
        pixels: (bands, rows, cols) of whole numbers.
        template: tags of an image of such pixels: interleaved, with deflate and differences along rows.
        side: of a tile, in pixels.
    """
    _, height, width = pixels.shape
    tiles = [isal_zlib.compress(laid, DEFLATE_LEVEL) for laid in _laid_out(pixels, side)]
    file = BytesIO()
    file.write(head_of([StoredImage(height, width, tuple(map(len, tiles)))], template, None))
    for tile in tiles:
        write_tile(file, tile)
    return file.getvalue()


def _laid_out(pixels: npt.NDArray[Any], side: int) -> Iterator[npt.NDArray[Any]]:
    """(side, side, bands) of each tile, row by row: differences to the pixel on the left."""
    count, height, width = pixels.shape
    for top in range(0, height, side):
        for left in range(0, width, side):
            part = np.moveaxis(pixels[:, top : top + side, left : left + side], 0, -1)
            rows, cols = part.shape[:2]
            laid = np.zeros((side, side, count), pixels.dtype.newbyteorder("<"))
            laid[:rows, 0] = part[:, 0]
            np.subtract(part[:, 1:], part[:, :-1], out=laid[:rows, 1:cols])
            yield laid
