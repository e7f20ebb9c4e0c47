"""The last step of the residual correction, in pixels: what differs within a cell at the mask's border.

The membrane of `algorithms.residual` knows the residual per analysis cell. What is left on the clear pixels next to the
mask is carried inwards by a fixed number of Jacobi steps of the same equation, and so no farther than as many pixels:
whoever knows that much ground around a place gets the same values there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage, sparse

from algorithms.cells import AVERAGED_FACTOR, corners, weighted
from algorithms.fill import Image, Mask, apply_fields
from algorithms.loops import compiled_loops
from algorithms.residual import GUIDE_EDGE, flow_between
from algorithms.scene import SceneFit

BORDER_STEPS: Final = 8
"""Jacobi steps, and so the reach in pixels. All of them (80) would lower the error by another 0.3 %."""
BORDER_KAPPA: Final = 1 / 4
"""Decay per pixel."""
BORDER_MARGIN: Final = BORDER_STEPS + 1
"""Pixels around a place that its correction depends on."""
CORRECTED_FACTORS: Final = range(2, AVERAGED_FACTOR + 1)
"""Pixels per side of cells for which the step is made: at 1 the cells are pixels."""


@dataclass(frozen=True, slots=True)
class Border:
    """A correction of some pixels of an image, those near the border of its mask."""

    rows: npt.NDArray[np.int32]
    """(p,) rows of the pixels."""
    cols: npt.NDArray[np.int32]
    """(p,) columns."""
    values: Image
    """(p, B), to be added to the fill; on clear pixels next to the mask what the fill misses."""

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return self.rows.nbytes + self.cols.nbytes + self.values.nbytes


def correct_border(
    gain: Image,
    offset: Image,
    target: Image,
    replacement: Image,
    *,
    known: Mask,
    wanted: Mask,
    scene: SceneFit,
    factor: int,
) -> Border:
    """The correction near the border of a mask.

    Args:
        gain: (B, h, w), as `FillFields` has it, on the cells of the region.
        offset: (B, h, w).
        target: (B, H, W) pixels of the region, used where `known`.
        replacement: (B, H, W), used on the pixels known and wanted.
        known: (H, W), clear pixels at which the residual is known.
        wanted: (H, W), pixels filled.
        scene: the scene stage.
        factor: pixels per side of a cell.
    """
    ring = known & np.asarray(ndimage.binary_dilation(wanted))
    rows, cols = np.nonzero(ring)
    fill = apply_fields(gain, offset, replacement[:, rows, cols], (rows + 0.5) / factor, (cols + 0.5) / factor)
    return border_correction((target[:, rows, cols] - fill).T, ring, wanted, scene.standardise(replacement))


def border_correction(missed: Image, ring: Mask, wanted: Mask, guide: Image) -> Border:
    """Carry what the fill misses on the ring of clear pixels into the mask.

    `u <- S u`, `BORDER_STEPS` times; S averages the four neighbours by their flow (`screened_membrane` says how the
    guide sets it), the ring keeps its value, and everything that is neither ring nor wanted is a wall.

    Args:
        missed: (n, B), target minus fill on the ring, in row-major order.
        ring: (H, W), known pixels next to wanted ones.
        wanted: (H, W), pixels filled.
        guide: (C, H, W), the replacement in standard deviations of the scene.

    Returns:
        The correction of wanted pixels within `BORDER_STEPS` of the ring, and of the ring itself.
    """
    inside = ring | wanted
    near = np.asarray(ndimage.binary_dilation(ring, iterations=BORDER_STEPS, mask=inside))
    rows, cols = (axis.astype(np.int32) for axis in np.nonzero(near))
    fixed = ring[rows, cols]
    loops = compiled_loops().loops
    if loops is None or not len(rows):
        return Border(rows, cols, numpy_carried(rows, cols, fixed, missed, inside, guide))
    edge, decay = np.float32(len(guide) * GUIDE_EDGE**2), np.float32(BORDER_KAPPA**2)
    missed, guide = np.ascontiguousarray(missed), np.ascontiguousarray(guide)
    values = loops.compiled_carried(rows, cols, fixed, missed, inside, guide, edge, decay, BORDER_STEPS)
    return Border(rows, cols, values)


def numpy_carried(
    rows: npt.NDArray[np.int32], cols: npt.NDArray[np.int32], fixed: Mask, missed: Image, inside: Mask, guide: Image
) -> Image:
    """(p, B) correction of pixels after all steps.

    Args:
        rows: (p,) rows of the pixels, in row-major order.
        cols: (p,) columns.
        fixed: (p,), those that keep their value.
        missed: (n, B) values of these.
        inside: (H, W), pixels that are no wall.
        guide: (C, H, W).
    """
    count = len(rows)
    width = inside.shape[1] + 2
    here = (rows + 1) * np.int32(width) + (cols + 1)
    number = np.full((inside.shape[0] + 2) * width, -1, np.int32)
    number[here] = np.arange(count, dtype=np.int32)
    open_to = np.pad(inside, 1).ravel()
    sight = np.pad(guide, [(0, 0), (1, 1), (1, 1)]).reshape(len(guide), -1)
    degree, neighbours = np.zeros(count, np.float32), np.zeros(count, np.float32)
    origins, ends, flows = [], [], []
    for shift in (-width, -1, 1, width):
        beside = here + shift
        flow = flow_between((plane[here] - plane[beside] for plane in sight), len(sight))
        flow[~open_to[beside]] = 0
        degree += flow
        neighbours += open_to[beside]
        linked = np.flatnonzero((number[beside] >= 0) & ~fixed)
        origins.append(linked)
        ends.append(number[beside[linked]])
        flows.append(flow[linked])
    diagonal = np.maximum(degree * (1 + np.float32(BORDER_KAPPA**2) / np.maximum(neighbours, 1)), np.float32(1e-9))
    kept = np.flatnonzero(fixed)
    origin = np.concatenate([*origins, kept])
    weights = np.concatenate([*flows, diagonal[kept]]) / diagonal[origin]
    step: Any = sparse.csr_array((weights, (origin, np.concatenate([*ends, kept]))), shape=(count, count))  # type: ignore[call-overload,arg-type,unused-ignore]
    values = np.zeros((count, missed.shape[1]), np.float32)
    values[kept] = missed
    for _ in range(BORDER_STEPS):
        values = step @ values
    return values


def sample_border(
    border: Border, rows: npt.NDArray[np.float64], cols: npt.NDArray[np.float64], bands: tuple[int, ...]
) -> tuple[npt.NDArray[np.intp], Image]:
    """The correction at points, interpolated between pixels.

    Args:
        border: the correction of at least one pixel.
        rows: (n,) positions in pixels, pixel k at k + 0.5, from where the border's rows count.
        cols: (n,) positions in pixels.
        bands: positions of the bands wanted.

    Returns:
        Numbers (m,) of the points that have one, and its (m, bands) values.
    """
    top, left = border.rows.min(), border.cols.min()
    at_row, at_col = border.rows - top, border.cols - left
    # Places in `table`, whose first row is that of pixels without a correction.
    number = np.zeros((int(at_row.max()) + 1, int(at_col.max()) + 1), np.int32)
    number[at_row, at_col] = np.arange(1, len(at_row) + 1, dtype=np.int32)
    table = np.zeros((len(at_row) + 1, len(bands)), np.float32)
    table[1:] = border.values.take(bands, axis=1)
    y, x = (rows - top).astype(np.intp), (cols - left).astype(np.intp)
    inside = np.flatnonzero((rows >= top) & (y < number.shape[0]) & (cols >= left) & (x < number.shape[1]))
    points = inside[number[y[inside], x[inside]] > 0]
    at, weights = corners(number.shape, rows[points] - top, cols[points] - left)
    return points, weighted(table, number.ravel()[at], weights)
