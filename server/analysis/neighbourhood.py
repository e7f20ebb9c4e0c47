"""Both dates around what is to be filled."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from algorithms.adjust import Estimate
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

    def estimated(self, _k: ReplacementIndex, _region: Box) -> Estimate | None:
        """What is known already of the k-th replacement's estimate of a region, when it is the first to fill."""
        return None

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
        return self.hood.within(k, box) or self.beyond.pair(k, box)

    def estimated(self, k: ReplacementIndex, region: Box) -> Estimate | None:
        """The estimate of a region inside, by the first replacement."""
        inside = k == self.hood.k and self.region.intersection(region) == region
        return self.estimate.cut(region.within(self.region)) if inside else None
