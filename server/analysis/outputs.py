"""What tiles and export both do with an image: its replacement on the same grid, its gaps, its finished side-car."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from affine import Affine
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window
from rio_tiler.io import Reader
from rio_tiler.models import ImageData
from rio_tiler.reader import read

from algorithms.masks import NODATA
from algorithms.sidecar import CloudSidecar, hidden_pixels
from server.raster.cache import RasterCache
from server.raster.composite import to_open
from server.raster.dataset import Dataset
from server.raster.distant import from_afar
from server.raster.gathered import Wanted, gathered
from server.raster.layer import Layer
from server.raster.sampling import OutputGrid
from server.raster.turns import full_turn
from server.raster.units import nodata_counts
from server.raster.upright import is_north_up, validity_options
from server.raster.usable import check_statistics
from server.raster.warps import source_of_warp
from server.work.trace import current, stage

ALIGNED: Final = 1e-9
"""Pixels per pixel by which two lattices may be turned against each other and still count as one."""


def read_layer(
    rasters: RasterCache,
    layer: Layer,
    positions: tuple[int, ...],
    output: OutputGrid,
    crs: CRS,
    options: dict[str, Any],
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Read bands of a layer, given by their 0-based positions, on an output grid.

    Returns:
        (B, H, W) values in the target's units and (H, W) validity: where every band of the layer has a number.
    """
    dataset, every = layer.dataset, tuple(range(len(layer.indexes)))
    counts = np.array(nodata_counts(dataset, layer.indexes))
    # Bands not asked for decide, too, whether a pixel is there; those of integers only where some value is missing.
    all_at_once = dataset.fractions or not counts.all()
    image = _read_image(rasters, layer, every if all_at_once else positions, output, crs, options)
    values = image.array.data
    if image.alpha_mask is not None:
        valid = ~hidden_pixels(image)
    else:
        missing = np.ma.getmaskarray(image.array)
        valid = np.asarray(~missing.any(axis=0))
        if dataset.nodata is not None and not valid.all():
            complete = all_at_once or positions == every
            whole = image if complete else _read_image(rasters, layer, every, output, crs, options)
            valid = valid | _dark(np.ma.getmaskarray(whole.array), counts)
    if dataset.fractions:
        valid = valid & np.isfinite(values).all(axis=0)
    values = (values[list(positions)] if all_at_once else values).astype(np.float32, copy=False)
    return values if (convert := layer.conversion) is None else convert(values, positions), valid


