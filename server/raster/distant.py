"""Rasters seen from afar: what is read for an image does not grow with the ground that the image covers.

rio-tiler warps at native resolution and then takes one pixel of many. Far out that is a warp of 4 million pixels a side
for one tile, most of it off the raster. Where more than `MOST_WARPED` pixels along a side would be warped for one of
the image, the raster is read decimated first, by its overviews where it has any, and that is warped.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Final

from affine import Affine
from rasterio._err import CPLE_BaseError
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, MaskFlags, Resampling
from rasterio.errors import RasterioError
from rasterio.io import MemoryFile
from rasterio.transform import from_bounds
from rasterio.warp import calculate_default_transform, transform_bounds
from rasterio.windows import Window

from server.errors import TooLargeError
from server.raster.upright import is_north_up

MOST_WARPED: Final = 8
"""Pixels warped along a side for one of the image; 256 px tiles of rasters with overviews have up to 2."""
FINEST_FACTOR: Final = 2
"""Pixels of the decimated raster along a side for one of the image: places are exact to a quarter of the latter."""
MOST_WORK: Final = 1 << 30
"""Pixels warped for one image: a minute of one core. What GDAL has begun cannot be stopped."""
MOST_PIXELS: Final = 2048 * 2048
"""Pixels of a decimated raster up to which it is made whole, the same for all tiles of a zoom level."""

Bounds = tuple[float, float, float, float]

UNREACHABLE: Final = (RasterioError, CPLE_BaseError, ArithmeticError, ValueError)
"""Errors for a place that has no image in another CRS, such as the Moon's on Earth."""


@lru_cache(maxsize=256)
def _estimate(src_crs: CRS, dst_crs: CRS, width: int, height: int, bounds: Bounds) -> tuple[float, float]:
    try:
        native, _, _ = calculate_default_transform(src_crs, dst_crs, width, height, *bounds)
    except UNREACHABLE:
        return 0.0, 0.0
    return abs(native.a), abs(native.e)


def native_pixel(src: Any, dst_crs: CRS) -> tuple[float, float]:
    """Width and height of a raster's pixel in a CRS, by rio-tiler's estimate; 0 where there is none."""
    if src.crs is None or src.crs == dst_crs:
        affine = src.transform
        return math.hypot(affine.a, affine.d), math.hypot(affine.b, affine.e)
    return _estimate(src.crs, dst_crs, src.width, src.height, tuple(src.bounds))


def _pixel_ratio(pixel: float, native: float) -> float:
    """Native pixels per output pixel along a side; 1 for finer output, which is warped at its own resolution."""
    ratio = pixel / native if native > 0 else 1.0
    return max(1.0, ratio) if math.isfinite(ratio) else 1.0


def _seen(src: Any, bounds: Bounds, dst_crs: CRS, step: int) -> Window:
    """The part of a raster under an image, with a rim, from and to multiples of `step`; all of it where unknown."""
    whole = Window(0, 0, src.width, src.height)
    try:
        left, bottom, right, top = transform_bounds(dst_crs, src.crs, *bounds, densify_pts=21)
        corners = [~src.transform @ (x, y) for x in (left, right) for y in (bottom, top)]
    except UNREACHABLE:
        return whole
    if not all(math.isfinite(value) for corner in corners for value in corner):
        return whole
    cols, rows = ([corner[axis] for corner in corners] for axis in (0, 1))
    (first_col, last_col), (first_row, last_row) = (
        (
            min(max(math.floor(min(axis) / step - 2) * step, 0), size),
            min(max(math.ceil(max(axis) / step + 2) * step, 0), size),
        )
        for axis, size in ((cols, src.width), (rows, src.height))
    )
    if first_col >= last_col or first_row >= last_row:
        return Window(0, 0, min(step, src.width), min(step, src.height))
    return Window(first_col, first_row, last_col - first_col, last_row - first_row)


