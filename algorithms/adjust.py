"""The adjustment: from windowed statistics to an estimate of the target under the cloud.

`regression` explains the target from all bands of the replacement, scene first, then what is left window by window;
`joint` from all bands of several replacements, one after the other, in the same way.
`moment` is SLRA proper (Li et al. 2019): per band, gain = std(t)/std(r) and offset = mean(t) - gain * mean(r)
over the same clear cells of a window.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from algorithms.moments import NodeLattice, WindowMeans, WindowSums, neighbours, stretch, window_means
from algorithms.options import CloudOptions
from algorithms.scene import SceneFit

Image = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]

FARTHEST_DEVIATION: Final = 1e6
"""Standardised values farther out show no ground, and in sums of squares nothing else would be left."""
TAU: Final = 0.3
"""Shrinkage of the windows' slopes, in units of the replacement's scene variance."""
DIFFICULTY: Final = (0.66, 0.63)
"""Weights of one and of the squared standardised replacement in the error's variance."""
GAIN_LIMIT: Final = 3.0
"""A moment gain stays within this factor of the scene's."""
STRIP: Final = 16
"""Rows of cells that are estimated at a time."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """The adjusted replacement on a region of cells."""

    value: Image
    """(B, h, w) estimate of the target."""
    gain: Image
    """(B, h, w) slope of each target band on its own band of the first replacement, for detail finer than a cell."""
    support: Image
    """(h, w) clear ground in the narrowest window, 0..1 of what is enough."""
    error: Image
    """(h, w) expected error far from the mask's border, in standard deviations of the target's scene."""


def _products(bands: int, explaining: int, adjustment: str) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Positions, among the products of (1, z, e) with each other, of the count and of the adjustment's quantities.

    For regressions these are z, e, z z', e z', e e, for `moment` e, z, e e, z z, e z.
    """
    z = np.arange(1, 1 + explaining)
    e = np.arange(1 + explaining, 1 + explaining + bands)
    if adjustment == "moment":
        pairs = [(0 * e, e), (0 * z, z), (e, e), (z, z), (e, z)]
    else:
        upper, right = np.triu_indices(explaining)
        crossed = np.repeat(e, explaining), np.tile(z, bands)
        pairs = [(0 * z, z), (0 * e, e), (z[upper], z[right]), crossed, (e, e)]
    first, second = (np.concatenate([np.zeros(1, np.intp), *side]) for side in zip(*pairs, strict=True))
    return first, second


