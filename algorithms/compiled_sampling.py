"""The loops of `algorithms.sampling`, compiled by numba: the same bytes in less time, and without Python's lock.

Products and sums are taken in the same order and are not contracted, so that both give the same bits.
"""

from typing import Any

import numba
import numpy as np
from numba import types

from algorithms.compiling import compiled, read_only
from algorithms.sampling import EDGE_CELLS, FARTHEST_PIXELS, STEPS_PER_CELL


@compiled(types.float64[:, ::1](read_only(types.float64, 2), *4 * [types.int64]))
def compiled_spread_nodes(nodes, spacing, height, width, factor):  # type: ignore[no-untyped-def]
    """See `algorithms.sampling.numpy_spread_nodes`."""
    across = np.empty(nodes.shape[1], np.float64)
    result = np.empty((height, width), np.float64)
    low, weight = np.empty(width, np.int64), np.empty(width, np.float64)
    for j in range(width):
        at = (j + 0.5) / spacing
        low[j] = min(int(at), nodes.shape[1] - 2)
        weight[j] = at - low[j]
    scale = STEPS_PER_CELL / factor
    for i in range(height):
        at = (i + 0.5) / spacing
        top = min(int(at), nodes.shape[0] - 2)
        down = at - top
        for k in range(nodes.shape[1]):
            across[k] = nodes[top, k] + (nodes[top + 1, k] - nodes[top, k]) * down
        for j in range(width):
            left = across[low[j]]
            result[i, j] = np.rint((left + (across[low[j] + 1] - left) * weight[j]) * scale) / STEPS_PER_CELL
    return result


@compiled(
    types.uint8[:, ::1](
        read_only(types.uint8, 2), read_only(types.float64, 2), read_only(types.float64, 2), *6 * [types.int64]
    )
)
def compiled_look_up(cells, rows, cols, top, left, height, width, pooled, outside):  # type: ignore[no-untyped-def]
    """See `algorithms.sampling.numpy_look_up`."""
    result = np.empty(rows.shape, np.uint8)
    for i in range(rows.shape[0]):
        for j in range(rows.shape[1]):
            y, x = rows[i, j] + (EDGE_CELLS - top), cols[i, j] + (EDGE_CELLS - left)
            if 0 <= y < height and 0 <= x < width:
                result[i, j] = cells[int(y) >> pooled, int(x) >> pooled]
            else:
                result[i, j] = outside
    return result


_inline: Any = numba.njit(inline="always")


@_inline
def _corner(position, size):  # type: ignore[no-untyped-def]
    """The first of two cells around a position, and how far it is from its middle."""
    at = min(max(position - 0.5, 0.0), np.float64(size - 1))
    first = min(int(at), max(size - 2, 0))
    return first, np.float32(at - first)


@_inline
def _corners(row, col, height, width):  # type: ignore[no-untyped-def]
    """Row and column of the first of the four cells around a position, and the weights of all four, row by row."""
    y, fy = _corner(row, height)
    x, fx = _corner(col, width)
    gy, gx = np.float32(1) - fy, np.float32(1) - fx
    return y, x, gy * gx, gy * fx, fy * gx, fy * fx


@compiled(
    types.void(
        types.float32[:, :],
        read_only(types.float64),
        read_only(types.float64),
        read_only(types.int64),
        read_only(types.float32, 3),
        read_only(types.int64),
        *3 * [types.int64],
        read_only(types.int32),
        read_only(types.int32),
        read_only(types.float32, 2),
        types.int64,
    )
)
def compiled_sample_fill(  # type: ignore[no-untyped-def]
    result, rows, cols, bounds, fields, columns, top, left, size, border_rows, border_cols, values, factor
):
    """See `algorithms.sampling.numpy_sample_fill`; without any rows there is no border."""
    height, width = fields.shape[0], fields.shape[1]
    right, below = (1 if width > 1 else 0), (1 if height > 1 else 0)
    corrected = len(border_rows) > 0
    first_row = border_rows.min() if corrected else 0
    first_col = border_cols.min() if corrected else 0
    high = border_rows.max() - first_row + 1 if corrected else 0
    wide = border_cols.max() - first_col + 1 if corrected else 0
    number = np.zeros((high, wide), np.int32)
    for k in range(len(border_rows)):
        number[border_rows[k] - first_row, border_cols[k] - first_col] = k + 1
    aside, under = (1 if wide > 1 else 0), (1 if high > 1 else 0)
    zero = np.float32(0)
    count = len(columns) // 2
    for p in range(len(rows)):
        row, col = rows[p] + EDGE_CELLS, cols[p] + EDGE_CELLS
        if not (bounds[0] <= row < bounds[1] and bounds[2] <= col < bounds[3]):
            continue
        y, x, w0, w1, w2, w3 = _corners(row / size - top, col / size - left, height, width)
        for n in range(2 * count):
            c = columns[n]
            total = w0 * fields[y, x, c]
            total += w1 * fields[y, x + right, c]
            total += w2 * fields[y + below, x, c]
            total += w3 * fields[y + below, x + right, c]
            result[n, p] = total
        row, col = row * factor - first_row, col * factor - first_col
        if row < 0 or col < 0 or int(row) >= high or int(col) >= wide or number[int(row), int(col)] == 0:
            continue
        y, x, w0, w1, w2, w3 = _corners(row, col, high, wide)
        n0, n1 = number[y, x], number[y, x + aside]
        n2, n3 = number[y + under, x], number[y + under, x + aside]
        for n in range(count):
            b = columns[n]
            total = w0 * (values[n0 - 1, b] if n0 > 0 else zero)
            total += w1 * (values[n1 - 1, b] if n1 > 0 else zero)
            total += w2 * (values[n2 - 1, b] if n2 > 0 else zero)
            total += w3 * (values[n3 - 1, b] if n3 > 0 else zero)
            result[count + n, p] += total


@compiled(types.void(types.int32[:, ::1], types.int64, *3 * [read_only(types.float64)]))
def compiled_follow_lines(result, first, begin, step, along):  # type: ignore[no-untyped-def]
    """See `algorithms.sampling.numpy_follow_lines`."""
    for i in range(len(begin)):
        for j in range(len(along)):
            result[i, first + j] = np.int32(
                min(max(np.floor(step[i] * along[j] + begin[i]), -FARTHEST_PIXELS), FARTHEST_PIXELS)
            )
