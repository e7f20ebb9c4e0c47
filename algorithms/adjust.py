"""The adjustment: from windowed statistics to an estimate of the target under the cloud.

`regression` explains the target from all bands of the replacement, scene first, then what is left window by window.
`moment` is SLRA proper (Li et al. 2019): per band, gain = std(t)/std(r) and offset = mean(t) - gain * mean(r)
over the same clear cells of a window.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from algorithms.moments import LEVELS, NodeLattice, WindowMeans, pool, stretch, window_means
from algorithms.scene import SceneFit

Image = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]

ADJUSTMENTS: Final = ("regression", "moment")
TAU: Final = 0.3
"""Shrinkage of the windows' slopes, in units of the replacement's scene variance."""
DIFFICULTY: Final = (0.66, 0.63)
"""Weights of one and of the squared standardised replacement in the error's variance."""
GAIN_LIMIT: Final = 3.0
"""A moment gain stays within this factor of the scene's."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """The adjusted replacement on a region of cells."""

    value: Image
    """(B, h, w) estimate of the target."""
    gain: Image
    """(B, h, w) slope of each target band on its own replacement band, for detail finer than a cell."""
    support: Image
    """(h, w) clear ground in the narrowest window, 0..1 of what is enough."""
    error: Image
    """(h, w) expected error far from the mask's border, in standard deviations of the target's scene."""


def _regression_planes(e: Image, z: Image) -> Iterator[Image]:
    """Planes whose window means give the regression of e on z: z, e, z z', e z', e e; all zero where not clear."""
    yield from z
    yield from e
    for i in range(len(z)):
        for j in range(i, len(z)):
            yield z[i] * z[j]
    for b in range(len(e)):
        for j in range(len(z)):
            yield e[b] * z[j]
    for b in range(len(e)):
        yield e[b] * e[b]


def _moment_planes(t: Image, z: Image) -> Iterator[Image]:
    """Planes whose window means give means, variances and covariances: t, z, t t, z z, t z; zero where not clear."""
    yield from t
    yield from z
    yield from t * t
    yield from z * z
    yield from t * z


def _nodes_around(cells: range, spacing: int, length: int) -> range:
    """Nodes between which `cells` lie, of `length` there are."""
    return range(max(0, cells.start // spacing - 1), min(length, (cells.stop - 1) // spacing + 2))


def _to_cells(nodes: Floats, spacing: int, places: tuple[tuple[range, range], tuple[range, range]]) -> Image:
    """Interpolate (C, h, w) node values to cells; `places` are (cells, nodes) along rows and columns."""
    fields = nodes.astype(np.float32)
    for axis, (cells, around) in enumerate(places, start=1):
        at = (np.arange(cells.start, cells.stop) + 0.5) / spacing - around.start
        fields = stretch(fields, axis, at)
    return fields


def _fit_regression(stats: WindowMeans, scene: SceneFit) -> tuple[Floats, Floats, Floats, Floats]:
    """Slopes (B, B), intercepts (B), own gains (B) and what is left at every node, in standard units."""
    bands = len(scene.level)
    m = np.moveaxis(stats.means, 0, -1)
    split = np.cumsum([bands, bands, bands * (bands + 1) // 2, bands * bands])
    mz, me, mzz, mez, mee = np.split(m, split, axis=-1)
    czz = np.empty((*m.shape[:2], bands, bands))
    upper = np.triu_indices(bands)
    czz[..., upper[0], upper[1]] = mzz
    czz[..., upper[1], upper[0]] = mzz
    czz -= mz[..., :, None] * mz[..., None, :]
    cez = mez.reshape(*m.shape[:2], bands, bands) - me[..., :, None] * mz[..., None, :]
    slope = np.swapaxes(np.linalg.solve(czz + TAU * np.eye(bands), np.swapaxes(cez, -1, -2)), -1, -2)
    intercept = me - np.einsum("...bj,...j->...b", slope, mz)
    total = scene.slope / scene.spread[:, None]
    own = np.einsum("bj,...jb->...b", total, czz) + np.einsum("...bb->...b", cez)
    variance = np.maximum(np.einsum("...bb->...b", czz), 0)
    standard = scene.gain * scene.std / scene.spread
    gain = np.clip(
        (own + TAU * standard) / (variance + TAU), 0, 2 * np.maximum(scene.ratio * scene.std / scene.spread, 1e-6)
    )
    fitted = np.einsum("...bj,...bj->...b", slope, cez)
    left = np.maximum(mee - me**2 - fitted, 0)
    return slope, intercept, gain, np.sqrt(left.mean(axis=-1))


def _fit_moment(stats: WindowMeans, scene: SceneFit) -> tuple[Floats, Floats, Floats]:
    """Gains (B), offsets (B) and what is left at every node, in standard units."""
    bands = len(scene.level)
    mt, mz, mtt, mzz, mtz = np.split(np.moveaxis(stats.means, 0, -1), np.cumsum([bands] * 4), axis=-1)
    vt, vz = np.maximum(mtt - mt**2, 0), np.maximum(mzz - mz**2, 0)
    standard = scene.ratio * scene.std / scene.spread
    # A touch of the scene's variance keeps flat ground from deciding the gain by its noise.
    gain = np.sqrt((vt + 1e-3 * standard**2) / (vz + 1e-3))
    gain = np.clip(gain, standard / GAIN_LIMIT, standard * GAIN_LIMIT)
    left = np.maximum(vt + gain**2 * vz - 2 * gain * (mtz - mt * mz), 0)
    return gain, mt - gain * mz, np.sqrt(left.mean(axis=-1))


def pooled_sums(
    target: Image,
    replacement: Image,
    clear: npt.NDArray[np.bool_],
    scene: SceneFit,
    lattice: NodeLattice,
    *,
    adjustment: str = "regression",
) -> Floats:
    """Sums per node from which every window's statistics follow.

    Args:
        target: (B, H, W) cells; sides are multiples of `lattice.spacing`.
        replacement: (B, H, W).
        clear: (H, W), clear and valid in both.
        scene: the scene stage.
        lattice: nodes and windows.
        adjustment: `regression` or `moment`.

    Returns:
        (1 + C, h, w) float64: number of clear cells, then the quantities of the adjustment.
    """
    z = np.where(clear, scene.standardise(replacement), 0)
    spread = scene.spread.astype(np.float32)[:, None, None]
    if adjustment == "regression":
        e = np.where(clear, (target - scene.estimate(z)) / spread, 0)
        planes = _regression_planes(e, z)
    else:
        level = scene.level.astype(np.float32)[:, None, None]
        planes = _moment_planes(np.where(clear, (target - level) / spread, 0), z)
    weight = clear.astype(np.float32)
    return np.stack([pool(plane, lattice.spacing) for plane in (weight, *planes)])


def _prior(scene: SceneFit, adjustment: str) -> Floats:
    """(C,) means of the quantities over the scene."""
    bands = len(scene.level)
    if adjustment == "regression":
        identity = np.eye(bands)[np.triu_indices(bands)]
        noise = (scene.noise / scene.spread) ** 2
        return np.concatenate([np.zeros(2 * bands), identity, np.zeros(bands * bands), noise])
    ratio = scene.ratio * scene.std / scene.spread
    return np.concatenate([np.zeros(2 * bands), ratio**2, np.ones(bands), scene.correlation * ratio])


def _difficulty(z: Image) -> Image:
    """(h, w) factor by which the error at a cell differs from its windows' mean.

    It grows with the distance of the replacement from the scene's mean. Fitted on hide-and-reconstruct cases
    (docs/algorithm.md).
    """
    base, of_distance = DIFFICULTY
    factor: Image = np.sqrt(base + of_distance * (z**2).mean(axis=0))
    return factor


def estimate_target(
    replacement: Image,
    sums: Floats,
    scene: SceneFit,
    lattice: NodeLattice,
    *,
    rows: range,
    cols: range,
    adjustment: str = "regression",
    levels: int = LEVELS,
) -> Estimate:
    """Estimate the target from the replacement on a region of cells.

    Args:
        replacement: (B, h, w) cells of the region.
        sums: (1 + C, m, n) from `pooled_sums` over an extent around it, whose first node stands on a multiple of
            `lattice.alignment(levels)`.
        scene: the scene stage.
        lattice: nodes and windows.
        rows: rows of the region, in cells from the extent's first.
        cols: columns of the region.
        adjustment: `regression` or `moment`.
        levels: levels of windows the extent has room for.
    """
    z = scene.standardise(replacement)
    spread = scene.spread.astype(np.float32)[:, None, None]
    bands = len(replacement)
    spacing = lattice.spacing
    around = (_nodes_around(rows, spacing, sums.shape[1]), _nodes_around(cols, spacing, sums.shape[2]))
    places = ((rows, around[0]), (cols, around[1]))
    stats = window_means(sums, _prior(scene, adjustment), lattice, rows=around[0], cols=around[1], levels=levels)
    if adjustment == "regression":
        slope, intercept, own, left_over = _fit_regression(stats, scene)
        value, gain = scene.estimate(z), np.empty_like(z)
        for b in range(bands):  # a band at a time: all slopes at once are many times what comes in
            nodes = np.concatenate([slope[..., b, :], intercept[..., b, None], own[..., b, None]], axis=-1)
            *slopes, left, gain[b] = _to_cells(np.moveaxis(nodes, -1, 0), spacing, places)
            for field, band in zip(slopes, z, strict=True):
                left += field * band
            value[b] += spread[b] * left
    else:
        ratio, offset, left_over = _fit_moment(stats, scene)
        nodes = np.concatenate([ratio, offset], axis=-1)
        fields = _to_cells(np.moveaxis(nodes, -1, 0), spacing, places)
        gain = fields[:bands]
        value = scene.level.astype(np.float32)[:, None, None] + spread * (gain * z + fields[bands:])
    unit = (scene.spread / scene.std).astype(np.float32)[:, None, None]
    return Estimate(
        value=value,
        gain=gain * unit,
        support=_to_cells(stats.support[None], spacing, places)[0],
        error=_to_cells(left_over[None], spacing, places)[0] * _difficulty(z),
    )
