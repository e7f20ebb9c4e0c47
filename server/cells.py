"""Reading rasters as analysis cells on the target's lattice."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window

from algorithms.cells import Cells, cell_means
from server.dataset import Dataset, dataset_crs, open_raster
from server.grid import Box, Grid

READ_BLOCK: Final = 256
"""Side in cells of the pieces in which rasters are read: 512 native pixels at factor 2, the tile of a common COG."""


def _step(factor: int, shift: tuple[int, int]) -> int:
    """Decimation left to GDAL (and so to overviews): the largest power of two in the factor, none at fine levels.

    Fine levels are averaged from native pixels, since overviews are rounded and made by any method.
    """
    step = factor & -factor if factor > 4 else 1
    return 1 if shift[0] % step or shift[1] % step else step


def _read(
    src: Any, indexes: tuple[int, ...], box: Box, grid: Grid, nodata: float | None, shift: tuple[int, int]
) -> Cells:
    """Average the pixels of a dataset that lies on the target's lattice, `shift` rows and columns off."""
    factor, step = grid.factor, _step(grid.factor, shift)
    top, left = box.top * factor - shift[0], box.left * factor - shift[1]
    bottom, right = box.bottom * factor - shift[0], box.right * factor - shift[1]
    # Whole steps only: a stretched read would shift the last pixels.
    height, width = src.height // step * step, src.width // step * step
    inner = Box(max(top, 0), min(bottom, height), max(left, 0), min(right, width))
    rows, cols = (bottom - top) // step, (right - left) // step
    values = np.zeros((len(indexes), rows, cols), np.float32)
    valid = np.zeros((rows, cols), bool)
    if inner.bottom > inner.top and inner.right > inner.left:
        window = Window(inner.left, inner.top, inner.right - inner.left, inner.bottom - inner.top)
        shape = (window.height // step, window.width // step)
        pixels = src.read(
            indexes, window=window, out_shape=(len(indexes), *shape), resampling=Resampling.average, out_dtype="float32"
        )
        if nodata is not None and not np.isnan(nodata):
            there = (pixels != nodata).all(axis=0)
        elif nodata is not None:
            there = np.ones(shape, bool)
        else:
            there = src.dataset_mask(window=window, out_shape=shape) > 0
        there &= np.isfinite(pixels).all(axis=0)
        row, col = (inner.top - top) // step, (inner.left - left) // step
        values[:, row : row + shape[0], col : col + shape[1]] = np.where(there, pixels, 0)
        valid[row : row + shape[0], col : col + shape[1]] = there
    return cell_means(values, valid, factor // step)


def read_cells(dataset: Dataset, indexes: tuple[int, ...], target: Dataset, grid: Grid, box: Box) -> Cells:
    """Read bands of a dataset on a box of the target's cells, warped bilinearly where it lies on another grid."""
    with open_raster(dataset.url) as src:
        shift = dataset.same_grid(target)
        if shift is not None:
            return _read(src, indexes, box, grid, dataset.nodata, shift)
        options: dict[str, Any] = {
            "crs": dataset_crs(target),
            "transform": target.affine,
            "width": target.width,
            "height": target.height,
            "resampling": Resampling.bilinear,
        }
        if dataset.nodata is not None:
            options |= {"src_nodata": dataset.nodata, "nodata": dataset.nodata}
        else:
            options["add_alpha"] = True
        with WarpedVRT(src, **options) as warped:
            return _read(warped, indexes, box, grid, dataset.nodata, (0, 0))


def read_classes(dataset: Dataset, target: Dataset, grid: Grid, box: Box) -> npt.NDArray[np.float32]:
    """Read a user's class raster on the target's native pixels under a box of cells.

    Returns:
        (rows * factor, cols * factor) float32, NaN where there is no data.
    """
    factor = grid.factor
    shape = (box.shape[0] * factor, box.shape[1] * factor)
    with open_raster(dataset.url) as src:
        options: dict[str, Any] = {
            "crs": dataset_crs(target),
            "transform": target.affine,
            "width": grid.cols * factor,
            "height": grid.rows * factor,
            "resampling": Resampling.nearest,
            "add_alpha": src.nodata is None and dataset.nodata is None,
        }
        if dataset.nodata is not None:
            options |= {"src_nodata": dataset.nodata, "nodata": dataset.nodata}
        with WarpedVRT(src, **options) as warped:
            window = Window(box.left * factor, box.top * factor, shape[1], shape[0])
            values: npt.NDArray[np.float32] = warped.read(1, window=window, out_dtype="float32")
            there = warped.dataset_mask(window=window) > 0
    return np.where(there, values, np.float32(np.nan))
