"""A task on one level of the analysis grid, and what depends on both."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from algorithms.border import BORDER_MARGIN, CORRECTED_FACTORS
from algorithms.masks import buffer_cells
from algorithms.moments import NodeLattice, node_lattice
from algorithms.refine import REFINE_RADIUS
from algorithms.residual import residual_reach
from algorithms.shift import MOVED_FACTORS
from server.analysis.task import CloudSource, ReplacementIndex, Task
from server.raster.grid import PIXEL_BLOCK_CELLS, BlockNumber, Box, Grid
from server.raster.layer import Layer

MOST_HELPERS: Final = 2
"""Replacements that refine the target's mask: each further one widens what has to be read around a block."""


@dataclass(frozen=True, slots=True)
class LayerClouds:
    """The clouds of a layer on one level: what masks are made of."""

    layer: Layer
    """The layer that has the clouds."""
    source: CloudSource
    """Where they come from."""
    grid: Grid
    """The level."""
    plot: Box | None = None
    """The plot of the scene's sample that a network looks at, see `server.analysis.sampled`; None: the lattice's
    windows."""

    @property
    def seen(self) -> Layer:
        """What the network looks at: the layer, or more of the same raster's bands."""
        return self.source.looks_at or self.layer


@dataclass(frozen=True, slots=True)
class Plane:
    """A task on one level of the analysis grid; lengths are in its cells."""

    task: Task
    """What to analyse."""
    grid: Grid
    """The level."""
    plot: Box | None = None
    """The plot of the scene's sample that clouds are looked for in, as in `LayerClouds`."""

    def __hash__(self) -> int:
        # Cached fills are looked up by it: what tells planes apart nearly always, half as long as all of it.
        return hash((self.task.target, self.task.options, self.task.buffer, self.grid.factor))

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the scene."""
        return self.grid.shape

    @property
    def factor(self) -> int:
        """Native pixels per side of a cell."""
        return self.grid.factor

    @property
    def target(self) -> Layer:
        """The cloudy raster."""
        return self.task.target

    def replacement(self, k: ReplacementIndex) -> Layer:
        """The k-th replacement."""
        return self.task.replacement(k)

    @property
    def target_clouds(self) -> LayerClouds:
        """The target's clouds, on this level."""
        return LayerClouds(self.target, self.task.clouds, self.grid, self.plot)

    def replacement_clouds(self, k: ReplacementIndex) -> LayerClouds:
        """The k-th replacement's clouds, on this level."""
        return LayerClouds(self.replacement(k), self.task.replacement_clouds[k - 1], self.grid, self.plot)

    @property
    def masks(self) -> Plane:
        """The same task on the level that the masks are made on."""
        return self if self.grid.masks is None else Plane(self.task, self.grid.masks)

    def mask_cells(self, box: Box) -> Box:
        """The cells of `masks` under a box."""
        return self.grid.mask_cells(box)[1]

    def side(self, *, in_pixels: bool) -> int:
        """Cells per side of a block of fills, corrected `in_pixels` where they can be."""
        return PIXEL_BLOCK_CELLS if in_pixels and self.pixelwise else self.grid.side

    def block(self, number: BlockNumber, *, in_pixels: bool) -> Box:
        """The cells of a block of fills."""
        return self.grid.block(number, self.side(in_pixels=in_pixels))

    def blocks(self, box: Box, *, in_pixels: bool) -> Iterator[BlockNumber]:
        """Numbers of the blocks of fills that a box touches, row by row."""
        return box.blocks(self.side(in_pixels=in_pixels))

    @property
    def buffer(self) -> int:
        """Radius of the buffer around clouds."""
        return buffer_cells(self.task.buffer, self.factor)

    @property
    def helpers(self) -> range:
        """The replacements that refine the target's mask; none where it is not refined."""
        return self.task.indexes[:MOST_HELPERS] if self.task.refine else range(0)

    @property
    def refinement_reach(self) -> int:
        """Cells around a cell that its refined class can depend on."""
        return REFINE_RADIUS * len(self.helpers)

    @property
    def moved(self) -> bool:
        """Whether replacements are moved to where they lie on the target."""
        return self.grid.fine and self.factor in MOVED_FACTORS

    @property
    def pixelwise(self) -> bool:
        """Whether fills are corrected in pixels: on levels whose cells are averages of a few of them."""
        return self.task.options.residual and self.grid.fine and self.factor in CORRECTED_FACTORS

    @property
    def rim(self) -> int:
        """Cells around a block that its fields are needed on: for interpolation, and for the correction in pixels."""
        return 1 + (-(-(1 + BORDER_MARGIN) // self.factor) if self.pixelwise else 0)

    def rimmed(self, core: Box) -> Box:
        """A box and its rim, inside the scene."""
        return core.pad(self.rim).clip(self.shape)

    @property
    def lattice(self) -> NodeLattice:
        """Where windows stand, and how wide they are."""
        return node_lattice(self.task.options.window, self.factor)

    def farthest(self, box: Box) -> Box:
        """All cells that the fill of a box can look at, wide windows aside, for which larger cells are read."""
        lattice = self.lattice
        windows = residual_reach(self.factor) + lattice.reach(1) + lattice.spacing
        return box.pad(self.rim + windows + self.buffer).clip(self.shape)
