"""Arrays over a box of pixels or cells, put together from cached blocks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from server.raster.grid import BlockNumber, Box, Grid

READ_PIXELS: Final = 512
"""Side in pixels of the blocks in which pixels are read and kept: the tile of a common COG."""


def assemble(
    fetch: Callable[[BlockNumber], npt.NDArray[np.generic]],
    box: Box,
    grid: Grid,
    size: int,
    bands: tuple[int, ...] | None = None,
) -> npt.NDArray[np.generic]:
    """Put an array over a box together from blocks of `size` cells; the last two axes are rows and columns.

    Args:
        fetch: gives the array of a block.
        box: what to put together.
        grid: the blocks'.
        size: of a block.
        bands: 0-based positions on the first of three axes; None: all there are.
    """
    leading: tuple[Any, ...] = (...,) if bands is None else (list(bands),)
    result: npt.NDArray[np.generic] | None = None
    for number in box.blocks(size):
        block = grid.block(number, size)
        part = fetch(number)
        if result is None:
            first = part.shape[:-2] if bands is None else (len(bands),)
            result = np.empty((*first, *box.shape), part.dtype)
        cut = box.intersection(block)
        result[(..., *cut.within(box))] = part[(*leading, *cut.within(block))]
    assert result is not None  # noqa: S101  (a box touches at least one block)
    return result