def _dark(missing: npt.NDArray[np.bool_], counts: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """(H, W), pixels that lack a value in some bands, in none but those whose nodata value is a number there.

    Args:
        missing: (B, H, W), nodata values of all bands.
        counts: (B,), for each band whether that value is a number where other bands have data.
    """
    partial = missing.any(axis=0) & ~missing.all(axis=0)
    return np.asarray(partial & ~missing[~counts].any(axis=0))


def _read_image(
    rasters: RasterCache,
    layer: Layer,
    positions: tuple[int, ...],
    output: OutputGrid,
    crs: CRS,
    options: dict[str, Any],
) -> ImageData:
    """Bands of a layer on an output grid, in its own units."""
    dataset = layer.dataset
    indexes = tuple(layer.indexes[p] for p in positions)
    if dataset.parts:
        dataset, indexes = to_open(dataset, indexes)
    source = source_of_warp(dataset, layer.target)
    with stage("read"):
        if output.bounds is not None and output.north_up and not source:
            wanted = Wanted(crs, output.bounds, output.width, output.height)
            if (found := gathered(rasters, dataset, indexes, wanted, options)) is not None:
                return found
        with rasters.sources.open_described(dataset) as src:
            return _warped(src, dataset, indexes, output, crs, source, options)


def _warped(
    src: Any,
    dataset: Dataset,
    indexes: tuple[int, ...],
    output: OutputGrid,
    crs: CRS,
    source: dict[str, Any],
    options: dict[str, Any],
) -> ImageData:
    """Bands of an open raster on an output grid, by a warp."""
    check_statistics(src, dataset.url)
    bounds = output.bounds if output.north_up and (src.crs != crs or is_north_up(src.transform)) else None
    if bounds is None or source or _covers_poles(dataset):
        return _read_directly(src, indexes, output, crs, source, options)
    size = {"width": output.width, "height": output.height}
    resampling = options.get("resampling_method") or "nearest"
    seen = from_afar(src, bounds=bounds, dst_crs=crs, indexes=indexes, resampling=resampling, **size)
    with seen as (raster, grid), Reader(None, dataset=raster) as reader:
        where = {"bounds_crs": crs, "dst_crs": crs, "indexes": indexes, **size, **grid}
        image: ImageData = reader.part(bounds, **where, **options)
    return image


def _covers_poles(dataset: Dataset) -> bool:
    """Whether a geographic raster reaches a pole, where rio-tiler finds no resolution in other projections."""
    turn = full_turn(dataset.crs)
    return turn is not None and max(-dataset.bounds[1], dataset.bounds[3]) > turn / 4 * 0.99


def _read_directly(
    src: Any, indexes: tuple[int, ...], output: OutputGrid, crs: CRS, source: dict[str, Any], options: dict[str, Any]
) -> ImageData:
    """Read bands where rio-tiler cannot: on a grid, or of a raster, that is not north up, or around the globe."""
    shape: dict[str, Any] = {"width": output.width, "height": output.height, "indexes": indexes}
    same, fine = src.crs == crs and not source, 1
    if same:
        pixels = ~src.transform @ output.affine
        if (window := _window_of(pixels, output, src)) is not None:
            return read(src, window=window, **shape, **options)
        # As fine as the raster, so that coarse views take its overviews.
        fine = max(1, math.floor(math.sqrt(abs(pixels.determinant))))
    lattice: dict[str, Any] = {
        "crs": crs,
        "transform": output.affine @ Affine.scale(1 / fine),
        "width": output.width * fine,
        "height": output.height * fine,
        "resampling": Resampling[options.get("reproject_method", "nearest")],
    }
    lattice |= validity_options(src, options.get("nodata", src.nodata)) | source
    kept: dict[str, Any] = {name: value for name, value in options.items() if name != "nodata"}
    with WarpedVRT(src, **lattice) as warped:
        return read(warped, **shape, **kept)


def _window_of(pixels: Affine, output: OutputGrid, src: Any) -> Window | None:
    """The window of a raster that an image on its own lattice shows; None where it is on another, or goes beyond.

    Args:
        pixels: output pixel to pixel of the raster.
        output: the output grid.
        src: the open raster.
    """
    if abs(pixels.b) + abs(pixels.d) > ALIGNED or pixels.a <= 0 or pixels.e <= 0:
        return None
    left, top, width, height = (
        round(edge, 6) for edge in (pixels.c, pixels.f, pixels.a * output.width, pixels.e * output.height)
    )
    # rasterio reads nothing beyond the edges of a raster that is turned.
    inside = left >= 0 and top >= 0 and left + width <= src.width and top + height <= src.height
    return Window(left, top, width, height) if inside else None


def completed(clouds: CloudSidecar, hidden: npt.NDArray[np.bool_]) -> CloudSidecar:
    """Note the fractions for the headers; spell out the provenance of an image without any cloud."""
    if (source := clouds.source) is None:
        source = hidden * np.uint8(NODATA)
        clouds = replace(clouds, source=source, confidence=~hidden * np.uint8(100))
    if (trace := current.get()) is not None:
        cloudy = (source != 0) & ~hidden
        count = max(hidden.size - int(np.count_nonzero(hidden)), 1)
        trace.cloud_fraction = float(np.count_nonzero(cloudy) / count)
        cloudy &= source != NODATA
        trace.filled_fraction = float(np.count_nonzero(cloudy) / count)
    return clouds
