"""Which ground the fill of a rectangle of cells looks at."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from algorithms.fill import padded
from algorithms.moments import WINDOW_LEVELS, lacking, pool
from algorithms.residual import residual_reach
from server.analysis.plane import Plane
from server.raster.grid import Box

NARROWEST_LEVELS: Final = 1
"""Levels of windows that every fill looks at."""

Bools = npt.NDArray[np.bool_]


def extent_of(cells: Bools, box: Box) -> Box:
    """The smallest box around the cells that are set in a box."""
    rows, cols = (np.flatnonzero(cells.any(axis=axis)) for axis in (1, 0))
    return Box(
        box.top + int(rows[0]), box.top + int(rows[-1]) + 1, box.left + int(cols[0]), box.left + int(cols[-1]) + 1
    )


def fill_region(plane: Plane, core: Box, cloud: Bools) -> Box | None:
    """The cells whose fill that of a box depends on, None where nothing is to be filled.

    Args:
        plane: what to analyse.
        core: the box.
        cloud: (h, w), cells to fill of the box and its rim.
    """
    rim = plane.rimmed(core)
    if not cloud[core.pad(1).clip(plane.shape).within(rim)].any():
        return None
    return extent_of(cloud, rim).pad(residual_reach(plane.factor)).clip(plane.shape)


def narrow_extent(plane: Plane, region: Box) -> Box:
    """The cells inside the scene that the narrowest windows of a region can touch, from a node on."""
    lattice = plane.lattice
    around = region.pad(lattice.reach(NARROWEST_LEVELS)).clip(plane.shape)
    return around.align(lattice.alignment(NARROWEST_LEVELS)).clip(plane.shape)


def wider_extent(plane: Plane, extent: Box, clear: Bools, near: Bools, *, levels: int) -> Box | None:
    """An extent with room for one level of windows more, None where those there are hold enough clear ground.

    Args:
        plane: what to analyse.
        extent: the cells that windows of `levels` levels can touch.
        clear: (h, w), clear ground in it.
        near: (h, w), cells to fill and those next to them.
        levels: levels of windows so far.
    """
    if levels == WINDOW_LEVELS:
        return None
    lattice = plane.lattice
    counts, marked = (pool(padded(a.astype(np.float32), lattice.spacing), lattice.spacing) for a in (clear, near))
    short = lacking(counts, lattice, level=levels - 1, near=marked > 0)
    if not short.any():
        return None
    nodes = extent_of(short, extent.parts(lattice.alignment(levels)))
    rows = lattice.ground(range(nodes.top, nodes.bottom), level=levels)
    cols = lattice.ground(range(nodes.left, nodes.right), level=levels)
    wide = extent.union(Box(rows.start, rows.stop, cols.start, cols.stop).clip(plane.shape))
    return wide.align(lattice.alignment(levels + 1)).clip(plane.shape)
