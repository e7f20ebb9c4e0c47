"""Cached refined masks: the target's classes, corrected by what the replacements show of the ground."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial

import numpy as np
import numpy.typing as npt

from algorithms.cells import Cells
from algorithms.deck import DECK_RADIUS, bright_as_cloud, with_decks
from algorithms.masks import CLEAR, NODATA
from algorithms.refine import ENOUGH_FIT_CELLS, FIT_BUFFER, LIKELY, fit_cells, refine_mask, trusted
from algorithms.sample import in_a_row
from algorithms.scene import SceneFit, fit_scene
from server.analysis.keys import FirstFitKey, RefinedKey
from server.analysis.masks import Masks, MaskTile, WantedClouds, join_blocks
from server.analysis.plane import Plane
from server.analysis.sampled import sample_views
from server.analysis.task import ReplacementIndex
from server.raster.cache import CellReads, RasterCache
from server.raster.grid import BLOCK_CELLS, BlockNumber, Box
from server.work.cache import TileCache
from server.work.pool import FairPool


def _reflectance(plane: Plane, values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """(B, H, W) reflectance of values in the target's units."""
    target = plane.target.dataset
    scales, offsets = (np.asarray(v, np.float32)[:, None, None] for v in (target.scales, target.offsets))
    return values * scales + offsets


def _with_decks(
    plane: Plane,
    classes: npt.NDArray[np.uint8],
    target: npt.NDArray[np.float32],
    ground: npt.NDArray[np.float32],
    usable: npt.NDArray[np.bool_],
) -> npt.NDArray[np.uint8]:
    """Classes with decks and their shadows, see `algorithms.deck`; both dates in the target's units."""
    seen, below = _reflectance(plane, target), _reflectance(plane, ground)
    return with_decks(classes, seen, below, usable, bands=plane.target.dataset.names)


