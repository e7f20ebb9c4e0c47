"""Which ground the fill of a rectangle of cells looks at."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from algorithms.residual import residual_reach
from server.analysis.plane import Plane
from server.raster.grid import Box

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
    """The cells inside the scene that the windows of a region can touch, from a node on."""
    lattice = plane.lattice
    return region.align(lattice.spacing).pad(lattice.reach(1)).clip(plane.shape)
