"""The fixed sample of a scene that its scene stage is fitted on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, TypeVar

import numpy as np
import numpy.typing as npt

from algorithms.models import INPUT_CELLS
from algorithms.windows import window_count

Scalar = TypeVar("Scalar", bound=np.generic)

SQUARES: Final = 12
"""Inference windows up to which a scene is taken whole; squares sampled from a larger one."""
SQUARE_CELLS: Final = 80
"""Side in cells of a sampled square."""
PLOT_CELLS: Final = INPUT_CELLS // 2
"""Side in cells of the plot around a square that a network sees of it."""

Place = tuple[slice, slice]
"""Rows and columns of cells."""


def mosaic(shrunk: int) -> list[Place]:
    """Where the plots of one window lie in it, each shrunk by so much."""
    side = PLOT_CELLS // shrunk
    starts = range(0, INPUT_CELLS, side)
    return [(slice(y, y + side), slice(x, x + side)) for y in starts for x in starts]


def sample_plots(shape: tuple[int, int]) -> list[Place] | None:
    """Plots of cells that the clouds of a scene's sample are found in; None for the whole of a small scene.

    Several of them are inferred in one window, see `mosaic`: next to other ground, cut off by its edges, on cells twice
    as large, a network takes a few per cent of a square's cells for something else, for a twelfth of the time. They are
    spread evenly over the scene, none of them overlapping, and begin at multiples of `PLOT_CELLS`, as blocks of pixels
    do.

    Args:
        shape: rows and columns of the scene in cells.
    """
    if window_count(shape[0]) * window_count(shape[1]) <= SQUARES:
        return None
    counts = [max(1, length // PLOT_CELLS) for length in shape]
    side = round(math.sqrt(SQUARES))
    rows = min(counts[0], max(side, SQUARES // min(counts[1], side)))
    cols = min(counts[1], SQUARES // rows)

    def spread(wanted: int, count: int, length: int) -> list[slice]:
        starts = [PLOT_CELLS * round((k + 0.5) * count / wanted - 0.5) for k in range(wanted)]
        return [slice(start, min(start + PLOT_CELLS, length)) for start in starts]

    return [(y, x) for y in spread(rows, counts[0], shape[0]) for x in spread(cols, counts[1], shape[1])]


def sample_squares(shape: tuple[int, int]) -> list[Place] | None:
    """Squares of cells from which the scene stage is fitted, in the middle of the plots; None for all of a small scene.

    A fixed sample keeps the first tile of a large scene quick.

    Args:
        shape: rows and columns of the scene in cells.
    """
    plots = sample_plots(shape)
    return None if plots is None else [(middle(y, SQUARE_CELLS), middle(x, SQUARE_CELLS)) for y, x in plots]


def middle(side: slice, length: int) -> slice:
    """`length` in the middle of a side; all of a shorter one."""
    start = side.start + max(0, (side.stop - side.start - length) // 2)
    return slice(start, min(start + length, side.stop))


def sampled(array: npt.NDArray[Scalar]) -> npt.NDArray[Scalar]:
    """The cells of a whole scene that the scene stage is fitted on.

    Args:
        array: (..., H, W) over the whole scene.

    Returns:
        (..., 1, n): square by square, each row by row; a small scene as it is.
    """
    squares = sample_squares((array.shape[-2], array.shape[-1]))
    if squares is None:
        return array
    return in_a_row([array[(..., *square)] for square in squares])


def in_a_row(parts: Sequence[npt.NDArray[Scalar]]) -> npt.NDArray[Scalar]:
    """Rectangles of cells, (..., h, w) each, one after the other as (..., 1, n)."""
    return np.concatenate([part.reshape(*part.shape[:-2], 1, -1) for part in parts], axis=-1)
