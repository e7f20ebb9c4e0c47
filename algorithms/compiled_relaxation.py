"""The loop of `algorithms.relaxation`, compiled by numba: the same bytes in less time, and without Python's lock."""

import numpy as np
from numba import types

from algorithms.compiling import compiled, read_only

_STEPS_PER_PASS = 8  # so that the rows of a pass stay in the processor's cache


@compiled(
    types.float32[:, ::1](
        read_only(types.int32),
        read_only(types.int32),
        types.int64,
        read_only(types.float32, 2),
        read_only(types.float32, 2),
        read_only(types.float32),
    )
)
def compiled_relaxed(rows, cols, split, weights, source, omegas):  # type: ignore[no-untyped-def]
    """See `algorithms.relaxation.numpy_relaxed`; rows and columns count from 0, missing neighbours have weight 0.

    Cells stand in dense rows, those of a colour next to each other, so that neighbours need not be looked up. A pass
    makes several steps, each one row behind the one before it: every value is that of whole steps.
    """
    count, bands = source.shape
    height, width = rows.max() + 1, cols.max() + 1
    side = width // 2 + 1
    # The colour of a cell in the first row and column.
    corner = (rows[0] + cols[0] + (0 if split > 0 else 1)) % 2
    values = np.zeros((2, height + 2, bands, side + 2), np.float32)
    inflow = np.zeros((2, height, bands, side), np.float32)
    flows = np.zeros((2, height, 4, side), np.float32)
    for p in range(count):
        c, i, j = (0 if p < split else 1), rows[p], cols[p] // 2
        for k in range(4):
            flows[c, i, k, j] = weights[p, k]
        for b in range(bands):
            inflow[c, i, b, j] = source[p, b]
    for first in range(0, len(omegas), _STEPS_PER_PASS):
        last = min(first + _STEPS_PER_PASS, len(omegas))
        for wave in range(height + last - first - 1):
            for n in range(first, last):
                i = wave - (n - first)
                if i < 0 or i >= height:
                    continue
                c, omega = n % 2, omegas[n]
                # Cells of this colour stand in odd columns of the row: the one to the left has the same number.
                odd = (i + c + corner) % 2
                flow = flows[c, i]
                for b in range(bands):
                    mine, beside, added = values[c, i + 1, b], values[1 - c, i + 1, b], inflow[c, i, b]
                    above, below = values[1 - c, i, b], values[1 - c, i + 2, b]
                    for j in range(side):
                        total = np.float32(0) + flow[0, j] * above[j + 1]
                        total += flow[1, j] * beside[j + odd]
                        total += flow[2, j] * beside[j + odd + 1]
                        total += flow[3, j] * below[j + 1]
                        total += added[j]
                        total -= mine[j + 1]
                        mine[j + 1] += total * omega
    result = np.empty((count, bands), np.float32)
    for p in range(count):
        for b in range(bands):
            result[p, b] = values[(0 if p < split else 1), rows[p] + 1, b, cols[p] // 2 + 1]
    return result
