"""Both dates around what is to be filled."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from server.analysis.extents import narrow_extent
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

    def within(self, k: ReplacementIndex, box: Box) -> Pair | None:
        """What the k-th replacement and the target show of a box; None where that is not all in here."""
        inside = k == self.k and self.extent.intersection(box) == box
        return self.pair.cut(box.within(self.extent)) if inside else None


class PairSource(ABC):
    """Where the fills of a plane get both dates from."""

    plane: Plane

    @abstractmethod
    def pair(self, k: ReplacementIndex, box: Box) -> Pair:
        """The target and the k-th replacement over a box inside the scene."""

    def around(self, k: ReplacementIndex, region: Box) -> Neighbourhood:
        """What the windows of a region touch."""
        extent = narrow_extent(self.plane, region)
        return Neighbourhood(k, extent, self.pair(k, extent))


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
