"""Cyclic Chebyshev iteration on the two colours of a chessboard of cells, in numpy or compiled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from algorithms.loops import compiled_loops

Float32s = npt.NDArray[np.float32]
Int32s = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Chessboard:
    """Cells whose values are weighted sums of their neighbours' and a source: those of one colour, then the others."""

    rows: Int32s
    """(n,) rows of the cells; within a colour cells are in row-major order."""
    cols: Int32s
    """(n,) columns."""
    split: int
    """Number of cells of the first colour, for which row plus column, in the scene, is even."""
    neighbours: Int32s
    """(n, 4) positions of the cells above, to the left, to the right and below among these; -1: none of them."""
    weights: Float32s
    """(n, 4) of these neighbours."""
    source: Float32s
    """(n, B)."""


def step_lengths(bound: float, count: int) -> Float32s:
    """The lengths of so many steps of the iteration.

    Args:
        bound: spectral radius up to which errors fall fastest, < 1.
        count: steps.
    """
    omegas, omega = [], 1.0
    for n in range(count):
        omegas.append(omega)
        omega = 1 / (1 - bound**2 * omega / (2 if n == 0 else 4))
    return np.array(omegas, np.float32)


def relaxed(board: Chessboard, omegas: Float32s) -> Float32s:
    """(n, B) values after as many steps as there are lengths, each of the cells of one colour, from zero on."""
    loops = compiled_loops().loops
    # Compiled, cells without a link are multiplied by zero: only finite values leave no trace of them.
    if loops is None or not len(board.source) or not np.isfinite(board.source).all():
        return numpy_relaxed(board, omegas)
    weights = np.where(board.neighbours >= 0, board.weights, np.float32(0))
    result: Float32s = loops.compiled_relaxed(
        board.rows - board.rows.min(), board.cols - board.cols.min(), board.split, weights, board.source, omegas
    )
    return result


def numpy_relaxed(board: Chessboard, omegas: Float32s) -> Float32s:
    """`relaxed` in numpy."""
    count, split = len(board.source), board.split
    halves = slice(0, split), slice(split, count)
    steps: list[Any] = []
    for mine, other in (halves, halves[::-1]):
        free = board.neighbours[mine] >= 0
        starts = np.concatenate([[0], np.cumsum(free.sum(axis=1))])
        entries = board.weights[mine][free], board.neighbours[mine][free] - other.start, starts
        steps.append(sparse.csr_array(entries, shape=(len(free), other.stop - other.start)))
    sources = [board.source[half] for half in halves]
    now = [np.zeros_like(part) for part in sources]
    for n, omega in enumerate(omegas):
        turn = n % 2
        change = steps[turn] @ now[1 - turn]
        change += sources[turn]
        change -= now[turn]
        change *= omega
        now[turn] += change
    return np.concatenate(now)
