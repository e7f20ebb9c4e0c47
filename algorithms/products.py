"""Products of few rows of many numbers, and medians, for fits: the same bits on any number of threads."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

PART_MULTIPLICATIONS: Final = 1 << 17
"""Multiplications of one part of a product: so few that libraries make them on one thread."""


def _parts(columns: int, pairs: int) -> list[slice]:
    """Parts of so many columns, for each of which so many pairs of numbers are multiplied."""
    step = max(1, PART_MULTIPLICATIONS // pairs)
    return [slice(start, start + step) for start in range(0, columns, step)]


def product(first: Floats, second: Floats) -> Floats:
    """(I, J) sums over the columns of (I, n) and (J, n) numbers."""
    total = np.zeros((len(first), len(second)))
    for part in _parts(first.shape[1], total.size):
        total += first[:, part] @ second[:, part].T
    return total


def combined(coefficients: Floats, rows: Floats) -> Floats:
    """(B, n) sums of (I, n) rows by (I, B) coefficients."""
    result = np.empty((coefficients.shape[1], rows.shape[1]))
    for part in _parts(rows.shape[1], coefficients.size):
        np.matmul(coefficients.T, rows[:, part], out=result[:, part])
    return result


def median(rows: Floats) -> Floats:
    """(B,) medians of (B, n) numbers, n at least 1: those of `numpy.median`, in less time. Reorders the numbers."""
    half = rows.shape[1] // 2
    rows.partition(half, axis=1)
    upper: Floats = rows[:, half]
    return upper if rows.shape[1] % 2 else (rows[:, :half].max(axis=1) + upper) / 2
