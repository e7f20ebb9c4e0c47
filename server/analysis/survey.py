"""The ground that several blocks look at, read once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial, reduce
from typing import Final

from server.analysis.extents import fill_region, narrow_extent
from server.analysis.neighbourhood import DirectPairs, Neighbourhood, PairSource
from server.analysis.pairs import Pair, Pairs, joined_rows
from server.analysis.plane import Plane
from server.analysis.task import ReplacementIndex
from server.raster.cache import RasterCache
from server.raster.grid import Box
from server.work.pool import FairPool

SURVEY_CELLS: Final = 3 << 17
"""Most cells of the blocks of a survey, which looks at about twice as many: 40 MB with six bands."""


@dataclass(frozen=True, slots=True)
class SurveyedPairs(PairSource):
    """Cuts boxes out of one look at the ground that the fills of neighbouring blocks need: the same bit for bit."""

    plane: Plane
    """What is analysed."""
    survey: Neighbourhood
    """The one look."""
    beyond: PairSource
    """The source for anything else."""

    def pair(self, k: ReplacementIndex, box: Box) -> Pair:
        """The target and the k-th replacement over a box inside the scene."""
        return self.survey.within(k, box) or self.beyond.pair(k, box)


class Surveyor:
    """Makes surveys; keeps nothing."""

    def __init__(self, rasters: RasterCache, pairs: Pairs, pool: FairPool, threads: int) -> None:
        self._rasters = rasters
        self._pairs = pairs
        self._pool = pool
        self._threads = threads

    def source(self, plane: Plane, cores: list[Box]) -> PairSource:
        """Where the fills of boxes get both dates from: a survey, unless direct reads are cheaper."""
        direct = DirectPairs(plane, self._pairs)
        survey = self._survey(plane, cores)
        return direct if survey is None else SurveyedPairs(plane, survey, direct)

    def _survey(self, plane: Plane, cores: list[Box]) -> Neighbourhood | None:
        if len(cores) < 2 or not plane.task.replacements:
            return None
        around = reduce(Box.union, map(plane.rimmed, cores))
        if around.area >= SURVEY_CELLS:
            return None
        cloud = self._pairs.masked(plane, around) & self._rasters.valid(plane.target, plane.grid, around)
        found = (fill_region(plane, core, cloud[plane.rimmed(core).within(around)]) for core in cores)
        regions = [region for region in found if region is not None]
        if len(regions) < 2:
            return None
        extents = [narrow_extent(plane, region) for region in regions]
        extent = reduce(Box.union, extents)
        if extent.area >= sum(e.area for e in extents):
            return None
        first = plane.task.turns[0]  # it fills nearly everything
        return Neighbourhood(first, extent, self._in_bands(plane, first, extent))

    def _in_bands(self, plane: Plane, k: ReplacementIndex, box: Box) -> Pair:
        """A look at a large box in bands of rows, one per worker: the same bit for bit."""
        self._pairs.prefetch(plane, k, [box])
        step = -(-box.shape[0] // self._threads)
        bands = [Box(top, min(top + step, box.bottom), box.left, box.right) for top in range(box.top, box.bottom, step)]
        return joined_rows(self._pool.run([partial(self._pairs.pair, plane, k, band) for band in bands]))
