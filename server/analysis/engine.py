"""Cached adjustment tiles: from masks and cells to the fill of each block of the analysis grid."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Final

from server.analysis.ahead import Ahead, Visit
from server.analysis.blocks import BlockFill, reduce_fill
from server.analysis.filling import Filling
from server.analysis.keeping import needless
from server.analysis.keys import FillKey
from server.analysis.marked import MarkedMasks
from server.analysis.masks import Masks
from server.analysis.neighbourhood import DirectPairs, PairSource
from server.analysis.pairs import Pairs
from server.analysis.plane import Plane
from server.analysis.plausibility import ReflectanceChecks
from server.analysis.refinement import Refinement
from server.analysis.survey import Surveyor
from server.raster.cache import RasterCache
from server.raster.grid import BlockNumber, Box
from server.raster.sources import Sources
from server.remote.files import is_remote
from server.work.activity import Activity
from server.work.cache import TileCache
from server.work.figures import CacheFigures
from server.work.memory import BUSY_PAUSE_SECONDS, give_back
from server.work.pool import FairPool
from server.work.shared import SharedCache
from server.work.trace import stage

RASTER_SHARE: Final = 1 / 3
"""Share of the caches' memory for what is read from the rasters, besides what the other leaves free."""
CHUNK_BLOCKS: Final = 8
"""Blocks per worker that a large image prepares at a time, so that what they share is still in the cache."""
GROUP_BLOCKS: Final = (2, 4)
"""Rows and columns of blocks that are computed together of a whole scene: few rows, for what lies around all that are
next to each other is kept."""


