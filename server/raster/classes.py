"""Reading a user's class raster on the target's native pixels, whole or sampled."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from affine import Affine
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT

from algorithms.masks import NODATA
from server.raster.dataset import Dataset, dataset_crs
from server.raster.grid import Box, Grid
from server.raster.pixels import MissingData
from server.raster.sources import Sources
from server.raster.upright import validity_options
from server.raster.warps import source_of_warp


def read_classes(
    sources: Sources, dataset: Dataset, target: Dataset, grid: Grid, box: Box
) -> npt.NDArray[np.floating[Any]]:
    """Read a user's class raster on the target's native pixels under a box of cells.

    Returns:
        (rows * factor, cols * factor), NaN where there is no data.
    """
    return _classes(sources, dataset, target, box.times(grid.factor), 1)


def sample_classes(sources: Sources, dataset: Dataset, target: Dataset, step: int) -> npt.NDArray[np.floating[Any]]:
    """Read a user's class raster at the middle of squares of `step` native pixels of the target.

    Returns:
        (ceil(H / step), ceil(W / step)), NaN where there is no data.
    """
    return _classes(sources, dataset, target, Box(0, -(-target.height // step), 0, -(-target.width // step)), step)


def sample_validity(sources: Sources, dataset: Dataset, step: int) -> npt.NDArray[np.bool_]:
    """(ceil(H / step), ceil(W / step)), whether a raster has data about the middle of squares of `step` of its pixels.

    Everywhere, where telling would take reading all of a large raster: one without overviews.
    """
    shape = (-(-dataset.height // step), -(-dataset.width // step))
    with sources.open_described(dataset) as src:
        if step > 1 and not src.overviews(1):
            return np.ones(shape, bool)
        options = {"out_shape": shape, "resampling": Resampling.nearest}
        there, _ = MissingData.of(dataset, dataset.indexes).found(src.read(dataset.indexes, **options))
        if dataset.nodata is None:
            there = there & src.dataset_mask(out_shape=shape) > 0
    return there


def _classes(sources: Sources, dataset: Dataset, target: Dataset, box: Box, step: int) -> npt.NDArray[np.floating[Any]]:
    """The nearest class of every square of `step` native pixels in a box of such squares."""
    # float32 holds every number of 16 bits; bits packed into 32 need more.
    dtype = "float32" if np.dtype(dataset.dtype).itemsize <= 2 or dataset.dtype == "float32" else "float64"
    with sources.open_described(dataset) as src:
        options: dict[str, Any] = {
            "crs": dataset_crs(target),
            "transform": target.affine @ Affine.scale(step) @ Affine.translation(box.left, box.top),
            "width": box.shape[1],
            "height": box.shape[0],
            "resampling": Resampling.nearest,
            **validity_options(src, dataset.nodata),
            **source_of_warp(dataset, target),
        }
        with WarpedVRT(src, **options) as warped:
            there = warped.dataset_mask() > 0
            values: npt.NDArray[Any]
            if dataset.code is None:
                values = warped.read(1, out_dtype=dtype)
            else:
                values = dataset.code.classes(
                    warped.read(dataset.indexes if dataset.code.kind else dataset.indexes[:1])
                )
                there &= values != NODATA
                dtype = "float32"
    return np.where(there, values, np.array(np.nan, dtype))
