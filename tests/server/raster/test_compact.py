"""Cells as they are kept: the same values in less memory."""

import numpy as np
import pytest

from algorithms.cells import Cells, cell_means
from server.raster.compact import CompactCells, compact_mask, joined_cells, mask_bytes
from server.raster.grid import BlockNumber, Box, Grid
from server.raster.pixels import Pixels

SIZE = 40


def cells_of(pixels: np.ndarray, factor: int, *, gaps: bool) -> Cells:
    """Cells of (B, h, w) pixels, some of which are missing if there are `gaps`."""
    there = np.random.default_rng(1).random(pixels.shape[1:]) > (0.2 if gaps else -1)
    return cell_means(pixels, there, factor)


@pytest.mark.parametrize(
    ("pixels", "factor", "gaps", "halved"),
    [
        (lambda rng: rng.integers(0, 16383, (3, 80, 80)).astype(np.uint16), 2, False, True),
        (lambda rng: rng.integers(0, 16383, (3, 40, 40)).astype(np.uint16), 1, True, True),
        (lambda rng: rng.integers(0, 16383, (3, 80, 80)).astype(np.uint16), 2, True, False),  # thirds
        (lambda rng: rng.integers(0, 65535, (3, 80, 80)).astype(np.uint16), 2, False, False),  # too large
        (lambda rng: rng.integers(-50, 50, (3, 80, 80)).astype(np.int16), 2, False, False),
        (lambda rng: rng.random((3, 80, 80)).astype(np.float32), 2, False, False),
        (lambda rng: np.where(rng.random((3, 80, 80)) > 0.5, np.nan, 4).astype(np.float32), 2, False, False),
    ],
)
def test_boxes_of_compact_cells_are_those_of_the_cells(pixels, factor, gaps, halved) -> None:  # type: ignore[no-untyped-def]
    cells = cells_of(pixels(np.random.default_rng(0)), factor, gaps=gaps)
    grid, box = Grid(factor=factor, rows=SIZE, cols=SIZE), Box(3, 38, 0, 33)

    def fetch(number: BlockNumber) -> CompactCells:
        return CompactCells.of(cells.cut(grid.block(number, 16).within(Box(0, SIZE, 0, SIZE))))

    found, expected = joined_cells(fetch, box, grid, size=16, bands=3), cells.cut(box.within(Box(0, SIZE, 0, SIZE)))
    assert found.values.dtype == np.float32
    for name in ("values", "valid", "full"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    kept = CompactCells.of(cells)
    assert kept.values.nbytes == cells.values.nbytes // (2 if halved else 1)
    if not gaps:
        assert kept.nbytes < cells.nbytes - 1.9 * SIZE**2


def test_a_mask_that_is_set_everywhere_takes_no_memory() -> None:
    whole, holed = np.ones((8, 9), bool), np.ones((8, 9), bool)
    holed[3, 4] = False
    for mask, size in ((whole, 1), (holed, 72)):
        np.testing.assert_array_equal(compact_mask(mask), mask)
        assert mask_bytes(compact_mask(mask)) == size
    values = np.zeros((2, 8, 9), np.uint16)
    assert Pixels(values, whole, whole.copy()).compact.nbytes == values.nbytes + 2
    assert Pixels(values, holed, holed).compact.nbytes == values.nbytes + 72
