"""How far windows narrower than W are to be trusted: measured once per scene, on clear ground that is hidden.

Under haze the relation between the dates changes within W, and narrow windows follow it; where fields change one by
one, they follow only the fields they see. Clear ground of the scene's fixed sample tells one from the other: every
node and its neighbours are hidden in turn and explained from the windows around them, wide ones alone and with narrow
ones. Window sums add up, so hiding is a subtraction, and no cell is looked at twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import numpy.typing as npt

from algorithms.adjust import node_regression, pooled_sums, scene_prior
from algorithms.fill import padded
from algorithms.moments import ENOUGH_CLEAR, NARROW_PRIOR, PRIOR, NodeLattice, WindowMeans, box_sums, node_lattice
from algorithms.options import CloudOptions
from algorithms.sample import SQUARE_CELLS, sample_squares
from algorithms.scene import SceneFit

Floats = npt.NDArray[np.float64]
Image = npt.NDArray[np.float32]
SamplePart = tuple[Image, Image, npt.NDArray[np.bool_]]
"""A rectangle of cells: target (B, h, w), replacement (J, h, w), and which are clear in both (h, w)."""

HIDDEN_NODES: Final = 1
"""Radius of the hole around a node; its middle is as far from clear ground as most of a cloud's."""
SQUARES_ACROSS: Final = 3
"""Squares per side that a whole scene is taken in at most."""
FEW_NODES: Final = 30
"""Nodes with clear ground below which nothing is concluded."""
TESTED: Final = 0.5
"""Trust in narrow windows that is put to the test."""
NOTICED_GAIN: Final = 0.003
"""Share of the error that narrow windows must save to be trusted at all."""
FULL_GAIN: Final = 0.01
"""Share of the error saved from which on they are trusted wholly."""


def sample_parts(target: Image, replacement: Image, clear: npt.NDArray[np.bool_]) -> list[SamplePart]:
    """The parts of a whole scene that its sample consists of."""
    squares = sample_squares(clear.shape)
    if squares is None:
        return [(target, replacement, clear)]
    return [(target[:, y, x], replacement[:, y, x], clear[y, x]) for y, x in squares]


def with_narrow(scene: SceneFit, parts: Sequence[SamplePart], factor: int) -> SceneFit:
    """A scene stage that knows how far narrow windows are to be trusted.

    Args:
        scene: the scene stage.
        parts: the scene's sample.
        factor: native pixels per cell.
    """
    lattice = node_lattice(CloudOptions.window, factor)
    if not any(radius > HIDDEN_NODES for radius in lattice.narrower):
        return scene
    errors = np.zeros((2, len(scene.level)))
    nodes = 0
    for target, replacement, clear in _squares(parts, 2 * lattice.radius * lattice.spacing):
        t, r = (padded(image, lattice.spacing) for image in (target, replacement))
        sums = pooled_sums(t, r, padded(clear, lattice.spacing), scene, lattice)
        nodes += int((sums[0] > 0).sum())
        errors += hidden_errors(sums, scene, lattice)
    if nodes < FEW_NODES:
        return scene
    wide, narrow = np.maximum(errors, 1e-9)
    saved = 1 - float(np.sqrt(narrow / wide).mean())
    trust = (saved - NOTICED_GAIN) / (FULL_GAIN - NOTICED_GAIN)
    return replace(scene, narrow=float(np.clip(trust, 0, 1)))


def _squares(parts: Sequence[SamplePart], least: int) -> list[SamplePart]:
    """The parts, a whole scene in squares like those of a sample, of at least so many cells per side."""
    if len(parts) > 1:
        return list(parts)
    target, replacement, clear = parts[0]
    side = max(SQUARE_CELLS, least)
    rows, cols = (
        [round(start) for start in np.linspace(0, max(0, n - side), min(SQUARES_ACROSS, -(-n // side)))]
        for n in clear.shape
    )
    places = [(slice(y, y + side), slice(x, x + side)) for y in rows for x in cols]
    return [(target[:, y, x], replacement[:, y, x], clear[y, x]) for y, x in places]


def hidden_errors(sums: Floats, scene: SceneFit, lattice: NodeLattice) -> Floats:
    """Squared error, in standard units, of every band on hidden nodes: by wide windows, and with narrow ones.

    Args:
        sums: (1 + C, h, w) from `pooled_sums`.
        scene: the scene stage.
        lattice: nodes and windows.

    Returns:
        (2, B).
    """
    hole = box_sums(sums, HIDDEN_NODES)

    def blended(radius: int, wider: Floats, prior: float | None) -> Floats:
        windows = box_sums(sums, radius) - hole
        area = float(((2 * radius + 1) * lattice.spacing) ** 2)
        count = windows[:1]
        share = PRIOR * (1 - np.clip(count / (ENOUGH_CLEAR * area), 0, 1)) if prior is None else prior
        means: Floats = (windows[1:] + share * area * wider) / np.maximum(count + share * area, 1e-9)
        return means

    wide = blended(lattice.radius, scene_prior(scene, "regression")[:, None, None], None)
    narrow = wide
    for radius in lattice.narrower:
        if radius > HIDDEN_NODES:
            narrow = blended(radius, narrow, NARROW_PRIOR / TESTED)
    return np.stack([_squared_error(sums, means, scene) for means in (wide, narrow)])


def _squared_error(sums: Floats, means: Floats, scene: SceneFit) -> Floats:
    """(B,) sum over all cells of (e - slope z - intercept)^2, from the sums of their products."""
    slope, _, intercept, _ = node_regression(WindowMeans(means, sums[0]), scene)
    bands, explaining = slope.shape[-2:]
    split = np.cumsum([1, explaining, bands, explaining * (explaining + 1) // 2, bands * explaining])
    n, z, e, zz, ez, ee = np.split(np.moveaxis(sums, 0, -1), split, axis=-1)
    upper = np.triu_indices(explaining)
    crossed = np.empty((*n.shape[:2], explaining, explaining))
    crossed[..., upper[0], upper[1]] = zz
    crossed[..., upper[1], upper[0]] = zz
    ez = ez.reshape(slope.shape)
    explained = np.einsum("...bj,...bj->...b", slope, ez) + intercept * e
    fitted = np.einsum("...bj,...bj->...b", slope @ crossed, slope)
    fitted += 2 * intercept * np.einsum("...bj,...j->...b", slope, z) + intercept**2 * n
    error: Floats = (ee - 2 * explained + fitted).sum(axis=(0, 1))
    return error