class Refinement:
    """Refined classes of any task, computed once per block and kept with the masks."""

    def __init__(self, rasters: RasterCache, masks: Masks, cache: TileCache, pool: FairPool) -> None:
        self._rasters = rasters
        self._masks = masks
        self._cache = cache
        self._pool = pool

    def classes(self, plane: Plane, box: Box) -> npt.NDArray[np.uint8]:
        """Refined classes over a box inside the scene, kept block by block."""
        numbers = list(box.blocks(BLOCK_CELLS))
        missing = [n for n in numbers if not self._cache.peek(RefinedKey.of(plane, n))]
        self.prefetch(plane, [plane.grid.block(n) for n in missing])
        self._pool.run([partial(self._block, plane, n) for n in missing])
        return self._joined(plane, box).classes

    def _kept(self, plane: Plane, box: Box) -> bool:
        """Whether all blocks under a box are cached."""
        return all(self._cache.peek(RefinedKey.of(plane, n)) for n in box.blocks(BLOCK_CELLS))

    def _joined(self, plane: Plane, box: Box) -> MaskTile:
        return join_blocks(box, lambda n: (plane.grid.block(n), self._block(plane, n)))

    def prefetch(
        self, plane: Plane, boxes: list[Box], *, others: Iterable[WantedClouds] = (), reads: CellReads | None = None
    ) -> None:
        """Infer all that refining the boxes needs, and fit the scene stage it rests on.

        Args:
            plane: what is analysed.
            boxes: what will be refined.
            others: clouds that are wanted, too.
            reads: what reads further cells, next to the last inferences.
        """
        waiting = [box.pad(plane.refinement_reach).clip(plane.shape) for box in boxes if not self._kept(plane, box)]
        # Fitted here rather than by whichever worker comes first, while the others stand and wait; they infer.
        fits: list[Callable[[], object]] = [partial(self._first_fit, plane, k) for k in plane.helpers]
        lock = threading.Lock()

        def claimed(doubtful: Callable[[Box], bool]) -> tuple[list[Callable[[], object]], list[WantedClouds]]:
            """The fits, and the clouds of the other dates, that boxes need which are found to be in doubt."""
            found = [box for box in tuple(waiting) if doubtful(box)]
            with lock:
                found = [box for box in found if box in waiting]
                waiting[:] = [box for box in waiting if box not in found]
                first, fits[:] = (fits[:], []) if found else ([], fits)
            return first, [(plane.replacement_clouds(k), box.pad(FIT_BUFFER)) for k in plane.helpers for box in found]

        def seen(cells: Box, *, known: bool) -> list[WantedClouds]:
            """Cloud in one window is enough: nobody waits for the others before the other dates are looked at."""
            inside = {box: at for box in tuple(waiting) if (at := box.intersection(cells)).area}
            doubtful = self._doubtful if known else self._bright
            first, helpers = claimed(lambda box: box in inside and doubtful(plane, inside[box]))
            self._pool.add(first)
            return helpers

        target = plane.target_clouds
        self._masks.prefetch([*((target, box) for box in waiting), *others], seen=(target, seen), reads=reads)
        first, helpers = claimed(partial(self._doubtful, plane))
        first.append(partial(self._masks.prefetch, helpers))
        self._pool.run(first)

    def fit(self, plane: Plane) -> None:
        """Fit the scene stages that refined masks rest on."""
        self._pool.run([partial(self._first_fit, plane, k) for k in plane.helpers])

    def _doubtful(self, plane: Plane, box: Box) -> bool:
        """Whether there may be cloud in a box: elsewhere nothing can be given back, and nothing can join.

        The model sees something, or takes less than that for cloud, or something is as bright as cloud.
        """
        seen = self._masks.tile(plane.target_clouds, box)
        if (seen.probabilities >= LIKELY * 255).any() or ((seen.classes != CLEAR) & (seen.classes != NODATA)).any():
            return True
        return self._bright(plane, box)

    def _bright(self, plane: Plane, box: Box) -> bool:
        """Whether something in a box is as bright as cloud."""
        cells = self._rasters.cells(plane.target, plane.grid, box)
        bright = bright_as_cloud(_reflectance(plane, cells.values), plane.target.dataset.names)
        return bool((bright & cells.full).any())

    def _block(self, plane: Plane, number: BlockNumber) -> MaskTile:
        return self._cache.get(RefinedKey.of(plane, number), lambda: self._refined(plane, plane.grid.block(number)))

    def tile(self, plane: Plane, box: Box) -> MaskTile:
        """Refined classes over a box inside the scene; the model's probabilities with them.

        Block by block and kept where all inferences for a block are there, else for just this box: the same bits.
        """
        if plane.plot is not None:
            return self._refined(plane, box)

        def fetch(number: BlockNumber) -> tuple[Box, MaskTile]:
            block = plane.grid.block(number)
            if self._cache.peek(RefinedKey.of(plane, number)) or self._ready(plane, block):
                return block, self._block(plane, number)
            part = box.intersection(block)
            return part, self._refined(plane, part)

        numbers = [n for n in box.blocks(BLOCK_CELLS) if not self._cache.peek(RefinedKey.of(plane, n))]
        if len(numbers) < 2:
            return join_blocks(box, fetch)
        made = dict(zip(numbers, self._pool.run([partial(fetch, n) for n in numbers]), strict=True))
        return join_blocks(box, lambda n: made[n] if n in made else fetch(n))

    def _ready(self, plane: Plane, block: Box) -> bool:
        """Whether refining a block takes no inference that is not there already."""
        wide = block.pad(plane.refinement_reach + FIT_BUFFER).clip(plane.shape)
        clouds = [plane.target_clouds, *map(plane.replacement_clouds, plane.helpers)]
        return self._masks.inferred((one, wide) for one in clouds)

    def _refined(self, plane: Plane, block: Box) -> MaskTile:
        wide = block.pad(plane.refinement_reach).clip(plane.shape)
        core = block.within(wide)
        tile = self._masks.tile(plane.target_clouds, wide)
        classes = tile.classes
        if self._doubtful(plane, wide):
            covered = np.zeros(wide.shape, bool)
            names = plane.target.dataset.names
            for k in plane.helpers:
                target, other, usable = self._usable(plane, k, wide)
                open_, ground = usable & ~covered, other.values
                if (first := self._first_fit(plane, k)) is not None:
                    ground = first.estimate(first.standardise(ground))
                    classes = refine_mask(
                        classes, tile.probabilities, target.values, ground, first.noise, open_, bands=names
                    )
                    covered |= usable
                classes = _with_decks(plane, classes, target.values, ground, open_)
        return MaskTile(classes[core], tile.probabilities[(slice(None), *core)])

    def _usable(self, plane: Plane, k: ReplacementIndex, box: Box) -> tuple[Cells, Cells, npt.NDArray[np.bool_]]:
        """Both dates' cells, and where they can be compared and the replacement is clear."""
        clouds = plane.replacement_clouds(k)
        around = box.pad(FIT_BUFFER)
        self._masks.prefetch([(plane.target_clouds, around), (clouds, around)])
        hidden = self._masks.cloudy(clouds, box, FIT_BUFFER)
        target, other = (self._rasters.cells(layer, plane.grid, box) for layer in (plane.target, clouds.layer))
        return target, other, target.full & other.full & ~hidden

    def _first_fit(self, plane: Plane, k: ReplacementIndex) -> SceneFit | None:
        """The scene stage that serves the refinement by the k-th replacement, None where it is not to be trusted.

        It rests on the model's masks and on no slider.
        """
        whole = replace(plane, plot=None)

        def compute() -> SceneFit | None:
            views = sample_views(whole)
            self._masks.prefetch(
                (clouds, box.pad(2 * FIT_BUFFER + DECK_RADIUS))
                for view, box in views
                for clouds in (view.target_clouds, view.replacement_clouds(k))
            )
            targets, others, clears, doubts = [], [], [], []
            for view, box in views:
                around = box.pad(FIT_BUFFER + DECK_RADIUS).clip(view.shape)
                core = box.within(around)
                tile = self._masks.tile(view.target_clouds, around)
                target, other, usable = self._usable(view, k, around)
                classes = _with_decks(view, tile.classes, target.values, other.values, usable)
                clear, doubtful = fit_cells(classes, tile.probabilities, usable)
                doubtful &= classes == tile.classes  # decks are beyond doubt
                targets.append(target.values[(slice(None), *core)])
                others.append(other.values[(slice(None), *core)])
                clears.append(clear[core])
                doubts.append(doubtful[core])
            few = sum(int(clear.sum()) for clear in clears) < ENOUGH_FIT_CELLS
            fit = fit_scene(
                in_a_row(targets),
                in_a_row(others),
                in_a_row(doubts if few else clears),
                bends=False,  # the refinement's limits are in units of the straight fit's noise
            )
            return fit if trusted(fit, doubtful=few) else None

        return self._cache.get(FirstFitKey.of(whole, k), compute)
