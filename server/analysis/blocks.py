"""The fill of a block of cells, and the same seen from afar."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from algorithms.border import Border
from algorithms.fill import LEAST_CONFIDENCE_PERCENT, UNFILLED
from server.analysis.task import ReplacementIndex
from server.raster.grid import Box

NO_DATA: Final = 0
"""The target has no data in a cell."""
SOME_DATA: Final = 1
"""It has data in some of a cell's pixels."""
ALL_DATA: Final = 2
"""It has data in all of them."""


@dataclass(frozen=True, slots=True)
class BlockFields:
    """The fill of one block from one replacement; at full detail with a rim of one cell for interpolation."""

    box: Box
    """Cells covered, or squares of cells."""
    fields: npt.NDArray[np.float32]
    """(h, w, 2 B): gain of every band, then offset of every band."""
    border: Border | None = None
    """Correction of native pixels near the mask's border, with rows and columns of the scene."""


@dataclass(frozen=True, slots=True)
class BlockFill:
    """The fill of one block."""

    source: npt.NDArray[np.uint8]
    """(h, w): 0 original, k filled from the k-th replacement, 255 nodata or not filled."""
    confidence: npt.NDArray[np.uint8]
    """(h, w) 0-100, 0 only where `source` is 255."""
    data: npt.NDArray[np.uint8]
    """(h, w), how much data the target has: `NO_DATA`, `SOME_DATA` or `ALL_DATA`."""
    lacking: npt.NDArray[np.uint8]
    """(h, w), 1 where the replacement that fills a cell lacks some of its pixels, or may lack them."""
    layers: dict[ReplacementIndex, BlockFields]
    """Fields by replacement, where any cell takes it."""


def reduce_fill(fill: BlockFill, block: Box, power: int) -> BlockFill:
    """The fill with squares of 2^`power` cells reduced to one, those cut by the scene's border included.

    A square with any cloud in it is filled, from the first replacement that fills any of it; its confidence is the
    least of its cells, but `LEAST_CONFIDENCE_PERCENT` if it is filled; its fields are their means. Cells without data
    do not count.
    """
    size = 1 << power
    missing = fill.data == NO_DATA
    ranked = _reduce(np.where(fill.source == 0, 254, fill.source).astype(np.uint8), size, np.min, 254)
    unfilled = _reduce(((fill.source == UNFILLED) & ~missing).astype(np.uint8), size, np.max, 0)
    most = _reduce(fill.data, size, np.max, NO_DATA)
    whole = _reduce(fill.data, size, np.min, ALL_DATA) == ALL_DATA
    data = np.where(whole, ALL_DATA, np.minimum(most, SOME_DATA)).astype(np.uint8)
    confidence = _reduce(np.where(missing, 100, fill.confidence).astype(np.uint8), size, np.min, 100)
    confidence = np.where(ranked < 254, np.maximum(confidence, LEAST_CONFIDENCE_PERCENT), confidence)
    box = block.parts(size)
    return BlockFill(
        source=np.where(ranked < 254, ranked, np.where((unfilled > 0) | (data == NO_DATA), UNFILLED, 0)).astype(
            np.uint8
        ),
        confidence=np.where(data == NO_DATA, 0, confidence).astype(np.uint8),
        data=data,
        lacking=_reduce(fill.lacking, size, np.max, 0),
        layers={
            k: BlockFields(box, _means(layer.fields[block.within(layer.box)], size)) for k, layer in fill.layers.items()
        },
    )


def _reduce(
    cells: npt.NDArray[np.uint8], size: int, how: Callable[..., npt.NDArray[np.uint8]], fill: int
) -> npt.NDArray[np.uint8]:
    height, width = cells.shape
    wide = np.pad(cells, [(0, -height % size), (0, -width % size)], constant_values=fill)
    return how(wide.reshape(wide.shape[0] // size, size, wide.shape[1] // size, size), axis=(1, 3))


def _means(fields: npt.NDArray[np.float32], size: int) -> npt.NDArray[np.float32]:
    height, width, count = fields.shape
    wide = np.pad(fields, [(0, -height % size), (0, -width % size), (0, 0)], mode="edge")
    means: npt.NDArray[np.float32] = wide.reshape(wide.shape[0] // size, size, wide.shape[1] // size, size, count).mean(
        axis=(1, 3)
    )
    return means
