"""Open rasters with a place on the ground: ground control points warped, and any orientation put north up."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from affine import Affine
from rasterio.transform import from_bounds as lattice_from_bounds
from rasterio.transform import from_gcps
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window
from rasterio.windows import bounds as window_bounds
from rasterio.windows import from_bounds as window_from_bounds
from rio_tiler.models import ImageData
from rio_tiler.reader import read
from rio_tiler.utils import has_alpha_band, output_size


def is_north_up(affine: Affine) -> bool:
    """Whether rows run south and columns east."""
    return bool(affine.b == affine.d == 0 and affine.a > 0 and affine.e < 0)


def hull(affine: Affine, width: int, height: int) -> tuple[float, float, float, float]:
    """Least x and y, greatest x and y of a raster, whichever way it is turned."""
    corners = [affine @ (col, row) for col in (0, width) for row in (0, height)]
    xs, ys = zip(*corners, strict=True)
    return min(xs), min(ys), max(xs), max(ys)


def validity_options(src: Any, nodata: float | None) -> dict[str, Any]:
    """Options of a warp that distinguish pixels with data: by the nodata value, else by the band of alpha or a new one.

    A second band of alpha is an error of GDAL's.
    """
    if nodata is not None:
        return {"src_nodata": nodata, "nodata": nodata}
    return {} if has_alpha_band(src) else {"add_alpha": True}


@contextmanager
def georeferenced(src: Any) -> Iterator[Any]:
    """The raster itself; one that is placed by ground control points warped by them, as rio-tiler does."""
    points, crs = src.gcps
    if not points:
        yield src
        return
    with WarpedVRT(src, src_crs=crs, src_transform=from_gcps(points), **validity_options(src, src.nodata)) as warped:
        yield warped


def _upright_lattice(src: Any) -> Affine:
    """A lattice over a raster that is north up, of its pixel size; of its own pixels where it is only mirrored."""
    affine = src.transform
    left, _, _, top = hull(affine, src.width, src.height)
    if affine.b == affine.d == 0:
        return Affine(abs(affine.a), 0, left, 0, -abs(affine.e), top)
    side = math.sqrt(abs(affine.determinant))
    return Affine(side, 0, left, 0, -side, top)


def read_upright(
    src: Any,
    bounds: tuple[float, float, float, float],
    *,
    height: int | None = None,
    width: int | None = None,
    max_size: int | None = None,
    buffer: float | None = None,
    align_bounds_with_dataset: bool = False,
    **options: Any,
) -> ImageData:
    """Read a part, given in the raster's CRS, of a raster that is not north up, on pixels that are.

    As rio-tiler's `part`, which cuts the part out of the pixels as they are stored, or fails.

    Args:
        src: an open raster.
        bounds: left, bottom, right, top.
        height: rows of the image.
        width: columns of the image.
        max_size: most rows or columns, where neither is given.
        buffer: pixels around the part.
        align_bounds_with_dataset: whether the part grows to whole pixels.
        options: further arguments of rio-tiler's `read`.
    """
    lattice = _upright_lattice(src)
    if align_bounds_with_dataset:
        (top_row, end_row), (left_col, end_col) = window_from_bounds(*bounds, transform=lattice).toranges()
        row, col = math.floor(top_row), math.floor(left_col)
        bounds = window_bounds(Window(col, row, math.ceil(end_col) - col, math.ceil(end_row) - row), lattice)
    left, bottom, right, top = bounds
    rows, cols = (bottom - top) / lattice.e, (right - left) / lattice.a
    height, width = output_size(
        dataset_height=max(1, round(rows)),
        dataset_width=max(1, round(cols)),
        output_height=height,
        output_width=width,
        max_size=max_size,
    )
    if buffer:
        across, down = (right - left) / width * buffer, (top - bottom) / height * buffer
        left, bottom, right, top = left - across, bottom - down, right + across, top + down
        rows, cols = (bottom - top) / lattice.e, (right - left) / lattice.a
        height, width = height + int(2 * buffer), width + int(2 * buffer)
    # As fine as the raster, so that coarse views take its overviews.
    rows, cols = max(height, round(rows)), max(width, round(cols))
    grid = {"crs": src.crs, "transform": lattice_from_bounds(left, bottom, right, top, cols, rows)}
    grid |= {"width": cols, "height": rows, "dtype": src.dtypes[0]}
    return read(src, height=height, width=width, vrt_options=grid, **options)
