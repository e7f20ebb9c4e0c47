"""Described rasters on the ground: whether two of them overlap."""

from __future__ import annotations

from typing import Final

import numpy as np
from rasterio.errors import RasterioError
from rasterio.warp import transform_bounds

from server.raster.dataset import Dataset, dataset_crs
from server.raster.sampling import on_lattice

PROBES: Final = 33
"""Points along each side of a raster that are looked up in the other one."""


def overlap(one: Dataset, two: Dataset) -> bool:
    """Whether two rasters share ground: points of either in the other, or their boxes where these can be compared.

    The box of a raster that reaches a pole, or around the globe, is infinite in most projections.
    """
    return _reaches_into(one, two) or _reaches_into(two, one) or _boxes_meet(one, two)


def _reaches_into(one: Dataset, two: Dataset) -> bool:
    """Whether any point of a grid over one raster lies inside another."""
    rows, cols = np.meshgrid(*(np.linspace(0, side, PROBES) for side in one.shape), indexing="ij")
    at_row, at_col = on_lattice(two, one.crs, one.transform, rows, cols)
    tiny = 1e-6 * max(two.shape)
    with np.errstate(invalid="ignore"):
        inside = (at_row > tiny) & (at_row < two.height - tiny) & (at_col > tiny) & (at_col < two.width - tiny)
    return bool(inside.any())


def _boxes_meet(one: Dataset, two: Dataset) -> bool:
    try:
        left, bottom, right, top = transform_bounds(dataset_crs(one), dataset_crs(two), *one.bounds, densify_pts=21)
    except RasterioError:
        return False
    if not np.isfinite([left, bottom, right, top]).all():
        return False
    west, south, east, north = two.bounds
    return bool(left < east and right > west and bottom < north and top > south)
