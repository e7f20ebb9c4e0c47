"""Residual correction: what is left at the mask's border fades into the fill.

The third step of the paper (Li et al. 2019), as a screened membrane: inside the mask `lap(u) = kappa^2 u`, on the
border u is the known difference. With kappa = 0 this is Poisson blending; with kappa > 0 the influence dies as
exp(-kappa d), so a tile needs no more than its neighbourhood.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from algorithms.errors import ParameterError
from algorithms.relaxation import Chessboard, relaxed, step_lengths

MEMBRANE_KAPPA: Final = 1 / 20
"""Decay of the correction per native pixel. 1/48 is better by 2 % under haze; a short reach keeps reads small."""
GUIDE_EDGE: Final = 0.2
"""Step of the guide, in standard deviations of the scene, across which half of the correction passes."""
MEMBRANE_REACH: Final = 4.0
"""The iteration ends after MEMBRANE_REACH / kappa steps, and so does the border's influence after as many pixels, where
1.8 % would be left. More steps bring a fill no closer to the ground (docs/fidelity.md)."""
HASTE: Final = 1.5
"""The steps are the best ones for a decay HASTE times as fast: so few of them leave a smaller error."""


def residual_reach(factor: int, kappa: float = MEMBRANE_KAPPA) -> int:
    """Cells from which a border can reach a point: a step each, and one for each colour of the chessboard at least."""
    return max(2, math.ceil(MEMBRANE_REACH / (kappa * factor)))


def screened_membrane(
    border: npt.NDArray[np.float32],
    known: npt.NDArray[np.bool_],
    unknown: npt.NDArray[np.bool_],
    *,
    kappa: float,
    guide: npt.NDArray[np.float32] | None = None,
    parity: int = 0,
) -> npt.NDArray[np.float32]:
    """Extend values from known cells into unknown ones.

    Five-point discretisation, solved by Jacobi iteration with Chebyshev acceleration: no inner products, hence the same
    bits whatever the number of threads. Each step updates the cells of one colour, as on a chessboard, from those of
    the other (cyclic Chebyshev iteration, Golub and Varga 1961, Numerische Mathematik 3): the same result for half the
    work. Cells that are neither known nor unknown are walls (no flow).

    The number of steps is fixed, and each goes one cell farther: a cell depends on those within `residual_reach` of it
    and has the same bits in any array that holds these.

    What changed between the dates changed field by field. With a guide the correction keeps to the field it comes
    from: the flow between neighbours is 1 / (1 + d^2 / GUIDE_EDGE^2), d their distance in the guide (Perona and Malik
    1990, IEEE TPAMI 12(7); weighted least squares of Farbman et al. 2008, ACM ToG 27(3)). The decay is
    kappa^2 times the mean flow, so that textured ground does not lose the correction.

    Args:
        border: (B, H, W), used where `known`.
        known: (H, W).
        unknown: (H, W), disjoint from `known`.
        kappa: decay per cell, > 0.
        guide: (C, H, W), the replacement in standard deviations of the scene; None: the same flow everywhere.
        parity: row plus column, in the scene, of the first cell: its colour.

    Returns:
        (B, H, W) float32: `border` where known, the solution where unknown, 0 elsewhere.

    Raises:
        ParameterError: kappa not positive.
    """
    if not kappa > 0:
        raise ParameterError(f"kappa {kappa} must be positive")
    result = np.where(known, border, np.float32(0))
    count = int(unknown.sum())
    if count == 0:
        return result
    rows, cols = (axis.astype(np.int32) for axis in np.nonzero(unknown))
    colour = (rows + cols + parity) % 2
    split = count - int(colour.sum())
    width = unknown.shape[1] + 2
    order = np.argsort(colour, kind="stable")
    rows, cols = rows[order], cols[order]
    here = (rows + 1) * np.int32(width) + (cols + 1)
    value = np.pad(result, [(0, 0), (1, 1), (1, 1)])
    flat = value.reshape(len(border), -1)
    is_known = np.pad(known, 1).ravel()
    onwards = {shift: _onwards(guide, shift, flat.shape[1]) for shift in (1, width)}
    number = np.full(flat.shape[1], -1, np.int32)
    number[here] = np.arange(count, dtype=np.int32)
    neighbours, flows = np.empty((count, 4), np.int32), np.empty((count, 4), np.float32)
    degree, near = np.zeros(count, np.float32), np.zeros(count, np.float32)
    source = np.zeros((count, len(border)), np.float32)
    for k, shift in enumerate((-width, -1, 1, width)):
        beside = here + shift
        fixed = is_known[beside]
        flow = onwards[abs(shift)][np.minimum(here, beside)]
        source[fixed] += (flow[fixed] * flat[:, beside[fixed]]).T
        neighbours[:, k], flows[:, k] = number[beside], flow
        open_ = fixed | (neighbours[:, k] >= 0)
        near += open_
        degree += np.where(open_, flow, np.float32(0))
    # kappa^2 in units of the mean flow: 1 where there is no guide.
    diagonal = np.maximum(degree * (1 + np.float32(kappa**2) / np.maximum(near, 1)), np.float32(1e-9))[:, None]
    source /= diagonal
    flows /= diagonal
    board = Chessboard(rows, cols, split, neighbours, flows, source)
    steps = step_lengths(4 / (4 + (HASTE * kappa) ** 2), residual_reach(1, kappa))
    flat[:, here] = relaxed(board, steps).T
    return value[:, 1:-1, 1:-1]


def flow_between(steps: Iterable[npt.NDArray[np.float32]], planes: int) -> npt.NDArray[np.float32]:
    """Flow `1 / (1 + d^2 / GUIDE_EDGE^2)` between neighbours, d^2 their mean squared distance in the guide.

    Args:
        steps: (n,) differences between neighbours, for each of the guide's planes.
        planes: how many planes.
    """
    distance: Any = np.float32(0)
    for step in steps:
        distance = distance + step**2
    return np.asarray(1 / (1 + distance / np.float32(planes * GUIDE_EDGE**2)), np.float32)


def _onwards(guide: npt.NDArray[np.float32] | None, shift: int, count: int) -> npt.NDArray[np.float32]:
    """Flow between each of `count` cells, the guide's with a rim of one, in a row, and the one `shift` further on."""
    if guide is None:
        return np.ones(count - shift, np.float32)
    rows = (np.pad(plane, 1).ravel() for plane in guide)
    return flow_between((row[shift:] - row[:-shift] for row in rows), len(guide))
