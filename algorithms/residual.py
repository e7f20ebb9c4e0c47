"""Residual correction: what is left at the mask's border fades into the fill.

The third step of the paper (Li et al. 2019), as a screened membrane: inside the mask `lap(u) = kappa^2 u`, on the
border u is the known difference. With kappa = 0 this is Poisson blending; with kappa > 0 the influence dies as
exp(-kappa d), so a tile needs no more than its neighbourhood.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy import sparse

from algorithms.errors import ParameterError

KAPPA: Final = 1 / 12
"""Decay of the correction per native pixel. 1/20 is better by 1 % under haze; a short reach keeps reads small."""
EDGE: Final = 0.2
"""Step of the guide, in standard deviations of the scene, across which half of the correction passes."""
REACH: Final = 6.0
"""The border's influence ends after REACH / kappa pixels (0.25 % is left)."""
TOLERANCE: Final = 1e-4
"""Relative error at which the iteration stops."""


def residual_reach(factor: int, kappa: float = KAPPA) -> int:
    """Cells from which a border can reach a point."""
    return math.ceil(REACH / (kappa * factor))


def screened_membrane(
    border: npt.NDArray[np.float32],
    known: npt.NDArray[np.bool_],
    unknown: npt.NDArray[np.bool_],
    *,
    kappa: float,
    guide: npt.NDArray[np.float32] | None = None,
) -> npt.NDArray[np.float32]:
    """Extend values from known cells into unknown ones.

    Five-point discretisation, solved by Jacobi iteration with Chebyshev acceleration: no inner products, hence the same
    bits whatever the number of threads. Cells that are neither known nor unknown are walls (no flow).

    What changed between the dates changed field by field. With a guide the correction keeps to the field it comes
    from: the flow between neighbours is 1 / (1 + d^2 / EDGE^2), d their distance in the guide (Perona and Malik 1990,
    IEEE TPAMI 12(7); weighted least squares of Farbman et al. 2008, ACM ToG 27(3)). The decay is
    kappa^2 times the mean flow, so that textured ground does not lose the correction.

    Args:
        border: (B, H, W), used where `known`.
        known: (H, W).
        unknown: (H, W), disjoint from `known`.
        kappa: decay per cell, > 0.
        guide: (C, H, W), the replacement in standard deviations of the scene; None: the same flow everywhere.

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
    height, width = unknown.shape
    number = np.full((height + 2, width + 2), -1, np.int32)
    inner = number[1:-1, 1:-1]
    inner[unknown] = np.arange(count, dtype=np.int32)
    here = np.flatnonzero(number.ravel() >= 0)
    value = np.pad(result, [(0, 0), (1, 1), (1, 1)]).reshape(len(border), -1)
    is_known = np.pad(known, 1).ravel()
    sight = None if guide is None else np.pad(guide, [(0, 0), (1, 1), (1, 1)]).reshape(len(guide), -1)
    rows, cols, flows = [], [], []
    degree, near = np.zeros(count, np.float32), np.zeros(count, np.float32)
    source = np.zeros((count, len(border)), np.float32)
    flat = number.ravel()
    for shift in (-(width + 2), -1, 1, width + 2):
        neighbour = here + shift
        fixed = is_known[neighbour]
        flow = np.ones(count, np.float32)
        if sight is not None:
            distance = np.zeros(count, np.float32)
            for plane in sight:
                distance += (plane[here] - plane[neighbour]) ** 2
            flow = (1 / (1 + distance / np.float32(len(sight) * EDGE**2))).astype(np.float32)
        source[fixed] += (flow[fixed] * value[:, neighbour[fixed]]).T
        free = flat[neighbour] >= 0
        rows.append(np.flatnonzero(free))
        cols.append(flat[neighbour[free]])
        flows.append(flow[free])
        near += fixed | free
        degree += np.where(fixed | free, flow, np.float32(0))
    # kappa^2 in units of the mean flow: 1 where there is no guide.
    diagonal = np.maximum(degree * (1 + np.float32(kappa**2) / np.maximum(near, 1)), np.float32(1e-9))
    row = np.concatenate(rows)
    weights = (np.concatenate(flows) / diagonal[row]).astype(np.float32)
    step: Any = sparse.csr_array((weights, (row, np.concatenate(cols))), shape=(count, count))  # type: ignore[call-overload,arg-type,unused-ignore]
    source /= diagonal[:, None]
    bound = 4 / (4 + kappa**2)
    rate = bound / (1 + math.sqrt(1 - bound**2))
    before = np.zeros_like(source)
    now = source.copy()
    omega = 2 / (2 - bound**2)
    for _ in range(math.ceil(math.log(TOLERANCE) / math.log(rate))):
        after = step @ now
        after += source
        after -= before
        after *= np.float32(omega)
        after += before
        before, now = now, after
        omega = 1 / (1 - bound**2 * omega / 4)
    result[:, unknown] = now.T
    return result
