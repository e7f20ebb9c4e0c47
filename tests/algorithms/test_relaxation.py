"""The iteration of the membrane: numpy and the compiled loop give the same bytes, which solve its equation."""

import numpy as np
import pytest

from algorithms import relaxation
from algorithms.relaxation import Chessboard, numpy_relaxed, relaxed, step_lengths

BOUND = 0.9


def board(cells: np.ndarray, *, bands: int, seed: int = 0) -> Chessboard:
    """A board of the cells that are set, with random weights and sources."""
    rng = np.random.default_rng(seed)
    rows, cols = np.nonzero(cells)
    order = np.argsort((rows + cols) % 2, kind="stable")
    rows, cols = rows[order], cols[order]
    number = np.full(np.add(cells.shape, 2), -1, np.int32)
    number[rows + 1, cols + 1] = np.arange(len(rows))
    steps = ((-1, 0), (0, -1), (0, 1), (1, 0))
    neighbours = np.stack([number[rows + 1 + dy, cols + 1 + dx] for dy, dx in steps], axis=1)
    weights = rng.uniform(0, BOUND / 4, neighbours.shape).astype(np.float32)
    source = rng.normal(0, 500, (len(rows), bands)).astype(np.float32)
    split = int(((rows + cols) % 2 == 0).sum())
    return Chessboard(rows.astype(np.int32), cols.astype(np.int32), split, neighbours, weights, source)


def some_cells(height: int, width: int, share: float) -> np.ndarray:
    return np.random.default_rng(height * width).random((height, width)) < share


CELLS = {
    "all": np.ones((7, 9), bool),
    "many": some_cells(41, 38, 0.7),
    "few": some_cells(40, 37, 0.2),
    "one row": some_cells(1, 30, 0.8),
    "one column": some_cells(33, 1, 0.8),
    "one": np.eye(1, dtype=bool),
    "one of the second colour": np.array([[False, True]]),
    "away from the corner": np.pad(some_cells(9, 12, 0.6), [(4, 0), (3, 2)]),
    "odd corner": np.pad(np.ones((4, 5), bool), [(3, 0), (2, 0)]),
}


@pytest.mark.parametrize("cells", CELLS.values(), ids=CELLS)
@pytest.mark.parametrize("steps", [1, 2, 8, 19])
def test_the_compiled_iteration_gives_numpy_s_bytes(
    cells: np.ndarray, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled = pytest.importorskip("algorithms.compiled_relaxation", reason="numba is not installed")
    monkeypatch.setattr(relaxation, "compiled_loops", lambda: type("Loading", (), {"loops": compiled}))
    omegas = step_lengths(BOUND, steps)
    for bands in (1, 6):
        one = board(cells, bands=bands)
        expected = numpy_relaxed(one, omegas)
        assert expected.any() or steps == 1
        assert relaxed(one, omegas).tobytes() == expected.tobytes()


@pytest.mark.parametrize("cells", CELLS.values(), ids=CELLS)
def test_values_solve_the_equation(cells: np.ndarray) -> None:
    one = board(cells, bands=2)
    found = relaxed(one, step_lengths(BOUND, 40)).astype(np.float64)
    linked = np.where(one.neighbours >= 0, one.weights, 0)
    left = found - one.source - np.einsum("nk,nkb->nb", linked, found[one.neighbours])
    assert np.abs(left).max() < 1e-5 * np.abs(one.source).max()


def test_values_that_are_no_numbers_stay_on_their_side_of_a_wall() -> None:
    cells = np.ones((9, 11), bool)
    cells[:, 5] = False
    one = board(cells, bands=1)
    one.source[(one.rows == 4) & (one.cols == 2)] = np.nan
    found = relaxed(one, step_lengths(BOUND, 20))[:, 0]
    assert np.isfinite(found[one.cols > 5]).all()
    assert np.isnan(found).any()
