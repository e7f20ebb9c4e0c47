"""Cached adjustment tiles: from masks and cells to the fill of each block of the analysis grid."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial, reduce
from typing import Final

from server.analysis.ahead import Ahead, Visit
from server.analysis.blocks import BlockFill, reduce_fill
from server.analysis.filled import FilledBox
from server.analysis.filling import Filling
from server.analysis.grouping import VIEW_CELLS, Group, chunked, group_blocks, grouped
from server.analysis.keeping import drop_needless
from server.analysis.keys import FillKey
from server.analysis.marked import MarkedMasks
from server.analysis.masks import Masks
from server.analysis.pairs import Pairs
from server.analysis.plane import Plane
from server.analysis.plausibility import ReflectanceChecks
from server.analysis.refinement import Refinement
from server.raster.cache import RasterCache
from server.raster.grid import BlockNumber, Box
from server.raster.sources import Sources
from server.remote.files import is_remote
from server.work.activity import Activity
from server.work.cache import TileCache
from server.work.figures import CacheFigures
from server.work.memory import tidied
from server.work.pool import FairPool
from server.work.shared import SharedCache
from server.work.trace import stage

RASTER_SHARE: Final = 1 / 3
"""Share of the caches' memory for what is read from the rasters, besides what the other leaves free."""
CHUNK_BLOCKS: Final = 8
"""Blocks per worker that a large image prepares at a time, so that what they share is still in the cache."""


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
        self._filling = Filling(self.rasters, self.pairs, self._cache)
        self.ahead: Ahead | None = None
        """Work ahead, if there is any."""
        if activity is not None:
            self.ahead = Ahead(
                self._missing,
                lambda visit, numbers: self.blocks(visit.plane, numbers, in_pixels=visit.in_pixels),
                activity,
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
        """Stop the threads, and let go of what is kept: others may hold on to a closed application."""
        if self.ahead is not None:
            self.ahead.close()
        self._pool.close()
        for kept in self._caches:
            kept.drop(kept.keys)

    def seen(self, plane: Plane, box: Box, *, in_pixels: bool = True) -> None:
        """Note a view that shows single cells of the fine level: the client may move on to its neighbourhood.

        Remote rasters are not read for what nobody requested.
        """
        layers = (plane.target, *plane.task.replacements)
        if self.ahead is not None and plane.grid.fine and not any(is_remote(x.dataset.url) for x in layers):
            self.ahead.seen(Visit(plane, box, in_pixels))

    @staticmethod
    def _key(plane: Plane, number: BlockNumber, power: int, *, in_pixels: bool) -> FillKey:
        """The key of a fill: corrected in pixels only where that can be, and where single cells are seen."""
        return FillKey(plane, number, power, in_pixels=in_pixels and power == 0 and plane.pixelwise)

    def _kept(self, plane: Plane, number: BlockNumber, power: int, *, in_pixels: bool = True) -> bool:
        return self._cache.peek(self._key(plane, number, power, in_pixels=in_pixels))

    def _missing(self, visit: Visit, number: BlockNumber) -> bool:
        return not self._kept(visit.plane, number, 0, in_pixels=visit.in_pixels)

    def blocks(
        self, plane: Plane, numbers: Sequence[BlockNumber], *, power: int = 0, in_pixels: bool = True
    ) -> dict[BlockNumber, BlockFill]:
        """The fill of several blocks, with squares of 2^`power` cells reduced to one.

        Without the correction of native pixels if not `in_pixels`; blocks are then larger, see `Plane.side`.

        What is not there is filled in groups, and worked off in chunks of them, so that an image over any number of
        blocks takes no more memory than the reduced result.
        """
        corrected = in_pixels and power == 0 and plane.pixelwise
        keys = [FillKey(plane, n, power, corrected) for n in numbers]
        self._cache.load(keys)
        found = dict(zip(numbers, self._cache.held(keys), strict=True))
        missing = [n for n, fill in found.items() if fill is None]
        # Squares also count the cells around clouds, whose fields are those of the block filled alone.
        side = plane.side(in_pixels=in_pixels)
        groups = grouped(missing, max(1, VIEW_CELLS // side**2) if power == 0 else 1)
        for chunk in chunked(groups, CHUNK_BLOCKS * self._threads * (plane.grid.side // side) ** 2):
            self._prepare(plane, chunk, in_pixels=in_pixels and power == 0)
            with stage("adjust"):
                self._pool.run([partial(self._group, plane, group, power, in_pixels=in_pixels) for group in chunk])
        with stage("adjust" if missing else "mask"):
            for n in missing:
                key = FillKey(plane, n, power, corrected)
                found[n] = self._block(key, partial(self._filled, plane, [key.core]))
        return found

    def _group(self, plane: Plane, numbers: Group, power: int, *, in_pixels: bool) -> None:
        """Compute and keep the fills of several blocks, at once as far as they are not there."""
        keys = [self._key(plane, n, power, in_pixels=in_pixels) for n in numbers]
        filled = cache(partial(self._filled, plane, [key.core for key in keys]))
        for key in keys:
            self._block(key, filled)

    def _filled(self, plane: Plane, cores: Sequence[Box]) -> FilledBox:
        """The fill of the rectangle around several blocks."""
        return self._filling.fill(plane, reduce(Box.union, cores))

    def _block(self, key: FillKey, filled: Callable[[], FilledBox]) -> BlockFill:
        """A block, from the fill of a box around it where it is not there."""
        plane, core = key.plane, key.core

        def compute() -> BlockFill:
            if key.power == 0:
                return self._filling.block(plane, filled(), core, in_pixels=key.in_pixels)
            # The whole fill of a block weighs many times what is seen of it from afar. At the coarse level every zoom
            # asks for the same few blocks; at the fine one it is not kept for that.
            if not plane.grid.fine:
                return reduce_fill(self._block(FillKey(plane, key.number, 0, in_pixels=False), filled), core, key.power)
            return reduce_fill(self._filling.block(plane, filled(), core, in_pixels=False), core, key.power)

        return self._cache.get(key, compute)

    def _prepare(self, plane: Plane, groups: Sequence[Group], *, in_pixels: bool = True) -> None:
        """Do in the request's own thread what would keep the workers waiting for each other."""
        masked = plane.masks
        cores = [[plane.block(n, in_pixels=in_pixels) for n in group] for group in groups]
        if in_pixels:
            self._filling.announce(plane, [core for group in cores for core in group])
        self.pairs.announce(plane)
        radius = plane.rim + masked.buffer
        boxes = [plane.mask_cells(core).pad(radius).clip(masked.shape) for group in cores for core in group]
        with stage("mask"):
            if masked.task.refine:
                self._refinement.prefetch(masked, boxes)
            else:
                self.masks.prefetch([(masked.target_clouds, box) for box in boxes])
        with stage("adjust"):
            around = [reduce(Box.union, group) for group in cores] if plane.task.replacements else []
            if extents := self._filling.extents(plane, around):
                first = plane.task.turns[0]
                # The fit takes one worker; meanwhile the others infer what the fills look at.
                jobs: list[Callable[[], object]] = [partial(self.pairs.scene, plane, first)]
                jobs.append(partial(self.pairs.prefetch, plane, first, extents))
                self._pool.run(jobs)

    def announce(self, plane: Plane, numbers: list[BlockNumber]) -> None:
        """Announce which blocks will be requested, so that their pixels are read with their cells."""
        self._filling.announce(plane, [plane.block(n, in_pixels=True) for n in numbers])

    def prepare_groups(self, plane: Plane, numbers: list[BlockNumber]) -> None:
        """Infer, fit and read what `groups` needs of the same blocks, so that its jobs wait for none of it."""
        self._prepare(plane, self._groups(plane, numbers))

    def groups(self, plane: Plane, numbers: list[BlockNumber]) -> None:
        """Compute the fills of blocks, and of those around them, in groups of `GROUP_CELLS`, and keep them.

        For a whole scene this saves most of what blocks read around themselves. The values are those of single blocks,
        bit for bit.
        """
        fill = partial(self._group, plane, power=0, in_pixels=True)
        self._pool.run([partial(tidied, partial(fill, group)) for group in self._groups(plane, numbers)])

    def _groups(self, plane: Plane, numbers: list[BlockNumber]) -> list[Group]:
        """The groups in which blocks are that are not kept."""
        side = plane.side(in_pixels=True)
        rows, cols = group_blocks(side)
        wanted = sorted({(i // rows, j // cols) for i, j in numbers if not self._kept(plane, (i, j), 0)})
        boxes = (Box(i, i + 1, j, j + 1) for i, j in wanted)
        areas = [Box(b.top * rows, b.bottom * rows, b.left * cols, b.right * cols).times(side) for b in boxes]
        return [list(plane.blocks(area.clip(plane.shape), in_pixels=True)) for area in areas]

    def keep(self, plane: Plane, *, made: list[Box], seen: list[Box]) -> None:
        """Keep fills and pixels only where they touch some boxes of cells, and cells where they touch others."""
        drop_needless(self._caches, *([box.times(plane.factor) for box in boxes] for boxes in (made, seen)))
