"""Both dates around what is to be filled: a narrow neighbourhood first, a wider one where too little of it is clear."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from algorithms.adjust import Estimate
from server.analysis.extents import NARROWEST_LEVELS, narrow_extent, wider_extent
from server.analysis.pairs import Pair, Pairs
from server.analysis.plane import Plane
from server.analysis.task import ReplacementIndex
from server.raster.grid import Box


@dataclass(frozen=True, slots=True)
class Neighbourhood:
    """Both dates over an extent."""

    k: ReplacementIndex
    """Which replacement."""
    extent: Box
    """The cells that windows can touch."""
    pair: Pair
    """What they show."""
    levels: int = NARROWEST_LEVELS
    """Levels of windows there is room for."""


Near = Callable[[Neighbourhood], npt.NDArray[np.bool_]]
"""Marks the cells of a neighbourhood that are to be filled, and those next to them."""


class PairSource(ABC):
    """Where the fills of a plane get both dates from."""

    plane: Plane

    @abstractmethod
    def pair(self, k: ReplacementIndex, box: Box) -> Pair:
        """The target and the k-th replacement over a box inside the scene."""

    def estimated(self, _k: ReplacementIndex, _region: Box) -> Estimate | None:
        """What is known already of the k-th replacement's estimate of a region, when it is the first to fill."""
        return None

    def around(self, k: ReplacementIndex, region: Box) -> Neighbourhood:
        """What the narrowest windows of a region touch."""
        extent = narrow_extent(self.plane, region)
        return Neighbourhood(k, extent, self.pair(k, extent))

    def widened(self, hood: Neighbourhood, near: Near) -> Neighbourhood:
        """A neighbourhood as wide as it takes for all windows near what is to be filled to hold enough clear ground."""
        while True:
            k, levels = hood.k, hood.levels
            wider = wider_extent(self.plane, hood.extent, hood.pair.clear, near(hood), levels=levels)
            if wider is None:
                return hood
            del hood  # or both would be in memory
            hood = Neighbourhood(k, wider, self.pair(k, wider), levels + 1)


@dataclass(frozen=True, slots=True)
class DirectPairs(PairSource):
    """Looks at the cached cells and masks for every box."""

    plane: Plane
    """What is analysed."""
    pairs: Pairs
    """What both dates show."""

    def pair(self, k: ReplacementIndex, box: Box) -> Pair:
        """The target and the k-th replacement over a box inside the scene."""
        return self.pairs.pair(self.plane, k, box)


@dataclass(frozen=True, slots=True)
class EstimatedPairs(PairSource):
    """Has the estimate of a region, out of which it cuts those of smaller ones: the same bit for bit."""

    plane: Plane
    """What is analysed."""
    hood: Neighbourhood
    """Both dates around the region."""
    region: Box
    """The cells of the estimate."""
    estimate: Estimate
    """The first replacement's."""
    beyond: PairSource
    """The source for anything else."""

    def pair(self, k: ReplacementIndex, box: Box) -> Pair:
        """The target and the k-th replacement over a box inside the scene."""
        extent = self.hood.extent
        if k == self.hood.k and extent.intersection(box) == box:
            return self.hood.pair.cut(box.within(extent))
        return self.beyond.pair(k, box)

    def estimated(self, k: ReplacementIndex, region: Box) -> Estimate | None:
        """The estimate of a region inside, by the first replacement."""
        inside = k == self.hood.k and self.region.intersection(region) == region
        return self.estimate.cut(region.within(self.region)) if inside else None
