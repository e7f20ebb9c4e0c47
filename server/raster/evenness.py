"""Whether the pixels under an image have numbers in all bands or in none, so that any of its bands shows which."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from rasterio.crs import CRS

from server.raster.cache import RasterCache
from server.raster.dataset import Dataset
from server.raster.gathered import can_gather
from server.raster.grid import Box
from server.raster.lattices import by_lattice
from server.raster.layer import Layer
from server.raster.sampling import OutputGrid, on_lattice
from server.raster.storedpieces import outline_of
from server.raster.warper import VirtualRaster

SIDE_POINTS: Final = 9
"""Points on each side of an image whose positions bound those of all of its pixels."""
PLACING_OPTIONS: Final = frozenset({"dst_crs", "bounds_crs", "height", "width", "max_size"})
"""Options of rio-tiler that say where an image lies, as its grid does."""
SPARE_PIXELS: Final = 8
"""Pixels of the raster that others may lie beyond them: sides are bent by less, and the warper's tolerance is 1/8."""


def is_even(rasters: RasterCache, layer: Layer, output: OutputGrid, crs: CRS, options: dict[str, Any]) -> bool:
    """Whether an image of the raster's own pixels shows in any of a layer's bands where all have numbers.

    Args:
        rasters: cached pixels, which are read where they are not there.
        layer: of a target.
        output: the image's grid.
        crs: its CRS.
        options: how the image is read.

    Returns:
        False where that is unknown, too: for overviews, resampled images and those in the raster's CRS.
    """
    dataset = layer.dataset
    outline = outline_of(rasters.sources, dataset)
    options = {name: value for name, value in options.items() if name not in PLACING_OPTIONS}
    nearest = (options.get("resampling_method") or "nearest") == "nearest"
    if not (nearest and output.bounds is not None and output.north_up and can_gather(outline, options)):
        return False
    virtual = VirtualRaster.of(outline, crs, output.bounds, output.width, output.height)
    if outline.crs == crs or virtual is None or virtual.overview(outline, output.width, output.height) is not None:
        return False
    box = _around(layer.dataset, output)
    return box is not None and (0 in box.shape or rasters.is_even(layer, box))


@by_lattice
def _around(dataset: Dataset, output: OutputGrid) -> Box | None:
    """Pixels of a raster that an image may show; None where its sides have no place there."""
    along = np.linspace(0, 1, SIDE_POINTS)
    near, far = np.zeros(SIDE_POINTS), np.ones(SIDE_POINTS)
    down, across = np.concatenate([near, along, far, along]), np.concatenate([along, far, along, near])
    rows, cols = on_lattice(dataset, output.crs, output.transform, down * output.height, across * output.width)
    if not (np.isfinite(rows).all() and np.isfinite(cols).all()):
        return None
    edges = (int(np.floor(axis.min())) for axis in (rows, -rows, cols, -cols))
    top, bottom, left, right = edges
    return Box(top, -bottom, left, -right).pad(SPARE_PIXELS).clip(dataset.shape)
