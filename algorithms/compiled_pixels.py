"""The loops of `algorithms.pixels`, compiled by numba: the same bytes in less time, and without Python's lock."""

from typing import Any

import numpy as np
from numba import types

from algorithms.compiling import compiled, read_only

_FILL = 3 * [read_only(types.float32, 2)]
_tuple: Any = types.Tuple
_TOGETHER = 256


@compiled(
    *(
        types.void(
            kind[:, ::1],
            types.boolean[:, ::1],
            read_only(types.boolean),
            read_only(types.int64),
            *_FILL,
            read_only(types.int64),
            _tuple(4 * (types.int64,)),
        )
        for kind in (types.uint8, types.uint16, types.int16)
    )
)
def compiled_write_fill(data, masked, hidden, at, gain, offset, replacement, bands, limits):  # type: ignore[no-untyped-def]
    """See `algorithms.pixels.numpy_write_fill`; limits: least and greatest value, nodata, and what takes its place."""
    low, high, nodata, instead = limits
    least, most = np.float32(low), np.float32(high)
    for n in range(len(bands)):
        b = bands[n]
        for p in range(len(at)):
            if hidden[at[p]]:
                continue
            value = np.rint(gain[n, p] * replacement[n, p] + offset[n, p])
            whole = np.int64(0) if np.isnan(value) else np.int64(min(max(value, least), most))
            data[b, at[p]] = instead if whole == nodata else whole
            masked[b, at[p]] = False


@compiled(types.uint8[:, :, ::1](read_only(types.uint16, 3), read_only(types.boolean, 3), read_only(types.uint8, 2)))
def compiled_look_up_tones(values, masked, tables):  # type: ignore[no-untyped-def]
    """See `algorithms.pixels.numpy_look_up_tones`; (H, W, B), as encoders take them."""
    count, height, width = values.shape
    result = np.empty((height, width, count), np.uint8)
    for i in range(height):
        for b in range(count):
            for j in range(width):
                result[i, j, b] = 0 if masked[b, i, j] else tables[b, values[b, i, j]]
    return result


@compiled(
    *(
        _tuple((types.float32[:, ::1], types.boolean[::1]))(
            read_only(kind, 3), read_only(types.boolean, 2), *2 * [read_only(types.float64)], *5 * [types.int64]
        )
        for kind in (types.uint8, types.uint16, types.int16, types.float32)
    )
)
def compiled_sample_pixels(values, valid, rows, cols, factor, top, left, height, width):  # type: ignore[no-untyped-def]
    """See `algorithms.pixels.numpy_sample_pixels`."""
    found = np.zeros((values.shape[0], len(rows)), np.float32)
    known = np.empty(len(rows), np.bool_)
    stored, there, size = values.reshape(-1), valid.reshape(-1), valid.size
    at = np.empty(_TOGETHER, np.int64)
    # Places first, so that processors work on several points at once.
    for first in range(0, len(rows), _TOGETHER):
        count = min(_TOGETHER, len(rows) - first)
        for k in range(count):
            row, col = int(np.floor(rows[first + k] * factor)), int(np.floor(cols[first + k] * factor))
            i, j = min(max(row, 0), height - 1) - top, min(max(col, 0), width - 1) - left
            place = i * valid.shape[1] + j
            has = there[np.uint64(place)]
            known[first + k] = has and 0 <= row < height and 0 <= col < width
            at[k] = place if has else -1
        for b in range(values.shape[0]):
            for k in range(count):
                if at[k] >= 0:
                    found[b, first + k] = stored[np.uint64(b * size + at[k])]
    return found, known
