"""The analysis task: rasters on one lattice, where their clouds come from, what to do."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from algorithms.fill import FillOptions
from algorithms.models import CloudModel
from algorithms.options import CloudOptions
from algorithms.reclassify import Remap, default_rule
from server.raster.dataset import Dataset
from server.raster.layer import Layer

ReplacementIndex = int
"""Which replacement, called `k`: 1 for the first. It is the value of the source band where that one fills."""

JOINT: Final[ReplacementIndex] = 0
"""Stands for all replacements that explain the target together; what they fill counts as the first one's."""
MOST_JOINED: Final = 3
"""Replacements that explain the target together: the first so many."""


@dataclass(frozen=True, slots=True)
class CloudSource:
    """Where the clouds of a layer come from, and which classes count as cloud."""

    remap: Remap | None
    """From classes to 0/1; None: the default for a user's mask."""
    model: CloudModel | None = None
    """The network, if one is used."""
    classes: Dataset | None = None
    """A user's class raster instead of the network."""
    sensitivity: int = CloudOptions.sensitivity
    """How readily the network's mask takes ground; a user's raster always has the default here."""
    looks_at: Layer | None = None
    """What the network looks at, where the layer that the fill works with lacks bands of it; None: that layer."""
    unsought: str | None = None
    """Why nobody looks for the clouds of a replacement; None where somebody does, or the user knows of none."""

    def at(self, sensitivity: int) -> CloudSource:
        """The same clouds, taken as readily as this: only a network's depend on it."""
        return self if self.model is None else replace(self, sensitivity=sensitivity)

    @property
    def users(self) -> bool:
        """Whether it is a user's raster, rather than a network or nothing."""
        return self.classes is not None

    @property
    def rule(self) -> str:
        """Which classes count as cloud: the remap string, or the default in words."""
        if self.remap is not None:
            return self.remap.text
        if self.classes is not None and self.classes.code is not None:
            return self.classes.code.meaning
        return default_rule(fractions=self.classes is not None and self.classes.fractions)


@dataclass(frozen=True, slots=True)
class Task:
    """What is to be analysed: everything that the result depends on, hence a cache key."""

    target: Layer
    """The cloudy raster."""
    replacements: tuple[Layer, ...]
    """Other dates, in order of preference."""
    clouds: CloudSource
    """Where the target's clouds come from."""
    replacement_clouds: tuple[CloudSource, ...]
    """Where each replacement's clouds come from."""
    buffer: int
    """Buffer steps of two native pixels around every cloud."""
    options: FillOptions
    """The adjustment."""
    refine: bool = False
    """Whether the replacements help to find the target's clouds."""
    unrefined: str | None = None
    """What to say of a mask that only some of them could refine; None where nothing is to be said."""

    @property
    def indexes(self) -> range:
        """The replacements' indexes, in order of preference."""
        return range(1, 1 + len(self.replacements))

    @property
    def turns(self) -> tuple[ReplacementIndex, ...]:
        """What fills, in order: `JOINT` before each replacement alone where the adjustment takes several."""
        joint = self.options.adjustment == "joint" and len(self.replacements) > 1
        return (JOINT, *self.indexes) if joint else tuple(self.indexes)

    def members(self, k: ReplacementIndex) -> range:
        """The replacements that `k` stands for."""
        return self.indexes[:MOST_JOINED] if k == JOINT else range(k, k + 1)

    def replacement(self, k: ReplacementIndex) -> Layer:
        """The k-th replacement."""
        return self.replacements[k - 1]
