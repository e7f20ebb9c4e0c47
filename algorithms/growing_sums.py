"""Window sums over an image that is filled in batch by batch, at a cost that does not depend on the window."""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

TABLE_BLOCK = 8
"""Side of a block in pixels. Larger blocks make a batch dearer, smaller ones the sums over blocks; 8 balances them."""
_CHUNK = 64
"""Blocks that are updated together: few enough for the temporary arrays to stay in the processor's cache."""
_SIGNS = np.repeat([1.0, -1.0, -1.0, 1.0], 3)
"""Signs of a window's four corners (bottom right, bottom left, top right, top left), three cells each."""


def block_order(y: IntArray, x: IntArray) -> IntArray:
    """Sort pixels by the block they lie in, which `GrowingSums.add` relies on.

    Args:
        y: (n,) rows.
        x: (n,) columns.

    Returns:
        (n,) indices; pixels of a block keep their order.
    """
    # Two sorts of 16-bit numbers, for which numpy's stable sort takes linear time.
    order = np.argsort(((x + 1) // TABLE_BLOCK).astype(np.uint16), kind="stable")
    return order[np.argsort(((y[order] + 1) // TABLE_BLOCK).astype(np.uint16), kind="stable")]


class GrowingSums:
    """A summed-area table for images whose pixels become known batch by batch.

    A summed-area table answers a window sum in four look-ups but costs the whole image after every change. Here the
    prefix sum at a pixel is the sum of three cells of three tables, so that a batch only touches the blocks of 8 x 8
    pixels it lies in, and the rest, an eighth of the image or less, is summed up again:

    * within the pixel's block, up to the pixel (``inner``);
    * the blocks above, up to the pixel's column within the block (``above``);
    * everything to the left of the block, up to the pixel's row (``left``).

    Use: write the values known at first into `pixels`, call `build`, then alternate `window` and `add`.

    Everything is summed in float64 in a fixed order, one thread, without BLAS: the same input gives the same bytes.
    Sums of integers below 2**53 are exact; centre other data on its mean to keep the rounding of squares small.

    Args:
        height: Rows of the image.
        width: Columns of the image.
        quantities: Number Q of values per pixel.

    Attributes:
        pixels: (height, width, Q) float64 view, zero at first. Its content is lost in `build`.
    """

    pixels: FloatArray

    def __init__(self, height: int, width: int, quantities: int) -> None:
        # A row and a column of zeros in front: the window's upper left corner is just outside of it.
        self._size = (height, width)
        rows, columns = height // TABLE_BLOCK + 1, width // TABLE_BLOCK + 1
        self._blocks = (rows, columns)
        area = rows * columns
        ends = np.cumsum([0, area * TABLE_BLOCK * TABLE_BLOCK, area * TABLE_BLOCK, area * TABLE_BLOCK])
        self._ends = ends
        # One array, so that a window is one product with a sparse matrix of 12 signs a row.
        self._cells = np.zeros((ends[-1], quantities))
        inner, above, left = (self._cells[a:b] for a, b in pairwise(ends.tolist()))
        self._inner = inner.reshape(rows, TABLE_BLOCK, columns, TABLE_BLOCK, quantities)
        self._above = above.reshape(rows, columns, TABLE_BLOCK * quantities)
        self._left = left.reshape(columns, rows, TABLE_BLOCK * quantities)
        # Last column of every block, kept apart because it lies scattered in the inner table.
        self._edge = np.zeros((columns, rows, TABLE_BLOCK, quantities))
        self._stale_rows = np.arange(rows)
        self._stale_columns = np.arange(columns)
        self.pixels = inner.reshape(rows * TABLE_BLOCK, columns * TABLE_BLOCK, quantities)[
            1 : height + 1, 1 : width + 1
        ]

    def build(self) -> None:
        """Turn the values written into `pixels` into sums; once, before the first `window`."""
        for i, strip in enumerate(self._inner):
            for k in range(1, TABLE_BLOCK):
                strip[k] += strip[k - 1]
            for k in range(1, TABLE_BLOCK):
                strip[:, :, k] += strip[:, :, k - 1]
            self._edge[:, i] = strip[:, :, TABLE_BLOCK - 1].transpose(1, 0, 2)

    def corners(self, y: IntArray, x: IntArray, radius: int) -> NDArray[np.int32]:
        """Look up which cells make up the windows round some pixels.

        Args:
            y: (n,) rows of the centres.
            x: (n,) columns of the centres.
            radius: W in pixels; windows have 2 W + 1 pixels a side and are clipped at the border of the image.

        Returns:
            (n, 12) int32 cell numbers for `window`.
        """
        (height, width), (rows, columns) = self._size, self._blocks
        result = np.empty((len(y), 12), dtype=np.int32)
        i = 0
        for v in (np.minimum(y + radius + 1, height), np.maximum(y - radius, 0)):
            for u in (np.minimum(x + radius + 1, width), np.maximum(x - radius, 0)):
                result[:, i] = v * (columns * TABLE_BLOCK) + u
                result[:, i + 1] = v // TABLE_BLOCK * (columns * TABLE_BLOCK) + u + self._ends[1]
                result[:, i + 2] = u // TABLE_BLOCK * (rows * TABLE_BLOCK) + v + self._ends[2]
                i += 3
        return result

    def window(self, corners: NDArray[np.int32]) -> FloatArray:
        """Sum over windows everything known so far.

        Args:
            corners: (n, 12) cell numbers from `corners`.

        Returns:
            (n, Q) float64 sums.
        """
        self._refresh()
        n = len(corners)
        starts = np.arange(0, 12 * n + 1, 12, dtype=np.int32)
        # A sparse product is a compiled gather and add; it is sequential and calls no BLAS.
        matrix = sparse.csr_array((np.tile(_SIGNS, n), corners.ravel(), starts), shape=(n, len(self._cells)))
        return np.asarray(matrix @ self._cells, dtype=np.float64)

    def add(self, y: IntArray, x: IntArray, values: FloatArray) -> None:
        """Add values to pixels.

        Args:
            y: (n,) rows; the pixels sorted as by `block_order`, none twice.
            x: (n,) columns.
            values: (n, Q) what to add.
        """
        block = (y + 1) // TABLE_BLOCK * self._blocks[1] + (x + 1) // TABLE_BLOCK
        new = np.ones(len(block), dtype=bool)
        new[1:] = block[1:] != block[:-1]
        starts = np.append(np.flatnonzero(new), len(block))
        slots = (
            (np.cumsum(new) - 1) * (TABLE_BLOCK * TABLE_BLOCK)
            + (y + 1) % TABLE_BLOCK * TABLE_BLOCK
            + (x + 1) % TABLE_BLOCK
        )
        rows, columns = np.divmod(block[new], self._blocks[1])
        quantities = values.shape[1]
        inner = self._inner.reshape(self._blocks[0], TABLE_BLOCK, self._blocks[1], TABLE_BLOCK * quantities)
        buffer = np.empty((_CHUNK, TABLE_BLOCK, TABLE_BLOCK, quantities))
        for a in range(0, len(rows), _CHUNK):
            b = min(a + _CHUNK, len(rows))
            first, last = starts[a], starts[b]
            change = buffer[: b - a]
            change.fill(0)
            change.reshape(-1, quantities)[slots[first:last] - a * (TABLE_BLOCK * TABLE_BLOCK)] = values[first:last]
            for k in range(1, TABLE_BLOCK):
                change[:, k] += change[:, k - 1]
            for k in range(1, TABLE_BLOCK):
                change[:, :, k] += change[:, :, k - 1]
            inner[rows[a:b], :, columns[a:b]] += change.reshape(b - a, TABLE_BLOCK, TABLE_BLOCK * quantities)
            self._edge[columns[a:b], rows[a:b]] += change[:, :, TABLE_BLOCK - 1]
        self._stale_rows = np.union1d(self._stale_rows, rows)
        self._stale_columns = np.union1d(self._stale_columns, columns)

    def _refresh(self) -> None:
        """Sum up the blocks again where they changed."""
        if not len(self._stale_rows):
            return
        rows, columns = self._blocks
        bottom = self._inner[:, TABLE_BLOCK - 1].reshape(rows, columns, -1)
        _accumulate(bottom, self._above, self._stale_columns)
        first = int(self._stale_rows[0])
        # What lies above and to the left comes in with the sums above the last column of every block.
        ends = self._above.reshape(rows, columns, TABLE_BLOCK, -1)[first:, :, TABLE_BLOCK - 1, None]
        left = self._left.reshape(columns, rows, TABLE_BLOCK, -1)[:, first:]
        for j in range(1, columns):
            np.add(self._edge[j - 1, first:], ends[:, j - 1], out=left[j])
            left[j] += left[j - 1]
        self._stale_rows = self._stale_columns = np.arange(0)


def _accumulate(source: FloatArray, out: FloatArray, lines: IntArray) -> None:
    """Write exclusive prefix sums over the first axis of (n, m, q), for the given indices of the second axis only."""
    if 2 * len(lines) > source.shape[1]:
        # Most lines: all of them without the copies, row by row because that runs over contiguous memory.
        for i in range(1, len(source)):
            np.add(out[i - 1], source[i - 1], out=out[i])
        return
    part = source[:-1, lines]
    for i in range(1, len(part)):
        part[i] += part[i - 1]
    out[1:, lines] = part
