"""The loops of a warm tile: compiled and in numpy they give the same bytes, and the values of plain interpolation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from algorithms import sampling
from algorithms.border import Border

LOOPS = ("spread_nodes", "look_up", "sample_fill", "follow_lines")
POINTS = 700


def points(extent: float, seed: int) -> np.ndarray:
    """Positions in whole steps, on the edges of cells, between them and beyond both ends."""
    rng = np.random.default_rng(seed)
    found = np.rint(rng.uniform(-2, extent + 2, POINTS) * sampling.STEPS_PER_CELL) / sampling.STEPS_PER_CELL
    found[:200] = np.floor(found[:200])
    return found


def read_only(*arrays: np.ndarray) -> None:
    """As those are that another process has computed."""
    for array in arrays:
        array.setflags(write=False)


def border() -> Border:
    """The correction of scattered pixels of rows 12 to 39, columns 20 to 59."""
    rng = np.random.default_rng(3)
    rows, cols = (axis.astype(np.int32) for axis in np.nonzero(rng.random((28, 40)) < 0.4))
    found = Border(rows + 12, cols + 20, rng.standard_normal((len(rows), 3)).astype(np.float32))
    read_only(found.rows, found.cols, found.values)
    return found


def calls(loops: Any) -> list[np.ndarray]:
    """What some loops make of the same numbers."""
    rng = np.random.default_rng(1)
    nodes = np.sort(rng.uniform(0, 300, (6, 9)), axis=1)
    nodes[2, 3] = np.inf
    read_only(nodes)
    found = [loops["spread_nodes"](nodes, 16, 75, 120, factor) for factor in (1, 2, 6)]
    rows, cols = points(40, 4), points(60, 5)
    rows[:3] = np.nan, np.inf, -np.inf
    read_only(rows, cols)
    at = rows.reshape(20, 35), cols.reshape(20, 35)
    cells = rng.integers(0, 255, (40, 60), np.uint8)
    read_only(cells)
    found.append(loops["look_up"](cells, *at, (0, 0), (40, 60), 0, 255))
    found.append(loops["look_up"](cells[:5, :8], *at, (8, 4), (20, 32), 2, 7))
    kinds = (
        ((40, 60, 6), (0, 2, 3, 5), 1, None),
        ((40, 60, 6), (2, 0, 5, 3), 1, border()),
        ((40, 60, 10), (1, 6), 1, border()),
        ((1, 1, 4), (1, 3), 2, None),
    )
    for shape, columns, size, corrected in kinds:
        fields = rng.standard_normal(shape).astype(np.float32)
        read_only(fields)
        sampled = np.zeros((len(columns), POINTS), np.float32)
        bounds, chosen = (0, 32, 8, 64), np.array(columns)
        loops["sample_fill"](sampled, rows, cols, bounds, fields, chosen, (1, 2), size, corrected, 2)
        found.append(sampled)
    lines = np.zeros((20, 40), np.int32)
    along = np.arange(30) + 0.5
    loops["follow_lines"](lines, 4, np.array([*rng.uniform(-50, 9, 18), 1e12, -1e12]), rng.uniform(0, 2, 20), along)
    return [*found, lines]


def test_compiled_loops_give_the_same_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = pytest.importorskip("algorithms.compiled_sampling", reason="numba is not installed")

    class Loaded:
        loops = compiled

    with np.errstate(invalid="ignore"):
        expected = calls({name: getattr(sampling, f"numpy_{name}") for name in LOOPS})
    monkeypatch.setattr(sampling, "compiled_loops", Loaded)
    for ours, theirs in zip(calls(vars(sampling)), expected, strict=True):
        assert ours.tobytes() == theirs.tobytes()


def test_points_do_not_depend_on_others() -> None:
    fields = np.random.default_rng(3).standard_normal((40, 60, 6)).astype(np.float32)
    rows, cols = points(40, 10), points(60, 11)
    whole, parts = np.zeros((2, 4, POINTS), np.float32)
    for result, cuts in ((whole, [POINTS]), (parts, [7, POINTS // 3, POINTS])):
        for part in map(slice, [0, *cuts], cuts):
            given = result[:, part], rows[part], cols[part], (0, 32, 8, 64), fields, np.array([2, 0, 5, 3])
            sampling.sample_fill(*given, (1, 2), 1, border(), 2)
    assert whole.tobytes() == parts.tobytes()


def test_fields_are_interpolated_between_the_middles_of_cells() -> None:
    fields = np.random.default_rng(2).standard_normal((20, 30, 4)).astype(np.float32)
    rows, cols = points(20, 6), points(30, 7)
    result = np.full((2, POINTS), 9, np.float32)
    sampling.sample_fill(result, rows, cols, (0, 20, 0, 30), fields, np.array([1, 3]), (0, 0), 1)
    near = rows + sampling.EDGE_CELLS, cols + sampling.EDGE_CELLS
    inside = (near[0] >= 0) & (near[0] < 20) & (near[1] >= 0) & (near[1] < 30)
    for values, band in zip(result, (1, 3), strict=True):
        expected = ndimage.map_coordinates(fields[..., band], [rows - 0.5, cols - 0.5], order=1, mode="nearest")
        np.testing.assert_allclose(values[inside], expected[inside], atol=1e-5)
        assert (values[~inside] == 9).all()
    assert inside.any()
    assert not inside.all()


def test_a_correction_reaches_offsets_next_to_its_pixels_alone() -> None:
    result = np.zeros((2, POINTS), np.float32)
    rows, cols = points(30, 8), points(40, 9)
    nothing = np.zeros((30, 40, 6), np.float32)
    sampling.sample_fill(result, rows, cols, (0, 30, 0, 40), nothing, np.array([1, 4]), (0, 0), 1, border(), 2)
    changed = result[1] != 0
    has = np.zeros((80, 100), bool)
    has[border().rows, border().cols] = True
    y, x = (np.floor((axis + sampling.EDGE_CELLS) * 2).astype(int).clip(0, 79) for axis in (rows, cols))
    assert not result[0].any()
    assert changed.any()
    assert has[y, x][changed].all()
