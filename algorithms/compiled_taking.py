"""The loops of `algorithms.taking`, compiled by numba: the same bytes in less time, and without Python's lock."""

from typing import Any

import numpy as np
from numba import types

from algorithms.compiling import compiled, read_only

_tuple: Any = types.Tuple
_PLACES = 2 * [read_only(types.int32, 2)]


@compiled(
    _tuple(5 * (types.int64,))(*_PLACES, types.int64, types.int64, read_only(types.boolean, 2), types.boolean),
)
def compiled_taken_extent(rows, cols, height, width, only, some):  # type: ignore[no-untyped-def]
    """See `algorithms.taking.numpy_taken_extent`; some: whether `only` counts."""
    top, bottom, left, right, count = height, 0, width, 0, 0
    for i in range(rows.shape[0]):
        for j in range(rows.shape[1]):
            row, col = rows[i, j], cols[i, j]
            if 0 <= row < height and 0 <= col < width and (not some or only[i, j]):
                top, bottom = min(top, row), max(bottom, row + 1)
                left, right = min(left, col), max(right, col + 1)
                count += 1
    if count == 0:
        return 0, 0, 0, 0, 0
    return top, bottom, left, right, count


@compiled(
    *(
        types.void(
            kind[:, :, ::1],
            read_only(kind, 3),
            *_PLACES,
            types.int64,
            types.int64,
            read_only(types.boolean, 2),
            types.boolean,
        )
        for kind in (types.uint8, types.uint16, types.uint32, types.uint64)
    )
)
def compiled_take_pixels(values, bands, rows, cols, top, left, only, some):  # type: ignore[no-untyped-def]
    """See `algorithms.taking.numpy_take_pixels`, of several bands; some: whether `only` counts."""
    count, height, width = bands.shape
    stored, size = bands.reshape(-1), height * width
    at = np.empty(rows.shape[1], np.int64)
    # Row by row, places first, so that processors work on several pixels at once.
    for i in range(rows.shape[0]):
        for j in range(rows.shape[1]):
            row, col = rows[i, j] - top, cols[i, j] - left
            inside = 0 <= row < height and 0 <= col < width and (not some or only[i, j])
            at[j] = row * width + col if inside else -1
        for b in range(count):
            for j in range(rows.shape[1]):
                if at[j] >= 0:
                    values[b, i, j] = stored[np.uint64(b * size + at[j])]
