"""The loop over the rings of `algorithms.rings`, compiled by numba: the same bytes in less time.

Every sum is taken over the same tables and in the same order as in `algorithms.growing_sums`, whose layout this
follows; products and sums are not contracted, so that both give the same bits. One band at a time: its tables stay in
the processor's cache. numba is not needed to run ClearSky (the extra ``fast`` brings it).
"""

from typing import Any, Final

import numba
import numpy as np

from algorithms.compiling import compiled
from algorithms.growing_sums import BoolArray, FloatArray, IntArray
from algorithms.ring_limits import FLOAT32_MAX, ROUNDING_SHARE, rounding

TABLE_BLOCK: Final = 8
"""`algorithms.growing_sums.TABLE_BLOCK`, written out because numba keeps what it compiled until this file changes."""
TABLE_SHIFT: Final = 3
"""Its logarithm to base 2."""

# The functions with a capital Q take the number of values per pixel as a constant: they are put into their callers.
_inline: Any = numba.njit(inline="always")


@_inline
def _build(cells, edge, rows, cols, Q):  # type: ignore[no-untyped-def]
    """Sum up within blocks."""
    stride, tall = cols * TABLE_BLOCK * Q, rows * TABLE_BLOCK * Q
    for v in range(rows * TABLE_BLOCK):
        o = v * stride
        if v & (TABLE_BLOCK - 1):
            for k in range(stride):
                cells[o + k] += cells[o - stride + k]
    for v in range(rows * TABLE_BLOCK):
        for j in range(cols):
            o = v * stride + j * TABLE_BLOCK * Q
            for u in range(1, TABLE_BLOCK):
                for q in range(Q):
                    cells[o + u * Q + q] += cells[o + (u - 1) * Q + q]
            for q in range(Q):
                edge[j * tall + v * Q + q] = cells[o + (TABLE_BLOCK - 1) * Q + q]


@_inline
def _refresh(cells, edge, rows, cols, first_row, first_col, Q):  # type: ignore[no-untyped-def]
    """Sum up the blocks again, from the first that changed."""
    stride, tall = cols * TABLE_BLOCK * Q, rows * TABLE_BLOCK * Q
    above, left = rows * TABLE_BLOCK * stride, rows * (TABLE_BLOCK + 1) * stride
    for i in range(first_row + 1, rows):
        old, new = cells[above + (i - 1) * stride :], cells[above + i * stride :]
        last = cells[(i * TABLE_BLOCK - 1) * stride :]
        for k in range(stride):
            new[k] = old[k] + last[k]
    for j in range(first_col + 1, cols):
        for i in range(first_row, rows):
            o = above + i * stride + (j * TABLE_BLOCK - 1) * Q
            for k in range(TABLE_BLOCK):
                w = j * tall + (i * TABLE_BLOCK + k) * Q
                for q in range(Q):
                    cells[left + w + q] = cells[left + w - tall + q] + (edge[w - tall + q] + cells[o + q])


@_inline
def _window(total, cells, rows, cols, top, bottom, west, east, Q):  # type: ignore[no-untyped-def]
    """Sum over the window of rows top to bottom - 1, columns west to east - 1."""
    stride, tall = cols * TABLE_BLOCK * Q, rows * TABLE_BLOCK * Q
    above, left = rows * TABLE_BLOCK * stride, rows * (TABLE_BLOCK + 1) * stride
    bottom_above, top_above = above + (bottom >> TABLE_SHIFT) * stride, above + (top >> TABLE_SHIFT) * stride
    east_left, west_left = left + (east >> TABLE_SHIFT) * tall, left + (west >> TABLE_SHIFT) * tall
    for q in range(Q):
        total[q] = (
            cells[bottom * stride + east * Q + q]
            + cells[bottom_above + east * Q + q]
            + cells[east_left + bottom * Q + q]
            - cells[bottom * stride + west * Q + q]
            - cells[bottom_above + west * Q + q]
            - cells[west_left + bottom * Q + q]
            - cells[top * stride + east * Q + q]
            - cells[top_above + east * Q + q]
            - cells[east_left + top * Q + q]
            + cells[top * stride + west * Q + q]
            + cells[top_above + west * Q + q]
            + cells[west_left + top * Q + q]
        )


@_inline
def _add_block(change, cells, edge, rows, cols, i, j, Q):  # type: ignore[no-untyped-def]
    """Add what changed in a block."""
    stride, tall = cols * TABLE_BLOCK * Q, rows * TABLE_BLOCK * Q
    for s in range(TABLE_BLOCK * Q, TABLE_BLOCK * TABLE_BLOCK * Q):
        change[s] += change[s - TABLE_BLOCK * Q]
    for k in range(TABLE_BLOCK):
        for s in range(k * TABLE_BLOCK * Q + Q, (k + 1) * TABLE_BLOCK * Q):
            change[s] += change[s - Q]
        o, w = (i * TABLE_BLOCK + k) * stride + j * TABLE_BLOCK * Q, j * tall + (i * TABLE_BLOCK + k) * Q
        for s in range(TABLE_BLOCK * Q):
            cells[o + s] += change[k * TABLE_BLOCK * Q + s]
        for q in range(Q):
            edge[w + q] += change[((k + 1) * TABLE_BLOCK - 1) * Q + q]


