"""The fixed sample of a scene that its scene stage is fitted on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, TypeVar

import numpy as np
import numpy.typing as npt

from algorithms.models import INPUT_CELLS
from algorithms.windows import window_count, window_start

Scalar = TypeVar("Scalar", bound=np.generic)

SQUARES: Final = 12
"""Inference windows up to which a scene is taken whole; squares sampled from a larger one."""
SQUARE_CELLS: Final = 80
"""Side in cells of a sampled square."""


def sample_squares(shape: tuple[int, int]) -> list[tuple[slice, slice]] | None:
    """Squares of cells from which the scene stage is fitted; None for the whole of a small scene.

    A fixed sample keeps the first tile of a large scene quick. Each square lies in the middle of an inference window,
    and the squares are spread evenly over the scene, no two of them overlapping.

    Args:
        shape: rows and columns of the scene in cells.
    """
    counts = [window_count(n) for n in shape]
    if counts[0] * counts[1] <= SQUARES:
        return None
    side = round(math.sqrt(SQUARES))
    rows = min(counts[0], max(side, SQUARES // min(counts[1], side)))
    cols = min(counts[1], SQUARES // rows)

    def spread(wanted: int, length: int) -> list[slice]:
        count = window_count(length)
        picked = sorted({round((k + 0.5) * count / wanted - 0.5) for k in range(wanted)})
        starts = [window_start(k, length) + (INPUT_CELLS - SQUARE_CELLS) // 2 for k in picked]
        # A strip may be narrower than half a window: its squares still lie inside, cut where it is narrower than they.
        starts = [max(0, min(s, length - SQUARE_CELLS)) for s in starts]
        # The last window may overlap the one before by more than usual; squares must not.
        apart = [s for before, s in zip([-SQUARE_CELLS, *starts], starts, strict=False) if s - before >= SQUARE_CELLS]
        return [slice(s, min(s + SQUARE_CELLS, length)) for s in apart]

    return [(y, x) for y in spread(rows, shape[0]) for x in spread(cols, shape[1])]


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
