"""Analysis cells: native pixels averaged over squares, on which statistics are taken."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from algorithms.errors import ParameterError


def check_factor(factor: int) -> int:
    """`factor` itself if it is a whole number of at least 1.

    Raises:
        ParameterError: otherwise.
    """
    if isinstance(factor, bool) or factor != int(factor) or factor < 1:
        raise ParameterError(f"analysis_factor {factor} is not a whole number of at least 1")
    return int(factor)


def cell_means(
    values: npt.NDArray[np.generic], valid: npt.NDArray[np.bool_], factor: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Average the valid pixels of each square of `factor` x `factor` pixels.

    Args:
        values: (B, H, W); what lies under invalid pixels is ignored, NaN included.
        valid: (H, W).
        factor: pixels per side of a cell. Cells cut by the lower or right border average what they have.

    Returns:
        (B, ceil(H / factor), ceil(W / factor)) float32, zero where a cell has no valid pixel, and the cells' validity.
    """
    clean = np.where(valid, values, 0).astype(np.float32)
    if factor == 1:
        return clean, valid
    bands, height, width = clean.shape
    rows, cols = -(-height // factor), -(-width // factor)
    pad = [(0, rows * factor - height), (0, cols * factor - width)]
    squares = np.pad(clean, [(0, 0), *pad]).reshape(bands, rows, factor, cols, factor)
    counts = np.pad(valid, pad).reshape(rows, factor, cols, factor).sum(axis=(1, 3), dtype=np.float32)
    sums = squares.sum(axis=(2, 4), dtype=np.float32)
    return sums / np.maximum(counts, 1), np.asarray(counts > 0)


def cell_any(mask: npt.NDArray[np.bool_], factor: int) -> npt.NDArray[np.bool_]:
    """Cells with at least one pixel of the (H, W) mask."""
    if factor == 1:
        return mask
    height, width = mask.shape
    rows, cols = -(-height // factor), -(-width // factor)
    padded = np.pad(mask, [(0, rows * factor - height), (0, cols * factor - width)])
    return np.asarray(padded.reshape(rows, factor, cols, factor).any(axis=(1, 3)))


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
    y = np.clip(rows - 0.5, 0, height - 1)
    x = np.clip(cols - 0.5, 0, width - 1)
    y0 = np.minimum(y.astype(np.intp), max(height - 2, 0))
    x0 = np.minimum(x.astype(np.intp), max(width - 2, 0))
    fy = (y - y0).astype(np.float32)[:, None]
    fx = (x - x0).astype(np.float32)[:, None]
    flat = fields.reshape(height * width, -1)
    corner = y0 * width + x0
    right = 1 if width > 1 else 0
    below = width if height > 1 else 0
    upper = flat[corner] * (1 - fx) + flat[corner + right] * fx
    lower = flat[corner + below] * (1 - fx) + flat[corner + below + right] * fx
    result: npt.NDArray[np.float32] = upper * (1 - fy) + lower * fy
    return result
