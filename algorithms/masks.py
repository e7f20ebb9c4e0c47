"""Masks: their classes, and growing them."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt

from algorithms.errors import ShapeError
from algorithms.options import BUFFER_PIXELS, OPTIONS

CLEAR: Final = 0
CLOUD: Final = 1
SHADOW: Final = 2
NODATA: Final = 255
"""Classes of a cloud mask; `NODATA` is that of cells without data."""


def buffer_cells(steps: int, factor: int) -> int:
    """Radius in analysis cells of `steps` buffer steps, rounded up."""
    return math.ceil(BUFFER_PIXELS * steps / factor)


def dilate(mask: npt.NDArray[np.bool_], radius: int) -> npt.NDArray[np.bool_]:
    """Grow a (H, W) mask by a square of side `2 * radius + 1`; the outside counts as clear."""
    if radius == 0 or not mask.any():
        return mask.copy()
    return _spread(_spread(mask, radius).T, radius).T


def _spread(mask: npt.NDArray[np.bool_], radius: int) -> npt.NDArray[np.bool_]:
    """Grow a mask along its rows' axis; a window twice as long is two windows side by side."""
    size = 2 * radius + 1
    grown = np.pad(mask, [(radius, radius), (0, 0)])
    length = 1
    while length < size:
        step = min(length, size - length)
        grown = grown[:-step] | grown[step:]
        length += step
    return grown


def buffer_mask(mask: npt.ArrayLike, steps: int) -> npt.NDArray[np.bool_]:
    """Grow a mask by `steps` dilations with a 5x5 square (2 pixels each), as Esri's SLRA function does.

    Args:
        mask: (H, W), non-zero is cloud; 255 (nodata) is not.
        steps: as the option `buffer` of `algorithms.options`.

    Returns:
        (H, W) bool.

    Raises:
        ParameterError: steps out of range. ShapeError: mask is not two-dimensional.
    """
    array = np.asarray(mask)
    if array.ndim != 2:
        raise ShapeError(f"mask must be (rows, cols), not {array.shape}")
    if array.dtype != np.bool_:
        array = (array != 0) & (array != NODATA)
    return dilate(array, BUFFER_PIXELS * OPTIONS["buffer"].check(steps))
