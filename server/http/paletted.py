"""Pictures of masks, sources and the like: in the colours of their legend, with the values still in them."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.io import MemoryFile
from rio_tiler.models import ImageData

from algorithms.fill import UNFILLED
from algorithms.palettes import PALETTES, colour_table

HIDDEN: Final = 255
"""Value of pixels without data in a paletted PNG, as in files."""
HIDDEN_NEAR_UNFILLED: Final = 254
"""The same of a fill source in which cloud stays unfilled, which has that value, too."""


def palette_name(image: ImageData) -> str | None:
    """Whose palette an image has; None where it is none of ours."""
    name = (image.metadata or {}).get("band")
    return name if name in PALETTES else None


def colour_map(table: npt.NDArray[np.uint8]) -> dict[int, tuple[int, int, int, int]]:
    """A colour table as rio-tiler and rasterio take it."""
    return {value: (r, g, b, a) for value, (r, g, b, a) in enumerate(table.tolist())}


def paletted_png(image: ImageData, name: str) -> bytes:
    """A PNG of one band whose pixels are the values, and whose palette gives them colours.

    Args:
        image: (1, H, W) uint8.
        name: of the palette.
    """
    values, hidden = image.array.data[0].copy(), image.mask == 0
    table = colour_table(name)
    unfilled = name == "fill_source" and bool((values[~hidden] == UNFILLED).any())
    missing = HIDDEN_NEAR_UNFILLED if unfilled else HIDDEN
    values[hidden] = missing
    table[missing] = 0
    shape = {"count": 1, "height": values.shape[0], "width": values.shape[1], "dtype": np.uint8}
    with rasterio.Env(GDAL_PAM_ENABLED="NO"), MemoryFile() as memory:
        with memory.open(driver="PNG", zlevel=1, **shape) as dst:
            dst.write(values, 1)
            dst.write_colormap(1, colour_map(table))
        return bytes(memory.read())
