"""Sampling of a fill at the pixels of an image: the loops of a warm tile, in numpy or compiled."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from algorithms.border import Border, sample_border
from algorithms.cells import bilinear
from algorithms.loops import compiled_loops

STEPS_PER_CELL: Final = 4096
"""Positions per cell. Whole steps rid a tile and its quarters of the last bits in which their transforms differ."""
EDGE_CELLS: Final = 1e-7
"""Positions this close to a cell's border, in cells, count as beyond it, whatever the rounding of the transform."""
FARTHEST_PIXELS: Final = 1 << 30
"""Pixels from a raster's corner up to which positions are followed: no raster is as large."""

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]
Float32s = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]
Int32s = npt.NDArray[np.int32]


def spread_nodes(nodes: Floats, spacing: int, height: int, width: int, factor: int) -> Floats:
    """(height, width) positions in cells, in steps of 1 / `STEPS_PER_CELL`, from those of nodes.

    Args:
        nodes: (m, n) positions in pixels of every `spacing`-th corner of the image's pixels.
        spacing: image pixels between nodes.
        height: image rows.
        width: image columns.
        factor: pixels per cell.
    """
    if (loops := compiled_loops().loops) is None:
        return numpy_spread_nodes(nodes, spacing, height, width, factor)
    result: Floats = loops.compiled_spread_nodes(np.ascontiguousarray(nodes), spacing, height, width, factor)
    return result


def numpy_spread_nodes(nodes: Floats, spacing: int, height: int, width: int, factor: int) -> Floats:
    """`spread_nodes` in numpy."""
    with np.errstate(invalid="ignore"):
        down = lerp(nodes, 0, (np.arange(height) + 0.5) / spacing)
        return in_steps(lerp(down, 1, (np.arange(width) + 0.5) / spacing), factor)


def in_steps(positions: Floats, factor: int) -> Floats:
    """Positions in pixels as cells, in steps of 1 / `STEPS_PER_CELL`."""
    result: Floats = np.rint(positions * (STEPS_PER_CELL / factor)) / STEPS_PER_CELL
    return result


def lerp(nodes: Floats, axis: int, at: Floats) -> Floats:
    """Float32s between nodes along an axis.

    Args:
        nodes: (m, n).
        axis: 0 or 1.
        at: positions in nodes.
    """
    low = np.minimum(at.astype(np.intp), nodes.shape[axis] - 2)
    weight = (at - low)[:, None] if axis == 0 else (at - low)[None]
    first: Floats = np.take(nodes, low, axis=axis)
    second: Floats = np.take(nodes, low + 1, axis=axis)
    result: Floats = first + (second - first) * weight
    return result


def look_up(
    cells: Bytes, rows: Floats, cols: Floats, origin: tuple[int, int], shape: tuple[int, int], pooled: int, outside: int
) -> Bytes:
    """(H, W) values of the cells under positions.

    Args:
        cells: values of cells, or of squares of 2^`pooled` of them.
        rows: (H, W) in cells of the scene.
        cols: (H, W).
        origin: first row and column of `cells`.
        shape: rows and columns of cells that these cover.
        pooled: see above.
        outside: the value of other places.
    """
    if (loops := compiled_loops().loops) is None:
        return numpy_look_up(cells, rows, cols, origin, shape, pooled, outside)
    rows, cols = np.ascontiguousarray(rows), np.ascontiguousarray(cols)
    result: Bytes = loops.compiled_look_up(np.ascontiguousarray(cells), rows, cols, *origin, *shape, pooled, outside)
    return result


def numpy_look_up(
    cells: Bytes, rows: Floats, cols: Floats, origin: tuple[int, int], shape: tuple[int, int], pooled: int, outside: int
) -> Bytes:
    """`look_up` in numpy."""
    y, x = rows + (EDGE_CELLS - origin[0]), cols + (EDGE_CELLS - origin[1])
    inside = (y >= 0) & (y < shape[0]) & (x >= 0) & (x < shape[1])  # False for NaN, too
    values = np.full(rows.shape, outside, np.uint8)
    if inside.all():
        values[:] = cells[y.astype(np.intp) >> pooled, x.astype(np.intp) >> pooled]
        return values
    values[inside] = cells[y[inside].astype(np.intp) >> pooled, x[inside].astype(np.intp) >> pooled]
    return values