@_inline
def _fill_ring(cells, shape, y, x, a, b, window, n, noise, r_fill, r_mean, r_var, out, limit, SHARED):  # type: ignore[no-untyped-def]
    """Fill pixels a to b - 1 from the state before them."""
    V = 2 if SHARED else 1
    height, width = shape
    total = np.empty(4)
    for p in range(a, b):
        count = n[p]
        if count == 0:
            continue
        top, bottom = max(y[p] - window, 0), min(y[p] + window + 1, height)
        west, east = max(x[p] - window, 0), min(x[p] + window + 1, width)
        _window(total, cells, height // TABLE_BLOCK + 1, width // TABLE_BLOCK + 1, top, bottom, west, east, 2 * V)
        mean = total[0] / count
        variance = total[V] / count - mean * mean
        if variance * count <= noise[0]:
            variance = 0.0
        if SHARED:
            mean_r = total[1] / count
            variance_r = total[3] / count - mean_r * mean_r
            if variance_r * count <= noise[1]:
                variance_r = 0.0
        else:
            mean_r, variance_r = r_mean[p], r_var[p]
        gain = np.sqrt(variance / variance_r) if variance_r != 0 else 1.0
        out[p] = min(max(gain * (r_fill[p] - mean_r) + mean, -limit), limit)


@_inline
def _add_ring(cells, edge, change, rows, cols, y, x, a, b, n, noise, r_fill, out, share, SHARED):  # type: ignore[no-untyped-def]
    """Let pixels a to b - 1 count as known; first row and column of the blocks they lie in."""
    V = 2 if SHARED else 1
    first_row, first_col = rows, cols
    squares_t, squares_r = 0.0, 0.0
    p = a
    while p < b:
        i, j = (y[p] + 1) >> TABLE_SHIFT, (x[p] + 1) >> TABLE_SHIFT
        first_row, first_col = min(first_row, i), min(first_col, j)
        change[:] = 0
        while p < b and (y[p] + 1) >> TABLE_SHIFT == i and (x[p] + 1) >> TABLE_SHIFT == j:
            if n[p] != 0:
                s = (((y[p] + 1) & (TABLE_BLOCK - 1)) * TABLE_BLOCK + ((x[p] + 1) & (TABLE_BLOCK - 1))) * 2 * V
                square = out[p] * out[p]
                change[s], change[s + V] = out[p], square
                squares_t += square
                if SHARED:
                    square = r_fill[p] * r_fill[p]
                    change[s + 1], change[s + 3] = r_fill[p], square
                    squares_r += square
            p += 1
        _add_block(change, cells, edge, rows, cols, i, j, 2 * V)
    noise[0] += share * squares_t
    if SHARED:
        noise[1] += share * squares_r
    return first_row, first_col


@_inline
def _band(cells, edge, t, r, y, x, ends, window, n, noise, r_fill, r_mean, r_var, out, limits, SHARED):  # type: ignore[no-untyped-def]
    """Fill one band; `SHARED`: the replacement's statistics are taken on the target's pixels."""
    V = 2 if SHARED else 1
    height, width = t.shape
    rows, cols = height // TABLE_BLOCK + 1, width // TABLE_BLOCK + 1
    stride = cols * TABLE_BLOCK * 2 * V
    cells[: rows * TABLE_BLOCK * stride] = 0
    for v in range(height):
        for u in range(width):
            o = (v + 1) * stride + (u + 1) * 2 * V
            cells[o], cells[o + V] = t[v, u], t[v, u] * t[v, u]
            if SHARED:
                cells[o + 1], cells[o + 3] = r[v, u], r[v, u] * r[v, u]
    _build(cells, edge, rows, cols, 2 * V)
    change = np.empty(TABLE_BLOCK * TABLE_BLOCK * 4)
    first_row, first_col = 0, 0
    for ring in range(len(ends) - 1):
        a, b = ends[ring], ends[ring + 1]
        _refresh(cells, edge, rows, cols, first_row, first_col, 2 * V)
        _fill_ring(cells, t.shape, y, x, a, b, window, n, noise, r_fill, r_mean, r_var, out, limits[0], SHARED)
        first_row, first_col = _add_ring(
            cells, edge, change, rows, cols, y, x, a, b, n, noise, r_fill, out, limits[1], SHARED
        )


@compiled()
def _count(cells, edge, known, y, x, ends, window, n):  # type: ignore[no-untyped-def]
    """Count known pixels: `n` comes in as 0 where a pixel is not to be filled, else 1."""
    height, width = known.shape
    rows, cols = height // TABLE_BLOCK + 1, width // TABLE_BLOCK + 1
    stride = cols * TABLE_BLOCK
    cells[: rows * TABLE_BLOCK * stride] = 0
    for v in range(height):
        for u in range(width):
            cells[(v + 1) * stride + u + 1] = known[v, u]
    _build(cells, edge, rows, cols, 1)
    total, change = np.empty(1), np.empty(TABLE_BLOCK * TABLE_BLOCK)
    first_row, first_col = 0, 0
    for ring in range(len(ends) - 1):
        a, b = ends[ring], ends[ring + 1]
        _refresh(cells, edge, rows, cols, first_row, first_col, 1)
        for p in range(a, b):
            top, bottom = max(y[p] - window, 0), min(y[p] + window + 1, height)
            west, east = max(x[p] - window, 0), min(x[p] + window + 1, width)
            _window(total, cells, rows, cols, top, bottom, west, east, 1)
            n[p] *= total[0]
        first_row, first_col = rows, cols
        p = a
        while p < b:
            i, j = (y[p] + 1) >> TABLE_SHIFT, (x[p] + 1) >> TABLE_SHIFT
            first_row, first_col = min(first_row, i), min(first_col, j)
            change[:] = 0
            while p < b and (y[p] + 1) >> TABLE_SHIFT == i and (x[p] + 1) >> TABLE_SHIFT == j:
                if n[p] != 0:
                    change[((y[p] + 1) & (TABLE_BLOCK - 1)) * TABLE_BLOCK + ((x[p] + 1) & (TABLE_BLOCK - 1))] = 1
                p += 1
            _add_block(change, cells, edge, rows, cols, i, j, 1)


@compiled()
def _shared(cells, edge, t, r, y, x, ends, window, n, noise, r_fill, out, limits):  # type: ignore[no-untyped-def]
    _band(cells, edge, t, r, y, x, ends, window, n, noise, r_fill, r_fill, r_fill, out, limits, True)


@compiled()
def _apart(cells, edge, t, y, x, ends, window, n, noise, r_fill, r_mean, r_var, out, limits):  # type: ignore[no-untyped-def]
    _band(cells, edge, t, t, y, x, ends, window, n, noise, r_fill, r_mean, r_var, out, limits, False)


@compiled()
def _still(cells, edge, values, y, x, window, n, noise, mean, variance):  # type: ignore[no-untyped-def]
    """Mean and variance in windows of an image that does not change."""
    height, width = values.shape
    rows, cols = height // TABLE_BLOCK + 1, width // TABLE_BLOCK + 1
    stride = cols * TABLE_BLOCK * 2
    cells[: rows * TABLE_BLOCK * stride] = 0
    for v in range(height):
        for u in range(width):
            o = (v + 1) * stride + (u + 1) * 2
            cells[o], cells[o + 1] = values[v, u], values[v, u] * values[v, u]
    _build(cells, edge, rows, cols, 2)
    _refresh(cells, edge, rows, cols, 0, 0, 2)
    total = np.empty(2)
    for p in range(len(y)):
        count = max(n[p], 1.0)
        top, bottom = max(y[p] - window, 0), min(y[p] + window + 1, height)
        west, east = max(x[p] - window, 0), min(x[p] + window + 1, width)
        _window(total, cells, rows, cols, top, bottom, west, east, 2)
        mean[p] = total[0] / count
        variance[p] = total[1] / count - mean[p] * mean[p]
        if variance[p] * count <= noise:
            variance[p] = 0.0


def compiled_rings(
    target: FloatArray,
    replacement: FloatArray,
    r_fill: FloatArray,
    *,
    known: BoolArray,
    pool: BoolArray | None,
    y: IntArray,
    x: IntArray,
    ends: IntArray,
    window: int,
) -> tuple[FloatArray, BoolArray]:
    """Fill ring by ring, band by band; arguments and result are those of `algorithms.rings.numpy_rings`."""
    height, width = known.shape
    blocks = (height // TABLE_BLOCK + 1) * (width // TABLE_BLOCK + 1)
    # Room for four values per pixel. First rows and columns of the tables over blocks stay zero in every use.
    cells, edge = np.zeros(blocks * (TABLE_BLOCK + 2) * TABLE_BLOCK * 4), np.zeros(blocks * TABLE_BLOCK * 4)
    count, limits, at = np.ones(len(y)), np.array([FLOAT32_MAX, ROUNDING_SHARE]), (y, x)
    if pool is not None:
        r_count = np.ones(len(y))
        _count(cells, edge, pool, *at, np.array([0, len(y)]), window, r_count)
        count = np.minimum(r_count, 1)
        mean, variance = np.empty(len(y)), np.empty(len(y))
    _count(cells, edge, known, *at, ends, window, count)
    noise = np.stack((rounding(target), rounding(replacement)), axis=1)
    out = np.zeros((len(target), len(y)))
    for b, values in enumerate(target):
        common = (ends, window, count, noise[b], r_fill[b])
        if pool is None:
            _shared(cells, edge, values, replacement[b], *at, *common, out[b], limits)
        else:
            _still(cells, edge, replacement[b], *at, window, r_count, noise[b, 1], mean, variance)
            _apart(cells, edge, values, *at, *common, mean, variance, out[b], limits)
    return out, count > 0
