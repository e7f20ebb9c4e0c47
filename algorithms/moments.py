"""The window stage: windowed sums over clear cells, blended from wide windows to narrow ones.

Windows of radius W are taken on data sum-pooled to nodes of a lattice that is fixed to the scene. Where a window holds
enough clear ground wider ones (`algorithms.wide`), with the same number of nodes at each of their levels, have weight
zero; where it does not, the estimate widens continuously, and in the end falls back to the scene.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np
import numpy.typing as npt

from algorithms.masks import dilate

Floats = npt.NDArray[np.float64]
Real = TypeVar("Real", np.float32, np.float64)

ENOUGH_CLEAR: Final = 0.1
"""Share of clear cells (hi) from which on a window needs no wider one. 0.25 lowers the error by 0.3 %, but at a corner
of the scene, where three quarters of a window lie outside, it calls for every level even under few clouds."""
PRIOR: Final = 0.1
"""Weight (n0) of the wider window where a window is empty, as a share of its area."""
STEPS_PER_NODE: Final = 1 << 20
"""Positions between the nodes of wide windows."""
NARROW_PIXELS: Final = 40, 24
"""Half widths of the windows below W, for scenes whose ground asks for them (`algorithms.narrow`)."""
NARROW_PRIOR: Final = 0.05
"""Weight of the wider window in a narrow one that is wholly trusted, as a share of its area."""


@dataclass(frozen=True, slots=True)
class NodeLattice:
    """Where the windows' centres lie."""

    spacing: int
    """Cells between nodes at the finest level."""
    radius: int
    """Radius of a window in nodes, at every level."""
    narrower: tuple[int, ...] = ()
    """Radii in finest nodes of windows below W, wide to narrow."""

    @property
    def area(self) -> int:
        """Cells in a window of the finest level."""
        return ((2 * self.radius + 1) * self.spacing) ** 2

    def reach(self, levels: int) -> int:
        """Cells from a rectangle of whole nodes to the farthest cell that `levels` levels of its windows can touch."""
        widest = self.spacing << (levels - 1)
        # One node for the interpolation between nodes; at wider levels two more, as these stand on every other one.
        return (self.radius + 1) * widest + 2 * (widest - self.spacing)

    def alignment(self, levels: int) -> int:
        """Cells that the corners of an extent must be multiples of."""
        return self.spacing << (levels - 1)

    def ground(self, nodes: range, *, level: int) -> range:
        """Cells under the windows of `level` (from 1) that `nodes` of the level below take their values from."""
        side, first, last = self.spacing << level, (nodes.start - 1) // 2, (nodes.stop - 2) // 2 + 1
        return range((first - self.radius) * side, (last + self.radius + 1) * side)


def node_lattice(window: int, factor: int) -> NodeLattice:
    """Lattice for windows of radius `window` native pixels on cells of `factor` pixels.

    Three to seven nodes per radius: finer nodes cost more and change nothing, since windowed means are smooth.
    """
    radius = max(1.0, window / factor)
    spacing = 1
    while radius / (2 * spacing) >= 3.3:
        spacing *= 2
    nodes = max(1, round(radius / spacing))
    narrow = (round(pixels / (factor * spacing) - 0.5) for pixels in NARROW_PIXELS)
    return NodeLattice(spacing, nodes, tuple(dict.fromkeys(r for r in narrow if 0 < r < nodes)))


