"""Which ground the fill of a rectangle of cells looks at."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from algorithms.border import CORRECTED_FACTORS, MARGIN
from algorithms.fill import padded
from algorithms.masks import buffer_cells
from algorithms.moments import LEVELS, NodeLattice, lacking, pool
from algorithms.residual import residual_reach
from server.analysis.task import Task
from server.raster.grid import BLOCK_CELLS, Box, Grid

NARROWEST_LEVELS: Final = 1
"""Levels of windows that every fill looks at."""

Bools = npt.NDArray[np.bool_]


def pixelwise(task: Task, grid: Grid) -> bool:
    """Whether fills are corrected in pixels: at the level whose cells are averages of a few of them."""
    return task.options.residual and grid.factor in CORRECTED_FACTORS and grid.side == BLOCK_CELLS


def rim_cells(task: Task, grid: Grid) -> int:
    """Cells around a block that its fields are needed on: for interpolation, and for the correction in pixels."""
    return 1 + (-(-(1 + MARGIN) // grid.factor) if pixelwise(task, grid) else 0)


def extent_of(cells: Bools, box: Box) -> Box:
    """The smallest box around the cells that are set in a box."""
    rows, cols = (np.flatnonzero(cells.any(axis=axis)) for axis in (1, 0))
    return Box(
        box.top + int(rows[0]), box.top + int(rows[-1]) + 1, box.left + int(cols[0]), box.left + int(cols[-1]) + 1
    )


def fill_region(cloud: Bools, core: Box, rim: Box, grid: Grid) -> Box | None:
    """The cells whose fill has a say in that of a box, None where nothing is to be filled.

    Args:
        cloud: (h, w), cells of the rim to fill.
        core: the box.
        rim: the box and what is needed around it.
        grid: the level.
    """
    if not cloud[core.pad(1).clip(grid.shape).within(rim)].any():
        return None
    return extent_of(cloud, rim).pad(residual_reach(grid.factor)).clip(grid.shape)


def narrow_extent(region: Box, lattice: NodeLattice, grid: Grid) -> Box:
    """The cells inside the scene that the narrowest windows of a region can touch, from a node on."""
    return (
        region.pad(lattice.reach(NARROWEST_LEVELS))
        .clip(grid.shape)
        .align(lattice.alignment(NARROWEST_LEVELS))
        .clip(grid.shape)
    )


def wider_extent(
    extent: Box, clear: Bools, near: Bools, lattice: NodeLattice, grid: Grid, *, levels: int
) -> Box | None:
    """An extent with room for one level of windows more, None where those there are hold enough clear ground.

    Args:
        extent: the cells that windows of `levels` levels can touch.
        clear: (h, w), clear ground in it.
        near: (h, w), cells to fill and those beside them.
        lattice: nodes and windows.
        grid: the level of the analysis grid.
        levels: levels of windows so far.
    """
    if levels == LEVELS:
        return None
    counts, marked = (pool(padded(a.astype(np.float32), lattice.spacing), lattice.spacing) for a in (clear, near))
    short = lacking(counts, lattice, level=levels - 1, near=marked > 0)
    if not short.any():
        return None
    nodes = extent_of(short, extent.parts(lattice.alignment(levels)))
    rows = lattice.ground(range(nodes.top, nodes.bottom), level=levels)
    cols = lattice.ground(range(nodes.left, nodes.right), level=levels)
    wide = extent.union(Box(rows.start, rows.stop, cols.start, cols.stop).clip(grid.shape))
    return wide.align(lattice.alignment(levels + 1)).clip(grid.shape)


def farthest(box: Box, lattice: NodeLattice, task: Task, grid: Grid) -> Box:
    """All cells that the fill of a box can look at."""
    windows = residual_reach(grid.factor) + lattice.reach(LEVELS) + lattice.alignment(LEVELS)
    return box.pad(rim_cells(task, grid) + windows + buffer_cells(task.buffer, grid.factor)).clip(grid.shape)
