"""The fixed sample of a scene on a level: its plots, and planes whose clouds are looked for in them alone."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Final

from algorithms.sample import Place, sample_plots, sample_squares
from algorithms.shift import shift_patches
from server.analysis.plane import Plane
from server.raster.grid import Box, Grid, fine_grid

SampleView = tuple[Plane, Box]
"""Cells to look at, and the plane to look at them on."""
_LEVELS: Final = 256
"""Levels whose plots are remembered."""


def _box(place: Place) -> Box:
    y, x = place
    return Box(y.start, y.stop, x.start, x.stop)


@lru_cache(maxsize=_LEVELS)
def plots(grid: Grid) -> list[Box]:
    """The plots of a scene's sample; none of a small scene, which is taken whole."""
    return [_box(place) for place in sample_plots(grid.shape) or ()]


def plot_around(grid: Grid, box: Box) -> Box | None:
    """The plot that a box lies in, None where it is in none."""
    return next((plot for plot in plots(grid) if plot.intersection(box) == box), None)


def sample_views(plane: Plane) -> list[SampleView]:
    """What a scene stage is fitted on: each square on a plane of its own plot, or the whole of a small scene."""
    squares = sample_squares(plane.shape)
    if squares is None:
        return [(plane, Box(0, plane.grid.rows, 0, plane.grid.cols))]
    return _views(plane, [_box(square) for square in squares])


def patch_views(plane: Plane) -> list[SampleView]:
    """What the shift between two dates is estimated on, in cells."""
    patches = [_box(patch).parts(plane.factor) for patch in shift_patches(plane.shape, plane.factor)]
    return _views(plane, patches)


def _views(plane: Plane, boxes: list[Box]) -> list[SampleView]:
    # Masks that come from another level are made on its lattice.
    own = plane.grid.masks is None and plane.factor >= fine_grid(plane.target.dataset).factor
    return [(replace(plane, plot=plot_around(plane.grid, box) if own else None), box) for box in boxes]