def pool(plane: npt.NDArray[np.float32], spacing: int) -> Floats:
    """Sums over squares of `spacing` cells; the sides of the (H, W) plane are multiples of it."""
    height, width = plane.shape
    if spacing == 1:
        return plane.astype(np.float64)
    # Rows first: long contiguous additions, and little left for the slow short ones.
    down: Floats = plane.reshape(height // spacing, spacing, width).sum(axis=1, dtype=np.float64)
    result: Floats = down.reshape(height // spacing, width // spacing, spacing).sum(axis=2)
    return result


def box_sums(sums: Floats, radius: int, rows: range | None = None, cols: range | None = None) -> Floats:
    """Sums over squares of `2 * radius + 1` nodes around the nodes `rows` x `cols` (all) of (C, h, w); zero outside.

    Added in the order of the nodes, so that a sum has the same bits in whatever array its nodes lie.
    """
    for axis, wanted in ((1, rows), (2, cols)):
        length = sums.shape[axis]
        nodes = range(length) if wanted is None else wanted
        inside = range(max(nodes.start - radius, 0), min(nodes.stop + radius, length))
        pad = [(0, 0)] * 3
        pad[axis] = inside.start - (nodes.start - radius), nodes.stop + radius - inside.stop
        wide = np.pad(sums[_along(axis, inside)], pad)
        total: Floats = wide[_along(axis, range(len(nodes)))].copy()
        for k in range(1, 2 * radius + 1):
            total += wide[_along(axis, range(k, k + len(nodes)))]
        sums = total
    return sums


def _along(axis: int, part: range) -> tuple[slice, ...]:
    """The place of a part of an axis."""
    return (*[slice(None)] * axis, slice(part.start, part.stop))


def halve(sums: Floats) -> Floats:
    """Sum-pool (C, h, w) by two."""
    height, width = sums.shape[1:]
    padded = np.pad(sums, [(0, 0), (0, height % 2), (0, width % 2)])
    _, height, width = padded.shape
    result: Floats = padded.reshape(-1, height // 2, 2, width // 2, 2).sum(axis=(2, 4))
    return result


def neighbours(positions: Floats, length: int) -> tuple[npt.NDArray[np.intp], Floats]:
    """The node before each position along an axis of `length` nodes, and the weight of the one after it.

    `positions` in nodes, node k at k + 0.5; the nearest value beyond.
    """
    at = np.clip(positions - 0.5, 0, length - 1)
    low = np.minimum(at.astype(np.intp), max(length - 2, 0))
    return low, at - low


def stretch(field: npt.NDArray[Real], axis: int, positions: Floats) -> npt.NDArray[Real]:
    """Linear interpolation along one axis; `positions` as `neighbours` has them."""
    length = field.shape[axis]
    low, weight = neighbours(positions, length)
    shape = [1] * field.ndim
    shape[axis] = -1
    weight = weight.reshape(shape).astype(field.dtype)
    upper = np.minimum(low + 1, length - 1)
    result: npt.NDArray[Real] = (
        np.take(field, low, axis=axis) * (1 - weight) + np.take(field, upper, axis=axis) * weight
    )
    return result


def lacking(counts: Floats, lattice: NodeLattice, *, near: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Nodes whose windows hold so little clear ground that wider ones have weight, among those that matter.

    Args:
        counts: (h, w) clear cells per node.
        lattice: nodes and windows.
        near: (h, w), nodes near which windows matter.

    Returns:
        (h, w).
    """
    held = box_sums(counts[None], lattice.radius)[0] >= ENOUGH_CLEAR * lattice.area
    # A point takes its value from the nodes around it.
    return np.asarray(dilate(near, 1) & ~held)


def _in_steps(positions: Floats) -> Floats:
    """Positions in whole steps of 1 / `STEPS_PER_NODE`."""
    return np.asarray(np.rint(positions * STEPS_PER_NODE) / STEPS_PER_NODE)


@dataclass(frozen=True, slots=True)
class WiderMeans:
    """What windows hold that are wider than those of a region, on nodes of a lattice of their own."""

    means: Floats
    """(C, h, w) means of the quantities, falling back to the scene's."""
    top: float
    """First row of the first node, in cells from those that the region's sums begin with."""
    left: float
    """First column."""
    side: int
    """Cells per side of a node."""

    def at(self, rows: Floats, cols: Floats) -> Floats:
        """(C, h, w) between the nodes, at positions in cells."""
        down, across = ((axis - first) / self.side for axis, first in ((rows, self.top), (cols, self.left)))
        # In steps, so that thirds of a node have the same bits wherever the first node lies.
        return stretch(stretch(self.means, 1, _in_steps(down)), 2, _in_steps(across))


@dataclass(frozen=True, slots=True)
class WindowSums:
    """Sums over an extent of cells, and the region inside it whose windows they serve."""

    sums: Floats
    """(1 + C, m, n) per node, from `algorithms.adjust.pooled_sums`."""
    lattice: NodeLattice
    """Nodes and windows."""
    rows: range
    """Rows of the region, in cells from the extent's first."""
    cols: range
    """Columns of the region."""
    wider: WiderMeans | None = None
    """What stands where windows hold too little; None: the scene."""


@dataclass(frozen=True, slots=True)
class WindowMeans:
    """Blended windowed means of some quantities over clear cells, on a rectangle of the finest nodes."""

    means: Floats
    """(C, h, w) blended means."""
    support: Floats
    """(h, w) clear cells in the narrowest window as a share of `ENOUGH_CLEAR` of its area, 0..1."""


def _wider(nodes: range, length: int) -> range:
    """Nodes of the next level between which `nodes` lie, of `length` there are."""
    return range(max(0, (nodes.start - 1) // 2), min(length, (nodes.stop - 1) // 2 + 2))


def window_means(
    sums: Floats,
    prior: Floats,
    lattice: NodeLattice,
    *,
    rows: range,
    cols: range,
    levels: int = 1,
    narrow: float = 0.0,
) -> WindowMeans:
    """Means over clear cells in windows around nodes, blended down from the widest level.

    `m_l = (S_l + lam A m_(l+1)) / (n_l + lam A)` with `lam = PRIOR * max(0, 1 - n_l / (ENOUGH_CLEAR A))`, A the
    window's area and n its number of clear cells; beyond the last level the `prior` applies. Narrow windows
    follow in the same way with `lam = NARROW_PRIOR / narrow`.

    Args:
        sums: (1 + C, h, w) sums per finest node: the number of clear cells, then C quantities over them. The first
            node stands on a multiple of `lattice.alignment(levels)`.
        prior: (C,) means over the scene, or (C, h, w) at the nodes of the widest level.
        lattice: nodes and windows.
        rows: rows of finest nodes to compute.
        cols: columns of finest nodes to compute.
        levels: 1 or more. The result is the same for any number if the windows of that level hold enough.
        narrow: trust in `lattice.narrower`, 0..1.
    """
    stack, where = [sums], [(rows, cols)]
    for _ in range(levels - 1):
        stack.append(halve(stack[-1]))
        height, width = stack[-1].shape[1:]
        where.append((_wider(where[-1][0], height), _wider(where[-1][1], width)))
    means: Floats = prior.reshape(len(prior), 1, 1) if prior.ndim == 1 else prior
    support = np.zeros((1, 1))
    for level in reversed(range(levels)):
        windows = box_sums(stack[level], lattice.radius, *where[level])
        n, total = windows[:1], windows[1:]
        area = float(lattice.area << (2 * level))
        enough = np.clip(n / (ENOUGH_CLEAR * area), 0, 1)
        pull = PRIOR * (1 - enough) * area
        if level < levels - 1:
            for axis, here, wide in zip((1, 2), where[level], where[level + 1], strict=True):
                at = (np.arange(here.start, here.stop) + 0.5) / 2 - wide.start
                means = stretch(means, axis, at)
        means = (total + pull * means) / np.maximum(n + pull, 1e-9)
        support = enough[0]
    for radius in lattice.narrower if narrow > 0 else ():
        windows = box_sums(sums, radius, rows, cols)
        weight = NARROW_PRIOR / narrow * ((2 * radius + 1) * lattice.spacing) ** 2
        means = (windows[1:] + weight * means) / (windows[:1] + weight)
    return WindowMeans(means=means, support=support)
