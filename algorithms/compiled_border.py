"""The loop of `algorithms.border`, compiled by numba: the same bytes in less time, and without Python's lock."""

import numpy as np
from numba import types

from algorithms.compiling import compiled, read_only


@compiled()
def _linked(rows, cols, fixed, inside, guide, edge, decay):  # type: ignore[no-untyped-def]
    """The numbers of every pixel's neighbours, that of none for walls, and the weights of these."""
    count, planes = len(rows), len(guide)
    height, width = inside.shape
    number = np.full((height + 2, width + 2), -1, np.int32)
    for p in range(count):
        number[rows[p] + 1, cols[p] + 1] = p
    linked = np.full((count, 4), count, np.int32)
    weights = np.zeros((count, 4), np.float32)
    for p in range(count):
        if fixed[p]:
            continue
        y, x = rows[p], cols[p]
        degree, neighbours = np.float32(0), np.float32(0)
        for k in range(4):
            down, right = y + (k == 3) - (k == 0), x + (k == 2) - (k == 1)
            if down < 0 or right < 0 or down >= height or right >= width or not inside[down, right]:
                continue
            distance = np.float32(0)
            for c in range(planes):
                step = guide[c, y, x] - guide[c, down, right]
                distance += step * step
            flow = np.float32(1) / (np.float32(1) + distance / edge)
            degree += flow
            neighbours += np.float32(1)
            if number[down + 1, right + 1] >= 0:
                linked[p, k], weights[p, k] = number[down + 1, right + 1], flow
        near = max(neighbours, np.float32(1))
        diagonal = max(degree * (np.float32(1) + decay / near), np.float32(1e-9))
        for k in range(4):
            weights[p, k] /= diagonal
    return linked, weights


@compiled(
    types.float32[:, ::1](
        read_only(types.int32),
        read_only(types.int32),
        read_only(types.boolean),
        read_only(types.float32, 2),
        read_only(types.boolean, 2),
        read_only(types.float32, 3),
        types.float32,
        types.float32,
        types.int64,
    )
)
def compiled_carried(rows, cols, fixed, missed, inside, guide, edge, decay, steps):  # type: ignore[no-untyped-def]
    """See `algorithms.border.numpy_carried`."""
    count, bands = len(rows), missed.shape[1]
    linked, weights = _linked(rows, cols, fixed, inside, guide, edge, decay)
    # The last row is that of pixels beyond, which have no weight.
    now, then = np.zeros((count + 1, bands), np.float32), np.zeros((count + 1, bands), np.float32)
    row = 0
    for p in range(count):
        if fixed[p]:
            for b in range(bands):
                now[p, b] = then[p, b] = missed[row, b]
            row += 1
    for _ in range(steps):
        for p in range(count):
            if fixed[p]:
                continue
            above, left, right, below = linked[p, 0], linked[p, 1], linked[p, 2], linked[p, 3]
            up, back, on, down = weights[p, 0], weights[p, 1], weights[p, 2], weights[p, 3]
            for b in range(bands):
                total = np.float32(0) + up * now[above, b]
                total += back * now[left, b]
                total += on * now[right, b]
                total += down * now[below, b]
                then[p, b] = total
        now, then = then, now
    return now[:count].copy()
