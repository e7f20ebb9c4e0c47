"""Cells and masks as they are kept: in less memory where that loses nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from algorithms.cells import Cells
from server.raster.grid import BlockNumber, Box, Grid

STEPS_PER_NUMBER: Final = 4
"""Steps of packed values per digital number: a cell is the mean of four whole numbers where two pixels are its side."""

Bools = npt.NDArray[np.bool_]


def compact_mask(mask: Bools) -> Bools:
    """A mask in no memory where it is set everywhere, read-only then; else the mask itself."""
    return np.broadcast_to(np.True_, mask.shape) if mask.all() else mask


def mask_bytes(mask: Bools) -> int:
    """Bytes that a mask takes."""
    return mask.nbytes if any(mask.strides) else 1


def _packed(values: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
    """Values as uint16 in steps where all of them are whole steps, else as they are."""
    # False for values that are no numbers, too.
    if not (values.min(initial=0) >= 0 and values.max(initial=0) <= np.iinfo(np.uint16).max // STEPS_PER_NUMBER):
        return values
    steps = values * np.float32(STEPS_PER_NUMBER)
    packed = steps.astype(np.uint16)
    return packed if np.array_equal(packed, steps) else values


@dataclass(frozen=True, slots=True)
class CompactCells:
    """Cells in less memory: the same values."""

    values: npt.NDArray[Any]
    """(B, h, w), float32, or uint16 in steps of 1 / `STEPS_PER_NUMBER`."""
    valid: Bools
    """(h, w), as `Cells` has it."""
    full: Bools
    """(h, w), as `Cells` has it."""

    @classmethod
    def of(cls, cells: Cells) -> CompactCells:
        """Those of cells."""
        return cls(_packed(cells.values), compact_mask(cells.valid), compact_mask(cells.full))

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return self.values.nbytes + mask_bytes(self.valid) + mask_bytes(self.full)

    def put(self, there: tuple[slice, slice], result: Cells, here: tuple[slice, slice]) -> None:
        """Write the cells in a place into another place of `result`."""
        values = result.values[(slice(None), *here)]
        values[:] = self.values[(slice(None), *there)]
        if self.values.dtype == np.uint16:
            values *= np.float32(1 / STEPS_PER_NUMBER)
        result.valid[here], result.full[here] = self.valid[there], self.full[there]


def joined_cells(fetch: Callable[[BlockNumber], CompactCells], box: Box, grid: Grid, *, size: int, bands: int) -> Cells:
    """Put the cells over a box together from blocks.

    Args:
        fetch: gives a block.
        box: what to put together.
        grid: the blocks'.
        size: cells per side of a block.
        bands: number of bands.
    """
    result = Cells(np.empty((bands, *box.shape), np.float32), np.empty(box.shape, bool), np.empty(box.shape, bool))
    for number in box.blocks(size):
        block = grid.block(number, size)
        cut = box.intersection(block)
        fetch(number).put(cut.within(block), result, cut.within(box))
    return result
