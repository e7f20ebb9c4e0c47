"""Reading rasters as analysis cells on the target's lattice."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from affine import Affine
from rasterio.enums import Interleaving, Resampling
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window as PixelWindow

from algorithms.cells import AVERAGED_FACTOR, Cells, cell_means
from server.raster.composite import own_layer, resolution_groups
from server.raster.dataset import Dataset, dataset_crs
from server.raster.grid import Box, Grid
from server.raster.layer import Layer
from server.raster.sources import Sources
from server.raster.turns import source_of_warp
from server.raster.upright import validity_options
from server.remote.files import is_remote

READ_CELLS: Final = 256
"""Side in cells of the blocks in which rasters are read: 512 native pixels at factor 2, the tile of a common COG."""


@dataclass(frozen=True, slots=True)
class Pixels:
    """Native pixels."""

    values: npt.NDArray[Any]
    """(B, h, w), in the type they are stored in."""
    valid: npt.NDArray[np.bool_]
    """(h, w)."""

    @property
    def clean(self) -> npt.NDArray[np.float32]:
        """(B, h, w) values, 0 where there is none."""
        return np.where(self.valid, self.values, 0).astype(np.float32)


def _step(factor: int, shift: tuple[int, int]) -> int:
    """Decimation left to GDAL (and so to overviews): the largest power of two in the factor, none at fine levels.

    Fine levels are averaged from native pixels, since overviews are rounded and made by any method.
    """
    step = factor & -factor if factor > AVERAGED_FACTOR else 1
    return 1 if shift[0] % step or shift[1] % step else step


def _there(pixels: npt.NDArray[Any], nodata: float | None) -> npt.NDArray[np.bool_]:
    """(H, W), pixels of (B, H, W) that are finite and not `nodata` in every band."""
    there = np.ones(pixels.shape[1:], bool)
    whole_numbers = np.issubdtype(pixels.dtype, np.integer)
    # Compared in the pixels' own type, which is several times as fast; a value it cannot hold is nowhere.
    if nodata is not None and (not whole_numbers or _holds(pixels.dtype, nodata)):
        missing = pixels.dtype.type(nodata)
        for band in pixels:
            there &= band != missing
    if not whole_numbers:
        for band in pixels:
            there &= np.isfinite(band)
    return there


def _holds(dtype: np.dtype[Any], value: float) -> bool:
    """Whether an integer type has a value."""
    limits = np.iinfo(dtype)
    return float(value).is_integer() and limits.min <= value <= limits.max


def _read(
    src: Any, indexes: tuple[int, ...], box: Box, factor: int, nodata: float | None, shift: tuple[int, int]
) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_], int]:
    """Read a dataset that lies on the target's lattice, `shift` rows and columns off, under a box of cells.

    Returns:
        (B, H, W) values, (H, W) validity, and how many of them make a cell along a side.
    """
    step = _step(factor, shift)
    top, left = box.top * factor - shift[0], box.left * factor - shift[1]
    bottom, right = box.bottom * factor - shift[0], box.right * factor - shift[1]
    # Whole steps only: a stretched read would shift the last pixels.
    height, width = src.height // step * step, src.width // step * step
    inner = Box(max(top, 0), min(bottom, height), max(left, 0), min(right, width))
    rows, cols = (bottom - top) // step, (right - left) // step
    values: npt.NDArray[Any] = np.zeros((len(indexes), rows, cols), np.float32)
    valid = np.zeros((rows, cols), bool)
    if inner.bottom > inner.top and inner.right > inner.left:
        window = PixelWindow(inner.left, inner.top, inner.right - inner.left, inner.bottom - inner.top)
        shape = (window.height // step, window.width // step)
        ready = step == 1 or step in src.overviews(indexes[0])
        pixels = src.read(
            indexes,
            window=window,
            out_shape=(len(indexes), *shape),
            resampling=Resampling.average,
            out_dtype=None if ready else "float32",  # averages of whole numbers are none
        )
        there = _there(pixels, nodata)
        if nodata is None:
            there &= src.dataset_mask(window=window, out_shape=shape) > 0
        if shape == valid.shape:
            values, valid = pixels, there
        else:
            row, col = (inner.top - top) // step, (inner.left - left) // step
            values[:, row : row + shape[0], col : col + shape[1]] = np.where(there, pixels, 0)
            valid[row : row + shape[0], col : col + shape[1]] = there
    return values, valid, factor // step


def announce(sources: Sources, layer: Layer, grid: Grid, boxes: list[Box]) -> None:
    """Tell which boxes of cells will be read, so that the bytes of a remote raster come in few requests.

    Only native pixels on the target's lattice are announced, where the requests for blocks add up.
    """
    dataset, factor = layer.dataset, grid.factor
    if not is_remote(dataset.url):
        return
    shift = dataset.same_grid(layer.target)
    if shift is None or _step(factor, shift) > 1:
        return
    boxes = [box.align(READ_CELLS).clip(grid.shape) for box in boxes]
    with sources.open(dataset.url, dataset.version) as src:
        if src.gcps[0]:  # its blocks do not lie on the lattice
            return
        height, width = src.block_shapes[0]
        blocks: set[tuple[int, int]] = set()
        for box in boxes:
            top, left = max(box.top * factor - shift[0], 0), max(box.left * factor - shift[1], 0)
            bottom = min(box.bottom * factor - shift[0], src.height)
            right = min(box.right * factor - shift[1], src.width)
            rows, cols = range(top // height, -(-bottom // height)), range(left // width, -(-right // width))
            blocks.update(product(rows, cols))
        bands = (1,) if src.interleaving is Interleaving.pixel else dataset.indexes
        spans = []
        for (row, col), band in product(blocks, bands):
            names = (f"BLOCK_{what}_{col}_{row}" for what in ("OFFSET", "SIZE"))
            start, size = (src.get_tag_item(name, "TIFF", bidx=band) for name in names)
            if start and size:  # absent where a sparse file has no block, and in other formats
                spans.append((int(start), int(start) + int(size)))
    sources.announce(dataset, spans)


def _read_layer(
    sources: Sources, layer: Layer, factor: int, box: Box
) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_], int]:
    """`_read` for any layer, warped bilinearly where it lies on another grid than its target."""
    dataset, target = layer.dataset, layer.target
    with sources.open_described(dataset) as src:
        shift = dataset.same_grid(target)
        if shift is not None:
            return _read(src, layer.indexes, box, factor, dataset.nodata, shift)
        options: dict[str, Any] = {
            "crs": dataset_crs(target),
            "transform": target.affine,
            "width": target.width,
            "height": target.height,
            "resampling": Resampling.bilinear,
        }
        options |= validity_options(src, dataset.nodata) | source_of_warp(dataset, target)
        with WarpedVRT(src, **options) as warped:
            return _read(warped, layer.indexes, box, factor, dataset.nodata, (0, 0))


def read_cells(sources: Sources, layer: Layer, grid: Grid, box: Box) -> Cells:
    """Read a layer on a box of its target's cells: of bands of several grids each from its own pixels."""
    groups = resolution_groups(layer, grid.factor)
    if groups.keys() == {1}:
        return _cells_of_one_grid(sources, layer, grid.factor, box)
    found = {
        positions: _cells_of_one_grid(sources, own_layer(layer, ratio, positions), grid.factor // ratio, box)
        for ratio, positions in groups.items()
    }
    values = np.empty((len(layer.indexes), *box.shape), np.result_type(*(cells.values for cells in found.values())))
    for positions, cells in found.items():
        values[list(positions)] = cells.values
    valid = np.logical_and.reduce([cells.valid for cells in found.values()])
    full = np.logical_and.reduce([cells.full for cells in found.values()])
    return Cells(np.where(valid, values, 0).astype(values.dtype, copy=False), valid, full)


def _cells_of_one_grid(sources: Sources, layer: Layer, of: int, box: Box) -> Cells:
    """Cells of `of` pixels along a side of the layer's target."""
    values, valid, factor = _read_layer(sources, layer, of, box)
    if factor == of:  # native pixels: a cell that the scene's border cuts averages what it has
        rows, cols = box.times(factor).clip(layer.target.shape).shape
        values, valid = values[:, :rows, :cols], valid[:rows, :cols]
    return cell_means(values, valid, factor)


def read_pixels(sources: Sources, layer: Layer, box: Box) -> Pixels:
    """Read a layer on a box of its target's native pixels."""
    values, valid, _ = _read_layer(sources, layer, 1, box)
    return Pixels(values, valid)


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
        there = _there(src.read(dataset.indexes, **options), dataset.nodata)
        if dataset.nodata is None:
            there &= src.dataset_mask(out_shape=shape) > 0
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
            values: npt.NDArray[Any] = warped.read(1, out_dtype=dtype)
            there = warped.dataset_mask() > 0
    return np.where(there, values, np.array(np.nan, dtype))
