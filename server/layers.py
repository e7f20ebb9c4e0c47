"""What is to be analysed: rasters on one lattice, where their clouds come from, what to do with them."""

from __future__ import annotations

from dataclasses import dataclass

from algorithms.fill import FillOptions
from algorithms.models import CloudModel
from server.dataset import Dataset


@dataclass(frozen=True, slots=True)
class Layer:
    """A raster brought to the target's lattice: the target itself or a replacement."""

    dataset: Dataset
    """What to read."""
    target: Dataset
    """Whose lattice."""
    indexes: tuple[int, ...]
    """1-based bands, in the order of the target's."""


@dataclass(frozen=True, slots=True)
class CloudSource:
    """Where the clouds of a layer come from, and which classes count as cloud."""

    remap: str
    """Remap string from classes to 0/1."""
    model: CloudModel | None = None
    """The network, if one is used."""
    classes: Dataset | None = None
    """A user's class raster instead of the network."""


@dataclass(frozen=True, slots=True)
class Task:
    """What is to be analysed: everything that the result depends on, hence a cache key."""

    target: Layer
    """The cloudy raster."""
    replacements: tuple[Layer, ...]
    """Other dates, in the order of preference."""
    clouds: CloudSource
    """Where the target's clouds come from."""
    replacement_clouds: CloudSource
    """Where the replacements' clouds come from."""
    buffer: int
    """Buffer steps of two native pixels around every cloud."""
    options: FillOptions
    """The adjustment."""
    refine: bool = False
    """Whether the replacements help to tell the target's clouds."""
