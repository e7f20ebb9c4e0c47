"""The loops of `algorithms.placing`, compiled by numba: the same bytes in less time, and without Python's lock."""

from typing import Any

import numpy as np
from numba import types

from algorithms.compiling import compiled, read_only
from algorithms.fill import UNFILLED
from algorithms.sampling import EDGE_CELLS, STEPS_PER_CELL

_tuple: Any = types.Tuple
_FLOATS = types.float64[::1]


@compiled(
    _tuple((types.uint8[:, ::1], types.int64, types.int64))(
        *2 * [read_only(types.float64, 2)],
        _tuple(10 * (types.int64,)),
        *2 * [read_only(types.uint8, 2)],
        read_only(types.boolean, 2),
        types.int64[::1],
        _FLOATS,
        _FLOATS,
    )
)
def compiled_place_pixels(node_rows, node_cols, numbers, source, data, shown, at, rows, cols):  # type: ignore[no-untyped-def]
    """See `algorithms.placing.numpy_place_pixels`; fills `at`, `rows` and `cols` as far as there are pixels to fill."""
    spacing, height, width, factor, first_row, first_col, cell_rows, cell_cols, pooled, full = numbers
    count = unsure = 0
    under = np.empty((height, width), np.uint8)
    nodes = node_rows.shape[1]
    across_rows, across_cols = np.empty(nodes, np.float64), np.empty(nodes, np.float64)
    low, weight = np.empty(width, np.int64), np.empty(width, np.float64)
    for j in range(width):
        place = (j + 0.5) / spacing
        low[j] = min(int(place), nodes - 2)
        weight[j] = place - low[j]
    scale = STEPS_PER_CELL / factor
    above, before = EDGE_CELLS - first_row, EDGE_CELLS - first_col
    for i in range(height):
        place = (i + 0.5) / spacing
        top = min(int(place), node_rows.shape[0] - 2)
        down = place - top
        for k in range(nodes):
            across_rows[k] = node_rows[top, k] + (node_rows[top + 1, k] - node_rows[top, k]) * down
            across_cols[k] = node_cols[top, k] + (node_cols[top + 1, k] - node_cols[top, k]) * down
        for j in range(width):
            k = low[j]
            row = np.rint((across_rows[k] + (across_rows[k + 1] - across_rows[k]) * weight[j]) * scale) / STEPS_PER_CELL
            col = np.rint((across_cols[k] + (across_cols[k + 1] - across_cols[k]) * weight[j]) * scale) / STEPS_PER_CELL
            y, x = row + above, col + before
            found, has_all = UNFILLED, False
            if 0 <= y < cell_rows and 0 <= x < cell_cols:
                square_row, square_col = int(y) >> pooled, int(x) >> pooled
                found = source[square_row, square_col]
                has_all = data.size == 0 or data[square_row, square_col] >= full
            under[i, j] = found
            if data.size and shown[i, j] and not has_all:
                unsure += 1
            if found not in (0, UNFILLED):
                at[count], rows[count], cols[count] = i * width + j, row, col
                count += 1
    return under, count, unsure
