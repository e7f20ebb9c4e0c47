"""Cache keys: all that a computed value depends on, and no more.

No option is in the keys of inferences, and only `sensitivity` in those of masks, so that moving a slider runs no
inference.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from algorithms.reclassify import Remap
from algorithms.windows import Window
from server.analysis.plane import LayerClouds, Plane
from server.analysis.task import ReplacementIndex
from server.raster.dataset import Dataset
from server.raster.grid import BlockNumber, Box, Grid
from server.raster.layer import Layer


@dataclass(frozen=True, slots=True)
class WindowKey:
    """Probabilities of one inference."""

    layer: Layer
    model: str
    """Fingerprint of its card, which names the network by its checksum."""
    grid: Grid
    window: Window | int
    """Of the lattice, or the number of a mosaic of the scene's sample."""
    glanced: bool = False
    """Whether what a coarser look finds clear counts as that, without an inference of its own."""


@dataclass(frozen=True, slots=True)
class BlendedKey:
    """A block of the model's mask."""

    layer: Layer
    model: str
    sensitivity: int
    grid: Grid
    number: BlockNumber
    glanced: bool
    """As in `WindowKey`."""


@dataclass(frozen=True, slots=True)
class UserMaskKey:
    """A block of a user's mask."""

    layer: Layer
    classes: Dataset
    remap: Remap | None
    grid: Grid
    number: BlockNumber


@dataclass(frozen=True, slots=True)
class FirstFitKey:
    """The scene stage that serves the refinement by one replacement."""

    target: LayerClouds
    replacement: LayerClouds

    @classmethod
    def of(cls, plane: Plane, k: ReplacementIndex) -> FirstFitKey:
        """The key of the k-th replacement's."""
        return cls(plane.target_clouds, plane.replacement_clouds(k))


@dataclass(frozen=True, slots=True)
class RefinedKey:
    """A block of a refined mask."""

    target: LayerClouds
    helpers: tuple[LayerClouds, ...]
    number: BlockNumber

    @classmethod
    def of(cls, plane: Plane, number: BlockNumber) -> RefinedKey:
        """The key of a block."""
        return cls(plane.target_clouds, tuple(map(plane.replacement_clouds, plane.helpers)), number)


@dataclass(frozen=True, slots=True)
class _ClearGroundKey:
    """What rests on the cells that are clear in all dates: all that decides which these are."""

    target: LayerClouds
    replacements: tuple[LayerClouds, ...]
    helpers: tuple[LayerClouds, ...]
    buffer: int

    @classmethod
    def of(cls, plane: Plane, k: ReplacementIndex) -> Self:
        """The key of the k-th replacement's, or of the joint ones'."""
        helpers = tuple(map(plane.replacement_clouds, plane.helpers))
        members = tuple(map(plane.replacement_clouds, plane.task.members(k)))
        return cls(plane.target_clouds, members, helpers, plane.task.buffer)


class ShiftKey(_ClearGroundKey):
    """How far a replacement is moved."""

    __slots__ = ()


class SceneKey(_ClearGroundKey):
    """The scene stage of a replacement, or of the joint ones."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class WideSumsKey:
    """Sums of wide windows over a block of their nodes."""

    plane: Plane
    """That of the fill."""
    k: ReplacementIndex
    number: BlockNumber


@dataclass(frozen=True, slots=True)
class FillKey:
    """The fill of a block, with squares of 2^`power` cells reduced to one."""

    plane: Plane
    number: BlockNumber
    power: int
    in_pixels: bool
    """Whether native pixels near the mask's border are corrected: then it is a smaller block."""

    @property
    def core(self) -> Box:
        """The block's cells."""
        return self.plane.block(self.number, in_pixels=self.in_pixels)