def _beyond(src: Any, bounds: Bounds) -> bool:
    """Whether an image in a raster's own CRS reaches far beyond it; GDAL would read nothing, piece by piece."""
    left, right = sorted((src.bounds.left, src.bounds.right))
    bottom, top = sorted((src.bounds.bottom, src.bounds.top))
    width, height = right - left, top - bottom
    inside = (
        bounds[0] > left - width
        and bounds[2] < right + width
        and bounds[1] > bottom - height
        and bounds[3] < top + height
    )
    return is_north_up(src.transform) and not inside


@contextmanager
def from_afar(
    src: Any,
    *,
    bounds: Bounds,
    dst_crs: CRS,
    width: int,
    height: int,
    indexes: Sequence[int],
    resampling: str = "nearest",
) -> Iterator[tuple[Any, dict[str, Any]]]:
    """The raster to read an image from: itself, or where the image is far coarser a decimated one in memory.

    Yields the raster, and rio-tiler's options to read it with: a decimated one is warped at the image's own resolution,
    which no raster is too small for.

    Args:
        src: an open raster.
        bounds: of the image, in `dst_crs`.
        dst_crs: the image's.
        width: of the image.
        height: of the image.
        indexes: 1-based bands that will be read.
        resampling: method of the decimation.
    """
    if src.crs is None or (dst_crs == src.crs and not _beyond(src, bounds)):  # read by a window: GDAL decimates
        yield src, {}
        return
    native = native_pixel(src, dst_crs)
    across = _pixel_ratio(abs(bounds[2] - bounds[0]) / width, native[0])
    down = _pixel_ratio(abs(bounds[3] - bounds[1]) / height, native[1])
    ratio = min(across, down)
    overview = max((factor for factor in src.overviews(1) if factor <= ratio), default=1)
    near = ratio / overview <= MOST_WARPED
    step = overview if near else 1 << int(math.log2(ratio / FINEST_FACTOR))
    if (work := width * height * across * down / step**2) > MOST_WORK:
        raise TooLargeError(
            f"an image of {width} x {height} pixels, each {across:.0f} x {down:.0f} of the raster's, takes a warp of "
            f"{work:.1e} pixels, more than {MOST_WORK:.0e}",
            "ask for a smaller area, or a width and height in proportion",
        )
    if near:
        yield src, {}
        return
    window = Window(0, 0, src.width, src.height)
    if src.width * src.height > MOST_PIXELS * step * step:
        window = _seen(src, bounds, dst_crs, step)
        while window.width * window.height > MOST_PIXELS * step * step:
            step *= 2
    with MemoryFile() as memory:
        _decimate(src, memory, window, step, indexes, Resampling[resampling])
        with memory.open() as reduced:
            grid = {"transform": from_bounds(*bounds, width, height), "width": width, "height": height}
            yield reduced, {"vrt_options": grid}


def _decimate(
    src: Any, memory: MemoryFile, window: Window, step: int, indexes: Sequence[int], resampling: Resampling
) -> None:
    """Write a part of a raster, every `step`-th pixel, with all that reading it depends on."""
    rows, cols = math.ceil(window.height / step), math.ceil(window.width / step)
    shape = {"window": window, "out_shape": (rows, cols)}
    alpha = [i for i, meaning in zip(src.indexes, src.colorinterp, strict=True) if meaning is ColorInterp.alpha]
    profile = {
        "driver": "GTiff",
        "count": src.count,
        "width": cols,
        "height": rows,
        "dtype": src.dtypes[0],
        "crs": src.crs,
        "transform": src.window_transform(window) @ Affine.scale(window.width / cols, window.height / rows),
        "nodata": src.nodata,
        "SPARSE_OK": True,  # of many bands only those that are asked for take space
        "INTERLEAVE": "BAND",
    }
    with memory.open(**profile) as dst:
        for index in {*indexes, *alpha}:
            dst.write(src.read(index, resampling=resampling, **shape), index)
        if MaskFlags.per_dataset in src.mask_flag_enums[0] and not alpha:
            dst.write_mask(src.dataset_mask(**shape))
        dst.colorinterp = src.colorinterp
        dst.descriptions, dst.scales, dst.offsets = src.descriptions, src.scales, src.offsets
        dst.update_tags(**src.tags())
        for index in src.indexes:
            dst.update_tags(index, **src.tags(index))
