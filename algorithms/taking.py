"""Taking an image's pixels from an array that holds them, by their rows and columns, in numpy or compiled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from algorithms.loops import compiled_loops

Bools = npt.NDArray[np.bool_]
Places = npt.NDArray[np.int32]
Integral = npt.NDArray[np.integer[Any]]
Extent = tuple[int, int, int, int]
"""First row and the one after the last, first column and the one after the last."""

_BY_SIZE: Final = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}


def taken_extent(rows: Places, cols: Places, shape: tuple[int, int], only: Bools | None) -> tuple[Extent, int]:
    """Where the pixels lie that are within an array, and how many they are.

    Args:
        rows: (H, W).
        cols: (H, W).
        shape: of the array.
        only: (H, W), pixels that matter; None: all.
    """
    if (loops := compiled_loops().loops) is None:
        return numpy_taken_extent(rows, cols, shape, only)
    *extent, count = loops.compiled_taken_extent(rows, cols, *shape, _given(only), only is not None)
    top, bottom, left, right = extent
    return (top, bottom, left, right), count


def numpy_taken_extent(rows: Places, cols: Places, shape: tuple[int, int], only: Bools | None) -> tuple[Extent, int]:
    """`taken_extent` in numpy."""
    inside = within(rows, cols, shape, only)
    if not inside.any():
        return (0, 0, 0, 0), 0
    row, col = rows[inside], cols[inside]
    return (int(row.min()), int(row.max()) + 1, int(col.min()), int(col.max()) + 1), len(row)


def within(rows: Integral, cols: Integral, shape: tuple[int, int], only: Bools | None) -> Bools:
    """(H, W), pixels that are within an array and matter; arguments as for `taken_extent`."""
    inside = (rows >= 0) & (rows < shape[0]) & (cols >= 0) & (cols < shape[1])
    return np.asarray(inside if only is None else inside & only)


def take_pixels(
    result: npt.NDArray[Any],
    bands: Sequence[npt.NDArray[Any]] | npt.NDArray[Any],
    rows: Places,
    cols: Places,
    extent: Extent,
    only: Bools | None,
) -> None:
    """Take pixels of some bands; what is not within the bands stays as it is.

    Args:
        result: (B, H, W), changed in place.
        bands: B arrays of the same type over an extent.
        rows: (H, W).
        cols: (H, W).
        extent: see above.
        only: (H, W), pixels that matter; None: all.
    """
    loops = compiled_loops().loops
    plain = _BY_SIZE.get(result.dtype.itemsize)
    compiled = loops is not None and plain is not None and result.flags.c_contiguous
    if not compiled or any(band.dtype != result.dtype for band in bands):
        for values, band in zip(result, bands, strict=True):
            numpy_take_pixels(values, band, rows, cols, extent, only)
        return
    # Bands of one array together, those of several one by one.
    parts = (
        [(result, bands)]
        if isinstance(bands, np.ndarray)
        else [(result[k : k + 1], b[None]) for k, b in enumerate(bands)]
    )
    for values, stored in parts:
        loops.compiled_take_pixels(
            values.view(plain),
            np.ascontiguousarray(stored).view(plain),
            rows,
            cols,
            extent[0],
            extent[2],
            _given(only),
            only is not None,
        )


def numpy_take_pixels(
    values: npt.NDArray[Any],
    band: npt.NDArray[Any],
    rows: Places,
    cols: Places,
    extent: Extent,
    only: Bools | None,
) -> None:
    """`take_pixels` of one band in numpy."""
    top, bottom, left, right = extent
    row, col = rows.astype(np.intp) - top, cols.astype(np.intp) - left
    inside = within(row, col, (bottom - top, right - left), only)
    row *= right - left
    row += col
    if inside.all():
        # Any place is within: `clip` saves numpy a second look at each.
        band.ravel().take(row, mode="clip", out=values)
    else:
        values[inside] = band.ravel().take(row[inside])


def _given(only: Bools | None) -> Bools:
    return np.zeros((0, 0), bool) if only is None else np.ascontiguousarray(only)