def sample_fill(
    result: Float32s,
    rows: Floats,
    cols: Floats,
    bounds: tuple[int, int, int, int],
    fields: Float32s,
    columns: Integers,
    origin: tuple[int, int],
    size: int,
    border: Border | None = None,
    factor: int = 1,
) -> None:
    """Interpolate a fill's fields at the points within bounds, correct the offsets, and write both into `result`.

    Args:
        result: (2 n, p), gains and then offsets, changed in place.
        rows: (p,) positions in cells of the scene; close to the border of one they count as beyond it.
        cols: (p,).
        bounds: first and last row, first and last column in cells, the last ones excluded.
        fields: (h, w, 2 B) on squares of `size` cells.
        columns: (2 n,), which of the fields.
        origin: row and column of the first square.
        size: cells per side of a square.
        border: the correction in pixels; None for none. Its bands are those of the first n columns.
        factor: pixels per cell.
    """
    if (loops := compiled_loops().loops) is None:
        numpy_sample_fill(result, rows, cols, bounds, fields, columns, origin, size, border, factor)
        return
    nothing = np.zeros(0, np.int32)
    corrected = (nothing, nothing) if border is None else (border.rows, border.cols)
    values = np.zeros((0, 0), np.float32) if border is None else np.ascontiguousarray(border.values)
    loops.compiled_sample_fill(
        result,
        rows,
        cols,
        np.array(bounds),
        np.ascontiguousarray(fields),
        columns,
        *origin,
        size,
        *corrected,
        values,
        factor,
    )


def numpy_sample_fill(
    result: Float32s,
    rows: Floats,
    cols: Floats,
    bounds: tuple[int, int, int, int],
    fields: Float32s,
    columns: Integers,
    origin: tuple[int, int],
    size: int,
    border: Border | None = None,
    factor: int = 1,
) -> None:
    """`sample_fill` in numpy."""
    rows, cols = rows + EDGE_CELLS, cols + EDGE_CELLS
    picked = _within(rows, cols, bounds)
    few = len(columns) < fields.shape[-1] // 2
    sampled = bilinear(
        fields.take(columns, axis=-1) if few else fields,
        rows.take(picked) / size - origin[0],
        cols.take(picked) / size - origin[1],
    )
    result[:, picked] = (sampled if few else sampled.take(columns, axis=1)).T
    if border is None:
        return
    bands = columns[: len(columns) // 2]
    at, correction = sample_border(
        border, rows.take(picked) * factor, cols.take(picked) * factor, tuple(bands.tolist())
    )
    result[len(bands) :, picked[at]] += correction.T


def _within(rows: Floats, cols: Floats, bounds: tuple[int, int, int, int]) -> npt.NDArray[np.intp]:
    top, bottom, left, right = bounds
    return np.flatnonzero((rows >= top) & (rows < bottom) & (cols >= left) & (cols < right))


def follow_lines(result: Int32s, first: int, begin: Floats, step: Floats, along: Floats) -> None:
    """Whole numbers at or below positions on straight lines, one line a row; at most `FARTHEST_PIXELS` in size.

    Args:
        result: (H, W), changed in place from column `first` on.
        first: see above.
        begin: (H,) where each line begins.
        step: (H,) its step.
        along: (n,) steps from there.
    """
    if (loops := compiled_loops().loops) is None:
        numpy_follow_lines(result, first, begin, step, along)
    else:
        loops.compiled_follow_lines(result, first, *map(np.ascontiguousarray, (begin, step, along)))


def numpy_follow_lines(result: Int32s, first: int, begin: Floats, step: Floats, along: Floats) -> None:
    """`follow_lines` in numpy."""
    position = step[:, None] * along
    position += begin[:, None]
    result[:, first : first + len(along)] = np.floor(position, out=position).clip(
        -FARTHEST_PIXELS, FARTHEST_PIXELS, out=position
    )
