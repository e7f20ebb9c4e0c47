"""The pixels of an image: fills written into it, tones looked up, and pixels sampled, in numpy or compiled."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from algorithms.loops import compiled_loops
from algorithms.sampling import Bytes, Float32s, Floats, Integers

Bools = npt.NDArray[np.bool_]

FILLED_TYPES: Final = frozenset({"uint8", "uint16", "int16"})
"""Types of pixels that fills are written into by a compiled loop."""
SAMPLED_TYPES: Final = FILLED_TYPES | {"float32"}
"""Types of pixels that are sampled by one."""


def to_dtype(values: Float32s, dtype: np.dtype[Any], nodata: Any) -> npt.NDArray[Any]:
    """Round and clip to a data type, never to wrap; a value that falls on nodata moves to the next one."""
    if not np.issubdtype(dtype, np.integer):
        return values.astype(dtype)
    limits = np.iinfo(dtype)
    # float32 holds every 16-bit number exactly; wider types need more.
    exact = values if dtype.itemsize <= 2 else values.astype(np.float64)
    whole = np.clip(np.rint(exact), limits.min, limits.max).astype(dtype)
    if nodata is not None and np.isfinite(nodata) and (clash := whole == nodata).any():
        whole[clash] = dtype.type(_beside(nodata, dtype))
    return whole


def _beside(nodata: Any, dtype: np.dtype[Any]) -> Any:
    """The value that pixels take that would fall on nodata."""
    return nodata + 1 if nodata < np.iinfo(dtype).max else nodata - 1


def write_fill(
    data: npt.NDArray[Any],
    masked: Bools,
    hidden: Bools,
    at: Integers,
    fill: tuple[Float32s, Float32s, Float32s],
    bands: tuple[int, ...],
    nodata: Any,
) -> None:
    """Write `gain * replacement + offset` over pixels that are not hidden, as `to_dtype` has it.

    Args:
        data: (B, H, W) of any number type, changed in place.
        masked: (B, H, W), values that are none, changed in place.
        hidden: (H, W), pixels that the image does not have.
        at: (p,) numbers of the pixels, counted row by row.
        fill: gain, offset and replacement, (n, p) each.
        bands: (n,), which of the image's.
        nodata: the image's nodata value, which no filled pixel takes; or None.
    """
    loops = compiled_loops().loops
    if (
        loops is None
        or data.dtype.name not in FILLED_TYPES
        or not (data.flags.c_contiguous and masked.flags.c_contiguous)
    ):
        numpy_write_fill(data, masked, hidden, at, fill, bands, nodata)
        return
    limits = np.iinfo(data.dtype)
    clashes = nodata is not None and limits.min <= nodata <= limits.max and float(nodata).is_integer()
    void = int(nodata) if clashes else limits.max + 1
    loops.compiled_write_fill(
        data.reshape(len(data), -1),
        masked.reshape(len(data), -1),
        np.ascontiguousarray(hidden).ravel(),
        at,
        *map(np.ascontiguousarray, fill),
        np.array(bands),
        (limits.min, limits.max, void, _beside(void, data.dtype) if clashes else 0),
    )


def numpy_write_fill(
    data: npt.NDArray[Any],
    masked: Bools,
    hidden: Bools,
    at: Integers,
    fill: tuple[Float32s, Float32s, Float32s],
    bands: tuple[int, ...],
    nodata: Any,
) -> None:
    """`write_fill` in numpy."""
    gain, offset, replacement = fill
    values = to_dtype(gain * replacement + offset, data.dtype, nodata)
    if hidden.any():
        seen = ~hidden.ravel()[at]
        at, values = at[seen], values[:, seen]
    for band, filled in zip(bands, values, strict=True):
        data[band].put(at, filled)
        masked[band].put(at, False)


def look_up_tones(values: npt.NDArray[np.uint16], masked: Bools, tables: Bytes) -> Bytes:
    """Tones of whole numbers.

    Args:
        values: (B, H, W).
        masked: (B, H, W), values that are none, and black.
        tables: (B, 65536), the tone of every number, per band.

    Returns:
        (B, H, W).
    """
    if (loops := compiled_loops().loops) is None:
        return numpy_look_up_tones(values, masked, tables)
    tones: Bytes = loops.compiled_look_up_tones(np.ascontiguousarray(values), np.ascontiguousarray(masked), tables)
    return np.moveaxis(tones, -1, 0)


def numpy_look_up_tones(values: npt.NDArray[np.uint16], masked: Bools, tables: Bytes) -> Bytes:
    """`look_up_tones` in numpy."""
    tones = np.stack([table[band] for table, band in zip(tables, values, strict=True)])
    tones[masked] = 0
    return tones


def sample_pixels(
    values: npt.NDArray[Any],
    valid: Bools,
    rows: Floats,
    cols: Floats,
    factor: int,
    origin: tuple[int, int],
    shape: tuple[int, int],
) -> tuple[Float32s, Bools]:
    """Values of the pixels under points; 0 where there is none.

    Args:
        values: (B, h, w) of any number type.
        valid: (h, w), pixels with data.
        rows: (p,) positions in cells of `factor` pixels.
        cols: (p,).
        factor: pixels per cell.
        origin: row and column of the first pixel.
        shape: rows and columns of the whole raster; points beyond it are at its edge, and have no value.

    Returns:
        (B, p) values and (p,) validity.
    """
    loops = compiled_loops().loops
    if loops is None or values.dtype.name not in SAMPLED_TYPES:
        return numpy_sample_pixels(values, valid, rows, cols, factor, origin, shape)
    arrays = map(np.ascontiguousarray, (values, valid, rows, cols))
    found: tuple[Float32s, Bools] = loops.compiled_sample_pixels(*arrays, factor, *origin, *shape)
    return found


def numpy_sample_pixels(
    values: npt.NDArray[Any],
    valid: Bools,
    rows: Floats,
    cols: Floats,
    factor: int,
    origin: tuple[int, int],
    shape: tuple[int, int],
) -> tuple[Float32s, Bools]:
    """`sample_pixels` in numpy."""
    row, col = (np.floor(axis * factor).astype(np.intp) for axis in (rows, cols))
    inside = (row >= 0) & (row < shape[0]) & (col >= 0) & (col < shape[1])
    at = (row.clip(0, shape[0] - 1) - origin[0]) * valid.shape[1] + (col.clip(0, shape[1] - 1) - origin[1])
    there = valid.ravel().take(at)
    found = values.reshape(len(values), -1).take(at, axis=1)
    return np.where(there, found, 0).astype(np.float32), there & inside
