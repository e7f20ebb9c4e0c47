"""Wide windows: what holds where too little ground near a cloud is clear, from cells three times as large.

They rest on no mask, which would have to be inferred: ground counts where both dates differ no more than clear ground
does, which keeps cloud and shadow out as well as a mask, and ground that changed, too (docs/algorithm.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from algorithms.adjust import pooled_sums, scene_prior
from algorithms.cells import Cells
from algorithms.fill import padded
from algorithms.moments import NodeLattice, WiderMeans, node_lattice, window_means
from algorithms.options import CloudOptions
from algorithms.scene import TRUSTED_CELLS, SceneFit

WIDE_TIMES: Final = 3
"""Cells per side of a cell of wide windows: 60 m where cells are 20 m, which a server has for distant views anyway."""
WIDE_LEVELS: Final = 2
"""Windows of radius 2W and 4W."""
COMPARABLE_NOISE: Final = 2.0
"""Difference of the dates, in noise of clear ground (root mean square of the bands), up to which ground counts."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class WideGround:
    """Both dates on large cells."""

    target: Cells
    """The target."""
    other: Cells
    """The replacement, or the bands of several."""


def wide_lattice(window: int, factor: int) -> NodeLattice:
    """Lattice of wide windows for windows of radius `window` native pixels on cells of `factor` pixels."""
    return node_lattice(2 * window, WIDE_TIMES * factor)


def wide_nodes(cells: range, lattice: NodeLattice, length: int) -> range:
    """Nodes between which positions in `cells` lie.

    Args:
        cells: cells of the fill.
        lattice: from `wide_lattice`.
        length: large cells along the axis of the whole scene.
    """
    side, count = WIDE_TIMES * lattice.spacing, -(-length // lattice.spacing)
    return range(max(0, cells.start // side - 1), min(count, (cells.stop - 1) // side + 2))


def comparable(
    target: npt.NDArray[np.float32], replacement: npt.NDArray[np.float32], scene: SceneFit
) -> npt.NDArray[np.bool_]:
    """(H, W), ground of a (B, H, W) target that a (J, H, W) replacement explains as well as clear ground.

    None where the scene's relation rests on too little clear ground to be a measure.
    """
    if scene.count < TRUSTED_CELLS:
        return np.zeros(target.shape[1:], bool)
    away = target - scene.estimate(scene.standardise(replacement))
    away /= scene.noise.astype(np.float32)[:, None, None]
    return np.asarray((away**2).mean(axis=0) <= np.float32(COMPARABLE_NOISE**2))


def wide_sums(
    ground: WideGround, scene: SceneFit, lattice: NodeLattice, *, adjustment: str = CloudOptions.adjustment
) -> Floats:
    """Sums per node, as `algorithms.adjust.pooled_sums` makes them, over the ground that is comparable.

    Args:
        ground: both dates, from a node on.
        scene: the scene stage.
        lattice: from `wide_lattice`.
        adjustment: `regression`, `moment` or `joint`.
    """
    t, r = ground.target, ground.other
    clear = t.full & r.full
    clear[clear] = comparable(t.values[:, clear][:, None], r.values[:, clear][:, None], scene)[0]
    return pooled_sums(
        padded(t.values, lattice.spacing),
        padded(r.values, lattice.spacing),
        padded(clear, lattice.spacing),
        scene,
        lattice,
        adjustment=adjustment,
    )


def wider_means(
    sums: Floats,
    scene: SceneFit,
    lattice: NodeLattice,
    *,
    rows: range,
    cols: range,
    corner: tuple[float, float] = (0, 0),
    adjustment: str = CloudOptions.adjustment,
) -> WiderMeans:
    """What wide windows hold at some nodes.

    Args:
        sums: from `wide_sums`, over all that the windows of the nodes touch, from an even node on.
        scene: the scene stage.
        lattice: from `wide_lattice`.
        rows: rows of nodes, counted from the sums' first.
        cols: columns of nodes.
        corner: row and column at which the sums begin, in cells of the fill from those that its own sums begin with.
        adjustment: `regression`, `moment` or `joint`.
    """
    prior = scene_prior(scene, adjustment)
    means = window_means(sums, prior, lattice, rows=rows, cols=cols, levels=WIDE_LEVELS).means
    side = WIDE_TIMES * lattice.spacing
    return WiderMeans(means, corner[0] + rows.start * side, corner[1] + cols.start * side, side)