class Analysis:
    """Mask and adjustment tiles of any task, each computed once however many requests arrive at once."""

    def __init__(
        self,
        sources: Sources,
        *,
        cache_bytes: int,
        threads: int,
        activity: Activity | None = None,
        raster_share: float = RASTER_SHARE,
        shared: SharedCache | None = None,
    ) -> None:
        """Start the threads.

        Args:
            sources: what reads rasters.
            cache_bytes: bound on everything kept.
            threads: workers.
            activity: requests, while there are none of which work ahead is done; None for no such work.
            raster_share: share of the bytes for what is read from the rasters.
            shared: where other processes find what this one computes.
        """
        raster_bytes = int(cache_bytes * raster_share)
        self.shared: Final = shared
        """Where other processes find what this one computes."""
        self._cache = TileCache(cache_bytes - raster_bytes, name="computed", shared=shared)
        raster_cache = TileCache(raster_bytes, name="rasters", lender=self._cache)
        self._caches = (self._cache, raster_cache)
        self._threads = threads
        self._pool = FairPool(threads)
        # Cells are many and quick to read again: they must not drive out what took inference, but use what it leaves.
        self.rasters = RasterCache(sources, raster_cache)
        self.marked: Final = MarkedMasks(sources)
        """What users' masks mark."""
        self.reflectances: Final = ReflectanceChecks(sources)
        """Whether rasters' reflectances can be right."""
        self.masks = Masks(self.rasters, self._cache, self._pool)
        self._refinement = Refinement(self.rasters, self.masks, self._cache, self._pool)
        self.pairs = Pairs(self.rasters, self.masks, self._refinement, self._cache, self._pool)
        self._surveyor = Surveyor(self.rasters, self.pairs, self._pool, threads)
        self._filling = Filling(self.rasters, self.pairs, self._cache)
        self.ahead: Ahead | None = None
        """Work ahead, if there is any."""
        if activity is not None:
            self.ahead = Ahead(
                self._missing, lambda visit, n: self.blocks(visit.plane, [n], in_pixels=visit.in_pixels), activity
            )

    @property
    def cache(self) -> TileCache:
        """The cache of everything computed."""
        return self._cache

    @property
    def cache_figures(self) -> tuple[CacheFigures, ...]:
        """Figures of the caches of what is computed and what is read for it."""
        figures = tuple(cache.figures for cache in self._caches)
        return figures if self.shared is None else (*figures, self.shared.figures)

    @property
    def cache_share(self) -> float:
        """Share of its bound that the fuller of the caches holds."""
        return max(cache.share for cache in self._caches)

    @property
    def waiting(self) -> int:
        """Inferences and fills that wait for a worker."""
        return self._pool.waiting

    def close(self) -> None:
        """Stop the threads."""
        if self.ahead is not None:
            self.ahead.close()
        self._pool.close()

    def seen(self, plane: Plane, box: Box, *, in_pixels: bool = True) -> None:
        """Note a view that shows single cells of the fine level: the client may move on to its neighbourhood.

        Remote rasters are not read for what nobody requested.
        """
        layers = (plane.target, *plane.task.replacements)
        if self.ahead is not None and plane.grid.fine and not any(is_remote(x.dataset.url) for x in layers):
            self.ahead.seen(Visit(plane, box, in_pixels))

    def _key(self, plane: Plane, number: BlockNumber, power: int, *, in_pixels: bool) -> FillKey:
        """The key of a fill: without its correction in pixels where that is not wanted and would have to be made."""
        whole = FillKey(plane, number, power)
        if in_pixels or power > 0 or not plane.pixelwise or self._cache.peek(whole):
            return whole
        return FillKey(plane, number, power, in_pixels=False)

    def _kept(self, plane: Plane, number: BlockNumber, power: int, *, in_pixels: bool = True) -> bool:
        return self._cache.peek(self._key(plane, number, power, in_pixels=in_pixels))

    def _missing(self, visit: Visit, number: BlockNumber) -> bool:
        return not self._kept(visit.plane, number, 0, in_pixels=visit.in_pixels)

    def blocks(
        self, plane: Plane, numbers: list[BlockNumber], *, power: int = 0, in_pixels: bool = True
    ) -> dict[BlockNumber, BlockFill]:
        """The fill of several blocks, with squares of 2^`power` cells reduced to one.

        Without the correction of native pixels if not `in_pixels`, unless it is there already.

        Worked off in chunks, so that an image over any number of blocks takes no more memory than the reduced result.
        """
        self._cache.load(self._key(plane, n, power, in_pixels=in_pixels) for n in numbers)
        missing = [n for n in numbers if not self._kept(plane, n, power, in_pixels=in_pixels)]
        step = CHUNK_BLOCKS * self._threads
        for start in range(0, len(missing), step):
            chunk = missing[start : start + step]
            self._prepare(plane, chunk, in_pixels=in_pixels and power == 0)
            with stage("adjust"):
                unfilled = [n for n in chunk if not self._kept(plane, n, 0, in_pixels=in_pixels and power == 0)]
                source = self._surveyor.source(plane, [plane.block(n) for n in unfilled])
                self._pool.run([partial(self._reduced, source, n, power, in_pixels=in_pixels) for n in chunk])
        with stage("adjust" if missing else "mask"):
            direct = DirectPairs(plane, self.pairs)
            return {n: self._reduced(direct, n, power, in_pixels=in_pixels) for n in numbers}

    def _reduced(self, source: PairSource, number: BlockNumber, power: int, *, in_pixels: bool) -> BlockFill:
        plane = source.plane
        core, key = plane.block(number), self._key(plane, number, power, in_pixels=in_pixels)

        def compute() -> BlockFill:
            if power == 0:
                return self._filling.block(plane, self._filling.fill(source, core), core, in_pixels=key.in_pixels)
            # The whole fill of a block weighs many times what is seen of it from afar. At the coarse level every zoom
            # asks for the same few blocks; at the fine one it is not kept for that.
            if not plane.grid.fine or self._kept(plane, number, 0, in_pixels=False):
                return reduce_fill(self._reduced(source, number, 0, in_pixels=False), core, power)
            filled = self._filling.fill(source, core)
            return reduce_fill(self._filling.block(plane, filled, core, in_pixels=False), core, power)

        return self._cache.get(key, compute)

    def _prepare(self, plane: Plane, numbers: list[BlockNumber], *, in_pixels: bool = True) -> None:
        """Do in the request's own thread what would keep the workers waiting for each other."""
        masked = plane.masks
        if in_pixels:
            self.announce(plane, numbers)
        self.pairs.announce(plane)
        radius = plane.rim + masked.buffer
        boxes = [plane.mask_cells(plane.block(n)).pad(radius).clip(masked.shape) for n in numbers]
        with stage("mask"):
            if masked.task.refine:
                self._refinement.prefetch(masked, boxes)
            else:
                self.masks.prefetch([(masked.target_clouds, box) for box in boxes])
        with stage("adjust"):
            cores = [plane.block(n) for n in numbers] if plane.task.replacements else []
            if extents := self._filling.extents(plane, cores):
                first = plane.task.turns[0]
                # The fit takes one worker; meanwhile the others infer what the fills look at.
                jobs: list[Callable[[], object]] = [partial(self.pairs.scene, plane, first)]
                jobs.append(partial(self.pairs.prefetch, plane, first, extents))
                self._pool.run(jobs)

    def announce(self, plane: Plane, numbers: list[BlockNumber]) -> None:
        """Announce which blocks will be requested, so that their pixels are read with their cells."""
        self._filling.announce(plane, [plane.block(n) for n in numbers])

    def prepare_groups(self, plane: Plane, numbers: list[BlockNumber]) -> None:
        """Infer, fit and read what `groups` needs of the same blocks, so that its jobs wait for none of it."""
        self._prepare(plane, [n for core in self._cores(plane, numbers) for n in plane.blocks(core)])

    def groups(self, plane: Plane, numbers: list[BlockNumber]) -> None:
        """Compute the fills of blocks, and of those around them, in groups of `GROUP_BLOCKS`, and keep them.

        For a whole scene this saves most of what blocks read around themselves. The values are those of single blocks,
        bit for bit.
        """
        self._pool.run([partial(self._group, plane, core) for core in self._cores(plane, numbers)])

    def _cores(self, plane: Plane, numbers: list[BlockNumber]) -> list[Box]:
        """The groups in which blocks are that are not kept."""
        rows, cols = GROUP_BLOCKS
        wanted = sorted({(i // rows * rows, j // cols * cols) for i, j in numbers if not self._kept(plane, (i, j), 0)})
        return [plane.block((i, j)).union(plane.block((i + rows - 1, j + cols - 1))) for i, j in wanted]

    def keep(self, plane: Plane, *, made: list[Box], seen: list[Box]) -> None:
        """Keep fills and pixels only where they touch some boxes of cells, and cells where they touch others."""
        boxes = [[box.times(plane.factor) for box in each] for each in (made, seen)]
        for held in self._caches:
            held.drop(list(needless(held.keys, *boxes)))

    def _group(self, plane: Plane, core: Box) -> None:
        filled = cache(partial(self._filling.fill, DirectPairs(plane, self.pairs), core))

        def compute(box: Box) -> BlockFill:
            return self._filling.block(plane, filled(), box)

        for number in plane.blocks(core):
            self._cache.get(FillKey(plane, number, 0), partial(compute, plane.block(number)))
        give_back(BUSY_PAUSE_SECONDS)
