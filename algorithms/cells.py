"""Analysis cells: native pixels averaged over squares, on which statistics are taken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import numpy as np
import numpy.typing as npt
from scipy import sparse

from algorithms.errors import whole_number

Scalar = TypeVar("Scalar", bound=np.generic)

AVERAGED_FACTOR: Final = 4
"""Pixels per side of the largest cells that a server averages from native pixels; larger ones it takes from overviews,
so differences within a cell are unavailable, and a single pixel matters little."""


def check_factor(factor: int) -> int:
    """`factor` itself if it is a whole number of at least 1.

    Raises:
        ParameterError: otherwise.
    """
    message = f"analysis_factor {factor} is not a whole number of at least 1"
    return whole_number(factor, least=1, most=None, message=message)


@dataclass(frozen=True, slots=True)
class Cells:
    """Values on cells."""

    values: npt.NDArray[np.float32]
    """(B, h, w) means of the valid pixels, 0 where there is none."""
    valid: npt.NDArray[np.bool_]
    """(h, w), at least one pixel is valid: the cell can be filled."""
    full: npt.NDArray[np.bool_]
    """(h, w), every pixel has a number in every band: the cell can be compared with another date's."""

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return self.values.nbytes + self.valid.nbytes + self.full.nbytes

    def cut(self, place: tuple[slice, slice]) -> Cells:
        """The cells in a place."""
        return Cells(self.values[(slice(None), *place)], self.valid[place], self.full[place])


def stacked_cells(parts: Sequence[Cells]) -> Cells:
    """The bands of several rasters, one after the other, valid and whole where all of them are."""
    if len(parts) == 1:
        return parts[0]
    valid, full = (np.logical_and.reduce([getattr(part, name) for part in parts]) for name in ("valid", "full"))
    return Cells(np.concatenate([part.values for part in parts]), valid, full)


def cell_means(
    values: npt.NDArray[np.generic],
    valid: npt.NDArray[np.bool_],
    factor: int,
    *,
    whole: npt.NDArray[np.bool_] | None = None,
) -> Cells:
    """Average the valid pixels of each square of `factor` x `factor` pixels.

    Args:
        values: (B, H, W); what lies under invalid pixels is ignored, NaN included.
        valid: (H, W).
        factor: pixels per side of a cell. Cells cut by the lower or right border average what they have.
        whole: (H, W), valid pixels with a number in every band; None: all of them.

    Returns:
        ceil(H / factor) x ceil(W / factor) cells.
    """
    everywhere = bool(valid.all())
    clean = values if everywhere else np.where(valid, values, 0)
    whole = valid if whole is None else whole
    if factor == 1:
        return Cells(clean.astype(np.float32), valid, whole)
    # Pixels that a cell has: fewer where the border cuts it.
    has_rows, has_cols = (np.minimum(factor, n - np.arange(0, n, factor)) for n in valid.shape)
    has = np.multiply.outer(has_rows, has_cols).astype(np.float32)
    counts = has if everywhere else _square_sums(valid, factor)
    compared = counts if whole is valid else _square_sums(whole, factor)
    sums = _square_sums(clean, factor)
    sums /= np.maximum(counts, 1)
    return Cells(sums, counts > 0, compared == has)


def _square_sums(planes: npt.NDArray[Any], factor: int) -> npt.NDArray[np.float32]:
    """Sums over squares of (..., H, W), zeros beyond the border.

    Slice by slice, always in the same order: numpy's own sums over axes as short as these take several times as long.
    """
    height, width = planes.shape[-2:]
    pad = [(0, 0)] * (planes.ndim - 2) + [(0, -height % factor), (0, -width % factor)]
    padded = np.pad(planes, pad) if pad[-1][1] or pad[-2][1] else planes
    down = padded[..., ::factor, :].astype(np.float32)
    for i in range(1, factor):
        down += padded[..., i::factor, :]
    result: npt.NDArray[np.float32] = down[..., ::factor].copy()
    for j in range(1, factor):
        result += down[..., j::factor]
    return result


def cell_any(mask: npt.NDArray[np.bool_], factor: int) -> npt.NDArray[np.bool_]:
    """Cells with at least one pixel of the (H, W) mask."""
    if factor == 1:
        return mask
    height, width = mask.shape
    rows, cols = -(-height // factor), -(-width // factor)
    padded = np.pad(mask, [(0, rows * factor - height), (0, cols * factor - width)])
    return np.asarray(padded.reshape(rows, factor, cols, factor).any(axis=(1, 3)))


def on_pixels(cells: npt.NDArray[Scalar], factor: int, shape: tuple[int, ...]) -> npt.NDArray[Scalar]:
    """Cells spread over their pixels, cut to (H, W)."""
    pixels = np.repeat(np.repeat(cells, factor, axis=0), factor, axis=1)
    return pixels[: shape[0], : shape[1]]


def bilinear(
    fields: npt.NDArray[np.float32], rows: npt.NDArray[np.float64], cols: npt.NDArray[np.float64]
) -> npt.NDArray[np.float32]:
    """Sample fields at points.

    Args:
        fields: (h, w, n), values at the centres of the cells of a lattice, so that cell (0, 0) is at (0.5, 0.5).
        rows: (p,) positions in cells from the upper border.
        cols: (p,) positions in cells from the left border.

    Returns:
        (p, n) float32; beyond the outermost centres the nearest value.
    """
    height, width = fields.shape[:2]
    at, weights = corners((height, width), rows, cols)
    return weighted(fields.reshape(height * width, -1), at, weights)


def corners(
    shape: tuple[int, int], rows: npt.NDArray[np.float64], cols: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """The four cells around points, for `bilinear`.

    Args:
        shape: (h, w) of the lattice.
        rows: (p,) positions in cells from the upper border.
        cols: (p,) positions in cells from the left border.

    Returns:
        (p, 4) places of the cells, counted row by row, and their weights.
    """
    height, width = shape
    y = np.clip(rows - 0.5, 0, height - 1)
    x = np.clip(cols - 0.5, 0, width - 1)
    y0 = np.minimum(y.astype(np.int32), max(height - 2, 0))
    x0 = np.minimum(x.astype(np.int32), max(width - 2, 0))
    fy, fx = (y - y0).astype(np.float32), (x - x0).astype(np.float32)
    right, below = (1 if width > 1 else 0), (width if height > 1 else 0)
    at = np.empty((len(y0), 4), np.int32)
    at[:, 0] = y0 * np.int32(width) + x0
    for k, step in enumerate((right, below, below + right), start=1):
        np.add(at[:, 0], np.int32(step), out=at[:, k])
    weights = np.empty((len(y0), 4), np.float32)
    gy, gx = 1 - fy, 1 - fx
    for k, (down, across) in enumerate(((gy, gx), (gy, fx), (fy, gx), (fy, fx))):
        np.multiply(down, across, out=weights[:, k])
    return at, weights


def weighted(
    values: npt.NDArray[np.float32], at: npt.NDArray[np.int32], weights: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """(p, n) sums of (m, n) values at (p, 4) places, by their weights."""
    # As a sparse matrix with four weights per point: gathering the corners one by one takes several times as long.
    starts = np.arange(0, 4 * len(at) + 1, 4)
    matrix: Any = sparse.csr_array((weights.ravel(), at.ravel(), starts), shape=(len(at), len(values)))
    result: npt.NDArray[np.float32] = matrix @ values
    return result
