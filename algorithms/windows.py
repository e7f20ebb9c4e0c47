"""The fixed lattice of inference windows, and how their probabilities blend into one mask.

The network's output depends on its whole window (squeeze-and-excitation pools over it), so no margin makes two
tilings agree. Windows are therefore anchored to the scene: every tile that needs a cell reads the same windows.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt

from algorithms.models import INPUT_CELLS

STRIDE: Final = 240
"""Cells between the starts of neighbouring windows; the overlap of 16 cells is blended. Closer ones are no nearer to
the truth (docs/masks.md)."""

_RAMP: Final = np.sin(np.pi / 2 * (np.arange(INPUT_CELLS - STRIDE) + 0.5) / (INPUT_CELLS - STRIDE)) ** 2
_PROFILE: Final = np.concatenate([_RAMP, np.ones(2 * STRIDE - INPUT_CELLS), _RAMP[::-1]]).astype(np.float32)

Window = tuple[int, int]
"""Row and column number of a window in the lattice."""


def window_count(length: int) -> int:
    """Number of windows along an axis of `length` cells."""
    return max(1, math.ceil((length - INPUT_CELLS) / STRIDE) + 1)


def window_start(index: int, length: int) -> int:
    """First cell of a window; the last one ends with the axis, so that it sees as much real ground as it can."""
    return min(index * STRIDE, max(0, length - INPUT_CELLS))


def windows_over(start: int, stop: int, length: int) -> range:
    """Numbers of the windows that cover any of the cells `start:stop` of an axis of `length` cells."""
    count = window_count(length)
    touched = [
        k for k in range(count) if window_start(k, length) < stop and window_start(k, length) + INPUT_CELLS > start
    ]
    return range(touched[0], touched[-1] + 1)


def blend(
    fetch: Callable[[Window], npt.NDArray[np.uint8]],
    rows: tuple[int, int],
    cols: tuple[int, int],
    shape: tuple[int, int],
) -> npt.NDArray[np.uint8]:
    """Blend window probabilities over a rectangle of cells.

    A cell gets the same value whatever rectangle it is asked in: weights and order of the windows are fixed.

    Args:
        fetch: gives the (2, 256, 256) uint8 probabilities (cloud, shadow; 255 = 1) of a window.
        rows: first row and the row after the last, inside the scene.
        cols: first column and the column after the last.
        shape: rows and columns of the whole scene in cells.

    Returns:
        (2, rows, cols) uint8, probability of cloud and of shadow.
    """
    total = np.zeros((2, rows[1] - rows[0], cols[1] - cols[0]), np.float32)
    weight = np.zeros(total.shape[1:], np.float32)
    for i in windows_over(*rows, shape[0]):
        y = window_start(i, shape[0])
        top, bottom = max(rows[0], y), min(rows[1], y + INPUT_CELLS)
        for j in windows_over(*cols, shape[1]):
            x = window_start(j, shape[1])
            left, right = max(cols[0], x), min(cols[1], x + INPUT_CELLS)
            inner = np.s_[top - y : bottom - y, left - x : right - x]
            outer = np.s_[top - rows[0] : bottom - rows[0], left - cols[0] : right - cols[0]]
            part = np.outer(_PROFILE[inner[0]], _PROFILE[inner[1]])
            total[(slice(None), *outer)] += part * fetch((i, j))[(slice(None), *inner)]
            weight[outer] += part
    return np.rint(total / weight).astype(np.uint8)
