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
    """See `algorithms.placing.numpy_place_pixels`; `at`, `rows` and `cols` have room for all pixels and one more."""
    spacing, height, width, factor, first_row, first_col, cell_rows, cell_cols, pooled, full = numbers
    count = unsure = 0
    under = np.empty((height, width), np.uint8)
    nodes = node_rows.shape[1]
    across_rows, across_cols = np.empty(nodes, np.float64), np.empty(nodes, np.float64)
    weight = np.empty(width, np.float64)
    for j in range(width):
        place = (j + 0.5) / spacing
        weight[j] = place - min(int(place), nodes - 2)
    row_at, col_at = np.empty(width, np.float64), np.empty(width, np.float64)
    cell, sources, amounts = np.empty(width, np.int64), source.reshape(-1), data.reshape(-1)
    scale = STEPS_PER_CELL / factor
    above, before = EDGE_CELLS - first_row, EDGE_CELLS - first_col
    for i in range(height):
        place = (i + 0.5) / spacing
        top = min(int(place), node_rows.shape[0] - 2)
        down = place - top
        for k in range(nodes):
            across_rows[k] = node_rows[top, k] + (node_rows[top + 1, k] - node_rows[top, k]) * down
            across_cols[k] = node_cols[top, k] + (node_cols[top + 1, k] - node_cols[top, k]) * down
        # Node by node, so that processors work on several pixels at once.
        for k in range(nodes - 1):
            first_pixel = min(k * spacing, width)
            last_pixel = min(first_pixel + spacing, width) if k < nodes - 2 else width
            row, row_step = across_rows[k], across_rows[k + 1] - across_rows[k]
            col, col_step = across_cols[k], across_cols[k + 1] - across_cols[k]
            for j in range(first_pixel, last_pixel):
                row_at[j] = np.rint((row + row_step * weight[j]) * scale) / STEPS_PER_CELL
                col_at[j] = np.rint((col + col_step * weight[j]) * scale) / STEPS_PER_CELL
        for j in range(width):
            y, x = row_at[j] + above, col_at[j] + before
            inside = 0 <= y < cell_rows and 0 <= x < cell_cols
            cell[j] = (int(y) >> pooled) * source.shape[1] + (int(x) >> pooled) if inside else -1
        for j in range(width):
            under[i, j] = sources[np.uint64(cell[j])] if cell[j] >= 0 else UNFILLED
        if data.size:
            for j in range(width):
                unsure += shown[i, j] and (cell[j] < 0 or amounts[np.uint64(cell[j])] < full)
        for j in range(width):  # without branches: what is not to be filled is overwritten
            at[count], rows[count], cols[count] = i * width + j, row_at[j], col_at[j]
            count += under[i, j] != 0 and under[i, j] != UNFILLED
    return under, count, unsure
