"""What one answer may take: its pixels and the bytes of every step, known before anything is allocated."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from rasterio.crs import CRS
from rasterio.warp import calculate_default_transform, transform_bounds
from rio_tiler.utils import output_size

from algorithms.errors import ParameterError
from server.errors import TooLargeError
from server.raster.distant import UNREACHABLE, Bounds, native_pixel

FARTHEST: Final = 1e12
"""Coordinate beyond which no CRS has any points."""
ALWAYS: Final = 16
"""Bytes per pixel of masks and their conversions while an image is encoded."""
EXPRESSION_ITEM: Final = 8
"""Bytes per value that numexpr gives."""
ALGORITHM: Final = 64
"""Bytes per pixel in TiTiler's algorithms: eight arrays of float64 in a hillshade."""
FILL: Final = 32
"""Bytes per pixel of positions and sources in a fill."""
FILL_BAND: Final = 24
"""Bytes per pixel and band of gain, offset, replacement and their products in a fill."""


@dataclass(frozen=True, slots=True)
class AnswerSize:
    """The size of an image in all the forms it takes on its way."""

    rows: int
    """Height of the image, margins included."""
    cols: int
    """Width of the image."""
    bands: int
    """Bands read."""
    itemsize: int
    """Bytes per value of a band read."""
    parts: int = 0
    """Parts of an expression."""
    unscaled: bool = False
    """Whether values become float32."""
    fills: bool = False
    """Whether clouds are filled."""
    algorithm: bool = False
    """Whether one of TiTiler's algorithms runs."""
    coverage: int = 0
    """Cells per side into which each pixel is cut to see how much of it a polygon covers."""

    @property
    def pixels(self) -> int:
        """Rows by columns."""
        return self.rows * self.cols

    @property
    def pixel_bytes(self) -> int:
        """Most bytes per pixel, as measured: docs/reliability.md."""
        read = self.bands * (self.itemsize + 1)
        results, item = self.bands, max(self.itemsize, 4 if self.unscaled else 0)
        total = read + ALWAYS + self.coverage**2
        if self.parts:
            results, item = self.parts, EXPRESSION_ITEM
            total += read + results * item
        if self.fills:
            total += FILL + FILL_BAND * self.bands
        if self.algorithm:
            total += ALGORITHM
        return total + 2 * results * item + 2 * (results + 1) * item  # the image and a copy, encoded, and sent

    @property
    def nbytes(self) -> int:
        """Bytes in all."""
        return self.pixels * self.pixel_bytes


def admit(answer: AnswerSize, *, max_pixels: int, max_bytes: int) -> None:
    """Refuse an image that is too large.

    Raises:
        TooLargeError: with the size, the bound and the remedy.
    """
    size = f"{answer.cols} x {answer.rows} pixels"
    if answer.pixels > max_pixels:
        raise TooLargeError(
            f"{size} are more than {max_pixels}",
            "ask for a smaller width, height, max_size or area (the operator sets CLEARSKY_MAX_PIXELS)",
        )
    if answer.nbytes > max_bytes:
        raise TooLargeError(
            f"{size} of {answer.bands} bands"
            + (f" in {answer.parts} expressions" if answer.parts else "")
            + f" take {answer.nbytes >> 20} MB, more than {max_bytes >> 20}",
            "ask for fewer bands, or a smaller width, height, max_size or area "
            "(the operator sets CLEARSKY_MAX_REQUEST_BYTES)",
        )


def value_bytes(src: Any) -> int:
    """Bytes per value of a raster as rio-tiler reads it."""
    try:
        return int(np.dtype(src.dtypes[0]).itemsize)
    except TypeError:  # complex integers, which numpy does not know
        return 8


def image_bounds(bbox: Bounds, bounds_crs: CRS, dst_crs: CRS) -> Bounds:
    """Bounds of an image in its own CRS.

    Raises:
        ParameterError: they are not finite, have no area, or cannot be transformed.
    """
    if not all(abs(edge) <= FARTHEST for edge in bbox):  # NaN is not either
        raise ParameterError(f"bounds {_shown(bbox)} are beyond any CRS; give four numbers up to {FARTHEST:g}")
    if bbox[0] >= bbox[2] or bbox[1] >= bbox[3]:
        raise ParameterError(f"bounds {_shown(bbox)} have no area; give left, bottom, right, top")
    if bounds_crs == dst_crs:
        return bbox
    try:
        bounds = transform_bounds(bounds_crs, dst_crs, *bbox, densify_pts=21)
    except UNREACHABLE as error:
        raise ParameterError(
            f"bounds {_shown(bbox)} cannot be expressed in the CRS of the image; give others"
        ) from error
    left, bottom, right, top = bounds
    if not all(math.isfinite(edge) for edge in bounds) or left >= right or bottom >= top:
        raise ParameterError(f"bounds {_shown(bbox)} cannot be expressed in the CRS of the image; give others")
    return left, bottom, right, top


def _shown(bbox: Bounds) -> str:
    return ",".join(f"{edge:.6g}" for edge in bbox)


def part_shape(
    src: Any,
    bounds: Bounds,
    dst_crs: CRS,
    *,
    height: int | None,
    width: int | None,
    max_size: int | None,
    align: bool = False,
) -> tuple[int, int]:
    """Rows and columns that rio-tiler makes of bounds, margins left out.

    Raises:
        ParameterError: a place where the raster has no resolution.
    """
    if height and width:
        return height, width
    across, down = native_pixel(src, dst_crs)
    if not (across > 0 and down > 0):
        raise ParameterError(f"the raster has no resolution within {_shown(bounds)}; give width and height")
    native_rows, native_cols = (bounds[3] - bounds[1]) / down, (bounds[2] - bounds[0]) / across
    if src.crs != dst_crs:  # a warp has whole pixels
        native_rows, native_cols = round(native_rows), round(native_cols)
    margin = 1 if align else 0
    return output_size(
        dataset_height=max(1, native_rows) + margin,
        dataset_width=max(1, native_cols) + margin,
        output_height=height,
        output_width=width,
        max_size=max_size,
    )


def buffered(bounds: Bounds, rows: int, cols: int, buffer: float) -> tuple[Bounds, int, int]:
    """Bounds, rows and columns of an image with a rim of `buffer` pixels, as rio-tiler adds it."""
    across, down = (bounds[2] - bounds[0]) / cols * buffer, (bounds[3] - bounds[1]) / rows * buffer
    more = int(2 * buffer)
    wide = (bounds[0] - across, bounds[1] - down, bounds[2] + across, bounds[3] + down)
    return wide, rows + more, cols + more


def whole_shape(
    src: Any, dst_crs: CRS | None, *, height: int | None, width: int | None, max_size: int | None
) -> tuple[tuple[int, int], Bounds]:
    """Rows and columns that rio-tiler makes of a whole raster, and its bounds, in `dst_crs` if that is given.

    Raises:
        ParameterError: the raster cannot be warped to that CRS.
    """
    rows, cols, bounds = src.height, src.width, tuple(src.bounds)
    if dst_crs is not None and dst_crs != src.crs:
        try:
            affine, cols, rows = calculate_default_transform(src.crs, dst_crs, cols, rows, *bounds)
        except UNREACHABLE as error:
            raise ParameterError(
                f"the raster cannot be warped to {dst_crs.to_string()[:80]}; choose another CRS"
            ) from error
        bounds = (affine.c, affine.f + affine.e * rows, affine.c + affine.a * cols, affine.f)
    shape = output_size(
        dataset_height=rows, dataset_width=cols, output_height=height, output_width=width, max_size=max_size
    )
    return shape, bounds
