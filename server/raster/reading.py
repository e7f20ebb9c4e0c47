"""Reading rasters as analysis cells on the target's lattice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT

from algorithms.cells import Cells, cell_means
from server.raster.composite import layers_by_grid
from server.raster.dataset import dataset_crs
from server.raster.grid import Box, Grid
from server.raster.layer import Layer
from server.raster.pixels import Bools, MissingData, Pixels, read_native
from server.raster.sources import Sources
from server.raster.units import nodata_counts
from server.raster.upright import validity_options
from server.raster.warps import source_of_warp

READ_CELLS: Final = 256
"""Side in cells of the blocks in which rasters are read: 512 native pixels at factor 2, the tile of a common COG."""


CellSource = Callable[[Layer, int, Box], Cells | None]
"""Gives cells of so many pixels per side without reading pixels, None where it has none."""


def _read_layer(sources: Sources, layer: Layer, factor: int, box: Box) -> tuple[Pixels, int]:
    """`read_native` for any layer, in the target's units."""
    pixels, size = _read_on_lattice(sources, layer, factor, box)
    if layer.is_target:
        return pixels, size
    values = pixels.values if (convert := layer.conversion) is None else convert(pixels.values)
    return Pixels(values, pixels.whole, pixels.whole), size


def _read_on_lattice(sources: Sources, layer: Layer, factor: int, box: Box) -> tuple[Pixels, int]:
    """`read_native` for any layer in its own units; warped bilinearly where it lies on another grid than its target."""
    dataset, target = layer.dataset, layer.target
    missing = MissingData.of(dataset, layer.indexes)
    with sources.open_described(dataset) as src:
        shift = dataset.same_grid(target)
        if shift is not None:
            return read_native(src, layer.indexes, box, factor, missing, shift)
        options: dict[str, Any] = {
            "crs": dataset_crs(target),
            "transform": target.affine,
            "width": target.width,
            "height": target.height,
            "resampling": Resampling.bilinear,
        }
        options |= validity_options(src, dataset.nodata) | source_of_warp(dataset, target)
        if not all(missing.counts):
            options["UNIFIED_SRC_NODATA"] = "NO"  # or a band's nodata value is averaged with the numbers around it
        with WarpedVRT(src, **options) as warped:
            return read_native(warped, layer.indexes, box, factor, missing, (0, 0))


def read_cells(sources: Sources, layer: Layer, grid: Grid, box: Box, *, known: CellSource = lambda *_: None) -> Cells:
    """Read a layer on a box of its target's cells: of bands of several grids each from its own pixels.

    Args:
        sources: what opens the rasters.
        layer: what to read.
        grid: the level.
        box: the cells.
        known: what is asked first for the cells of each grid.
    """
    found = {
        positions: _cells_of_one_grid(sources, own, factor, box, known)
        for positions, own, factor in layers_by_grid(layer, grid.factor)
    }
    if len(found) == 1:
        return next(iter(found.values()))
    values = np.empty((len(layer.indexes), *box.shape), np.float32)
    for positions, cells in found.items():
        values[list(positions)] = cells.values
    # Bands whose nodata value is a number where others have data take no cell away.
    strict = [positions for positions in found if not all(nodata_counts(layer.dataset, _picked(layer, positions)))]

    def joined(name: str) -> Bools:
        have = np.logical_or.reduce([getattr(cells, name) for cells in found.values()])
        return np.asarray(np.logical_and.reduce([have, *(getattr(found[positions], name) for positions in strict)]))

    return Cells(values, joined("valid"), joined("full"))


def _picked(layer: Layer, positions: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(layer.indexes[position] for position in positions)


def _cells_of_one_grid(sources: Sources, layer: Layer, of: int, box: Box, known: CellSource) -> Cells:
    """Cells of `of` pixels along a side of the layer's target."""
    if (cells := known(layer, of, box)) is not None:
        return cells
    pixels, factor = _read_layer(sources, layer, of, box)
    values, valid, whole = pixels.values, pixels.valid, pixels.whole
    if factor == of:  # native pixels: a cell that the scene's border cuts averages what it has
        rows, cols = box.times(factor).clip(layer.target.shape).shape
        values, valid, whole = values[:, :rows, :cols], valid[:rows, :cols], whole[:rows, :cols]
    return cell_means(values, valid, factor, whole=whole)


def read_pixels(sources: Sources, layer: Layer, box: Box) -> Pixels:
    """Read a layer on a box of its target's native pixels."""
    return _read_layer(sources, layer, 1, box)[0]