def _nodes_around(cells: range, spacing: int, length: int) -> range:
    """Nodes between which `cells` lie, of `length` there are."""
    return range(max(0, cells.start // spacing - 1), min(length, (cells.stop - 1) // spacing + 2))


def node_regression(stats: WindowMeans, scene: SceneFit) -> tuple[Floats, Floats, Floats, Floats]:
    """Slopes (B, J), own gains (B), intercepts (B) and what is left at every node, in standard units."""
    bands, explaining = len(scene.level), len(scene.mean)
    m = np.moveaxis(stats.means, 0, -1)
    split = np.cumsum([explaining, bands, explaining * (explaining + 1) // 2, bands * explaining])
    mz, me, mzz, mez, mee = np.split(m, split, axis=-1)
    czz = np.empty((*m.shape[:2], explaining, explaining))
    upper = np.triu_indices(explaining)
    czz[..., upper[0], upper[1]] = mzz
    czz[..., upper[1], upper[0]] = mzz
    czz -= mz[..., :, None] * mz[..., None, :]
    cez = mez.reshape(*m.shape[:2], bands, explaining) - me[..., :, None] * mz[..., None, :]
    slope = np.swapaxes(np.linalg.solve(czz + TAU * np.eye(explaining), np.swapaxes(cez, -1, -2)), -1, -2)
    intercept = me - np.einsum("...bj,...j->...b", slope, mz)
    total = scene.slope / scene.spread[:, None]
    # Detail finer than a cell is that of the first replacement.
    own = np.einsum("bj,...jb->...b", total, czz[..., :bands]) + np.einsum("...bb->...b", cez[..., :bands])
    variance = np.maximum(np.einsum("...bb->...b", czz[..., :bands, :bands]), 0)
    std = scene.std[:bands]
    standard = scene.gain * std / scene.spread
    gain = np.clip((own + TAU * standard) / (variance + TAU), 0, 2 * np.maximum(scene.ratio * std / scene.spread, 1e-6))
    fitted = np.einsum("...bj,...bj->...b", slope, cez)
    left = np.maximum(mee - me**2 - fitted, 0)
    return slope, gain, intercept, np.sqrt(left.mean(axis=-1))


def _fit_moment(stats: WindowMeans, scene: SceneFit) -> tuple[Floats, Floats, Floats, Floats]:
    """No slopes on other bands, gains (B), offsets (B) and what is left at every node, in standard units."""
    bands = len(scene.level)
    mt, mz, mtt, mzz, mtz = np.split(np.moveaxis(stats.means, 0, -1), np.cumsum([bands] * 4), axis=-1)
    vt, vz = np.maximum(mtt - mt**2, 0), np.maximum(mzz - mz**2, 0)
    standard = scene.ratio * scene.std / scene.spread
    # A touch of the scene's variance keeps flat ground from deciding the gain by its noise.
    gain = np.sqrt((vt + 1e-3 * standard**2) / (vz + 1e-3))
    gain = np.clip(gain, standard / GAIN_LIMIT, standard * GAIN_LIMIT)
    left = np.maximum(vt + gain**2 * vz - 2 * gain * (mtz - mt * mz), 0)
    return gain[..., :0, None], gain, mt - gain * mz, np.sqrt(left.mean(axis=-1))


def pooled_sums(
    target: Image,
    replacement: Image,
    clear: npt.NDArray[np.bool_],
    scene: SceneFit,
    lattice: NodeLattice,
    *,
    adjustment: str = CloudOptions.adjustment,
) -> Floats:
    """Sums per node from which every window's statistics follow.

    Args:
        target: (B, H, W) cells; sides are multiples of `lattice.spacing`.
        replacement: (J, H, W), the bands that explain the target: B of each replacement.
        clear: (H, W), clear and valid in all.
        scene: the scene stage.
        lattice: nodes and windows.
        adjustment: `regression`, `moment` or `joint`.

    Returns:
        (1 + C, h, w) float64: number of clear cells, then the quantities of the adjustment.
    """
    count, spacing = 1 + len(replacement) + len(target), lattice.spacing
    height, width = clear.shape
    spread, level = (v.astype(np.float32)[:, None, None] for v in (scene.spread, scene.level))
    first, second = _products(len(target), len(replacement), adjustment)
    sums = np.zeros((len(first), height // spacing, width // spacing))
    for row in range(height // spacing):  # a row of nodes at a time stays in the processor's cache
        part = slice(row * spacing, (row + 1) * spacing)
        here = clear[part]
        z = scene.standardise(replacement[:, part][:, here][:, None])
        e = (target[:, part][:, here][:, None] - (level if adjustment == "moment" else scene.estimate(z))) / spread
        cells = np.zeros((*here.shape, count), np.float32)
        standard = np.concatenate([np.ones_like(z[:1]), z, e])[:, 0].T
        standard[(np.abs(standard) > FARTHEST_DEVIATION).any(axis=1)] = 0
        cells[here] = standard
        nodes = cells.reshape(spacing, -1, spacing, count).swapaxes(0, 1).reshape(-1, spacing**2, count)
        # One small product per node: its bits depend on the node's own cells alone.
        sums[:, row] = (nodes.swapaxes(1, 2) @ nodes)[:, first, second].T
    return sums


def scene_prior(scene: SceneFit, adjustment: str) -> Floats:
    """(C,) means of the quantities over the scene."""
    bands, explaining = len(scene.level), len(scene.mean)
    if adjustment != "moment":
        identity = np.eye(explaining)[np.triu_indices(explaining)]
        noise = (scene.misfit / scene.spread) ** 2
        return np.concatenate([np.zeros(explaining + bands), identity, np.zeros(bands * explaining), noise])
    ratio = scene.ratio * scene.std / scene.spread
    return np.concatenate([np.zeros(2 * bands), ratio**2, np.ones(bands), scene.correlation * ratio])


def _difficulty(z: Image) -> Image:
    """(p,) factor by which the error at a cell differs from its windows' mean.

    It grows with the distance of the replacement from the scene's mean. Fitted on hide-and-reconstruct cases
    (docs/algorithm.md).
    """
    base, of_distance = DIFFICULTY
    factor: Image = np.sqrt(base + of_distance * (z**2).mean(axis=0))
    return factor


def estimate_target(
    replacement: Image,
    windows: WindowSums,
    scene: SceneFit,
    *,
    adjustment: str = CloudOptions.adjustment,
    needed: npt.NDArray[np.bool_] | None = None,
) -> Estimate:
    """Estimate the target from the replacement on a region of cells.

    Args:
        replacement: (J, h, w) cells of the region: B bands of each replacement.
        windows: what the windows around the region hold.
        scene: the scene stage.
        adjustment: `regression`, `moment` or `joint`.
        needed: (h, w), cells to estimate, all if None; elsewhere everything but the gain is 0.
    """
    bands, spacing = len(scene.level), windows.lattice.spacing
    region = windows.rows, windows.cols
    around = [_nodes_around(cells, spacing, n) for cells, n in zip(region, windows.sums.shape[1:], strict=True)]
    down, across = (
        (np.arange(cells.start, cells.stop) + 0.5) / spacing - nodes.start
        for cells, nodes in zip(region, around, strict=True)
    )
    prior = scene_prior(scene, adjustment)
    if windows.wider is not None:
        middles = [(np.arange(nodes.start, nodes.stop, dtype=np.float64) + 0.5) * spacing for nodes in around]
        prior = windows.wider.at(middles[0], middles[1])
    stats = window_means(
        windows.sums,
        prior,
        windows.lattice,
        rows=around[0],
        cols=around[1],
        narrow=scene.narrow if adjustment != "moment" else 0.0,
    )
    fit = _fit_moment if adjustment == "moment" else node_regression
    slope, gain, offset, left_over = fit(stats, scene)
    parts = [*np.moveaxis(slope, (-2, -1), (0, 1)), np.moveaxis(offset, -1, 0), left_over[None], stats.support[None]]
    nodes = np.concatenate(parts).astype(np.float32)
    gains = stretch(stretch(np.moveaxis(gain, -1, 0).astype(np.float32), 1, down), 2, across)
    spread, level, std = (v.astype(np.float32)[:, None] for v in (scene.spread, scene.level, scene.std[:bands]))
    left, weight = neighbours(across, nodes.shape[2])
    value = np.zeros((bands, *replacement.shape[1:]), np.float32)
    support, error = np.zeros((2, *replacement.shape[1:]), np.float32)
    for start in range(0, len(windows.rows), STRIP):  # little at a time, so that it stays in the processor's cache
        strip = slice(start, start + STRIP)
        z = scene.standardise(replacement[:, strip])
        here = np.ones(z.shape[1:], bool) if needed is None else needed[strip]
        z = z[:, here]
        y, x = np.nonzero(here)
        lines = stretch(nodes, 1, down[strip]).reshape(len(nodes), -1)
        at = y * nodes.shape[2] + left[x]
        fields = np.take(lines, at, axis=1)
        fields += (np.take(lines, at + min(1, nodes.shape[2] - 1), axis=1) - fields) * weight[x].astype(np.float32)
        if adjustment != "moment":
            slopes = fields[: bands * len(z)].reshape(bands, len(z), -1)
            estimate = scene.estimate(z) + spread * (fields[-2 - bands : -2] + np.einsum("bjp,jp->bp", slopes, z))
        else:
            estimate = level + spread * (fields[-2 - bands : -2] + gains[:, strip][:, here] * z)
        value[:, strip][:, here] = estimate
        error[strip][here] = fields[-2] * _difficulty(z)
        support[strip][here] = fields[-1]
    return Estimate(value=value, gain=gains * (spread / std)[..., None], support=support, error=error)
