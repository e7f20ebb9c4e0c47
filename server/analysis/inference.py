"""Cached inferences: windows of a scene's lattice, glances that spare them, and mosaics of its sample's plots."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from itertools import product
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from algorithms.bands import role_indexes
from algorithms.cells import cell_means
from algorithms.mask import window_probabilities
from algorithms.models import INPUT_CELLS, CloudModel
from algorithms.sample import Place, mosaic
from algorithms.windows import Window, blend, window_start, windows_over
from server.analysis.keys import BlendedKey, WindowKey
from server.analysis.plane import LayerClouds
from server.analysis.sampled import plots
from server.raster.cache import CellReads, CellsKey, RasterCache
from server.raster.dataset import Dataset
from server.raster.grid import COARSEST_METRES, BlockNumber, Box, Grid, coarse_grid, ground_resolution
from server.raster.layer import Layer
from server.work.cache import TileCache
from server.work.pool import FairPool

InferencePlace = Window | int
"""A window of the lattice, or the number of a mosaic: whatever takes one inference."""

GLANCE_PROBABILITY: Final = 0.2
"""Probability of cloud and shadow together below which all of a window, and a large cell around it, is clear by a look
at the coarse level (docs/masks.md)."""
SHRUNK_PLOTS: Final = 2
"""How much plots of the sample are shrunk, so that twelve of them fit one window."""
MOST_SHRUNK_METRES: Final = 1.05 * COARSEST_METRES
"""Ground size up to which shrunk cells are."""


@lru_cache(maxsize=256)
def cell_metres(target: Dataset, factor: int) -> float:
    """Ground size of a cell of so many pixels per side."""
    return factor * ground_resolution(target)


@dataclass(frozen=True, slots=True)
class Inference:
    """A network at work on a layer."""

    layer: Layer
    """What it looks at."""
    model: CloudModel
    """The network."""
    grid: Grid
    """The level."""
    sensitivity: int
    """How readily a cell counts as covered."""
    plot: Box | None
    """The plot of the sample that is looked at; None: the scene's lattice."""
    glanced: bool = False
    """Whether windows that a look at the coarse level finds clear are not inferred: those of replacements."""

    @classmethod
    def of(cls, clouds: LayerClouds) -> Inference | None:
        """The inference that finds the clouds, on the level that they are on; None where a user's mask gives them."""
        source = clouds.source
        if source.model is None:
            return None
        coarser = coarse_grid(clouds.layer.target).factor > clouds.grid.factor
        glanced = coarser and clouds.plot is None and source.model.network is not None and not clouds.layer.is_target
        return cls(clouds.seen, source.model, clouds.grid, source.sensitivity, clouds.plot, glanced)

    @property
    def glance(self) -> Inference | None:
        """The look at the coarse level, None where there is none."""
        return replace(self, grid=coarse_grid(self.layer.target), glanced=False) if self.glanced else None

    def key(self, look: InferencePlace) -> WindowKey:
        """The cache key of a look's probabilities."""
        return WindowKey(self.layer, self.model.fingerprint, self.grid, look, self.glanced)

    def blended_key(self, number: BlockNumber) -> BlendedKey:
        """The cache key of a block of the mask."""
        return BlendedKey(self.layer, self.model.fingerprint, self.sensitivity, self.grid, number, self.glanced)

    def cells(self, look: InferencePlace) -> list[Box]:
        """The cells that a look is at: one box, or those of a mosaic."""
        if isinstance(look, int):
            count = len(self.mosaic)
            return plots(self.grid)[look * count : (look + 1) * count]
        top, left = window_start(look[0], self.grid.rows), window_start(look[1], self.grid.cols)
        return [Box(top, top + INPUT_CELLS, left, left + INPUT_CELLS).clip(self.grid.shape)]

    def under(self, look: InferencePlace) -> Box:
        """The cells that a glance is at for a look: those under it and right around it."""
        (box,), coarse = self.cells(look), coarse_grid(self.layer.target)
        return box.parts(coarse.factor // self.grid.factor).pad(1).clip(coarse.shape)

    def looks(self, box: Box) -> Iterator[InferencePlace]:
        """What has to be looked at for a box inside the scene."""
        if self.plot is not None:
            return iter([self.place[0]])
        rows, cols = self.grid.shape
        return product(windows_over(box.top, box.bottom, rows), windows_over(box.left, box.right, cols))

    @property
    def place(self) -> tuple[int, int]:
        """The mosaic that the plot is in, and which of its plots it is."""
        assert self.plot is not None  # noqa: S101  (asked of a plot)
        return divmod(plots(self.grid).index(self.plot), len(self.mosaic))

    @property
    def shrunk(self) -> int:
        """Cells per side that a network sees as one: a plot's are twice as large where it works with these, too."""
        if self.plot is None or self.model.network is None:  # rules cost nothing
            return 1
        metres = cell_metres(self.layer.target, self.grid.factor * SHRUNK_PLOTS)
        return SHRUNK_PLOTS if metres <= MOST_SHRUNK_METRES else 1

    @property
    def mosaic(self) -> list[Place]:
        """Where plots lie in a window."""
        return mosaic(self.shrunk)


WantedCells = tuple[Inference, Box]
"""What the network shall look at, inside the scene."""


class WindowLooked(Protocol):
    """Takes note of a window; gives what is to be looked at, too."""

    def __call__(self, inference: Inference, cells: Box, *, known: bool) -> Iterable[WantedCells]:
        """Note the cells of one that is about to be looked at, or whose probabilities are `known`."""


class Inferences:
    """Probabilities of any layer, each computed once and kept in a byte-bounded cache."""

    def __init__(self, rasters: RasterCache, cache: TileCache, pool: FairPool) -> None:
        self._rasters = rasters
        self._cache = cache
        self._pool = pool

    def _look(self, inference: Inference, look: InferencePlace) -> npt.NDArray[np.uint8]:
        """Probabilities of one look, from the cache or the network."""
        layer, model = inference.layer, inference.model

        def compute() -> npt.NDArray[np.uint8]:
            if self._surely_clear(inference, look):
                return np.zeros((2, INPUT_CELLS, INPUT_CELLS), np.uint8)
            if inference.glanced:
                self._announce([(inference, look)])
            target = layer.target
            picked = list(role_indexes(target.names, model.bands))
            scale, offset = (
                np.asarray(v, np.float32)[:, None, None]
                for v in zip(*((target.scales[band], target.offsets[band]) for band in picked), strict=True)
            )
            boxes = inference.cells(look)
            parts = [self._rasters.cells(layer, inference.grid, box) for box in boxes]
            values, valid = [part.values[picked] * scale + offset for part in parts], [part.valid for part in parts]
            if isinstance(look, int):
                return window_probabilities(*_mosaic(inference, values, valid), model)
            return window_probabilities(values[0], valid[0], model)

        return self._cache.get(inference.key(look), compute)

    def prefetch(
        self, wanted: Iterable[WantedCells], *, looked: WindowLooked | None = None, reads: CellReads | None = None
    ) -> None:
        """Run the networks on everything that the boxes inside the scene need, side by side.

        Args:
            wanted: the boxes.
            looked: called with the cells of every window that is looked at, before and after; it may want more.
            reads: what reads further cells, next to the last looks.
        """
        queued: set[WindowKey | CellsKey] = set()
        lock = threading.Lock()

        def jobs(wanted: Iterable[WantedCells]) -> list[Callable[[], object]]:
            missing: dict[WindowKey, tuple[Inference, InferencePlace]] = {}
            for inference, box in wanted:
                missing |= {inference.key(look): (inference, look) for look in self.missing(inference, box)}
            self._cache.load(missing)
            found: list[Callable[[], object]] = []
            # Glances first, and what they decide last, so that nothing waits for them.
            glances = self._glances(each for key, each in missing.items() if not self._cache.peek(key))
            self._cache.load(glances)
            missing = glances | dict(sorted(missing.items(), key=lambda item: item[1][0].glanced))
            with lock:
                missing = {key: each for key, each in missing.items() if not (key in queued or self._cache.peek(key))}
                queued.update(missing)
                for inference, look in missing.values():
                    # Before the look, so that no worker waits for a block that another is at.
                    if not inference.glanced:
                        found += new(self._reads(inference, look))
                    found.append(partial(run, inference, look))
            self._announce(each for each in missing.values() if not each[0].glanced)
            return found

        def new(reads: CellReads) -> list[Callable[[], object]]:
            found = [read for key, read in reads.items() if key not in queued]
            queued.update(reads)
            return found

        def run(inference: Inference, look: InferencePlace) -> None:
            noted = looked if inference.plot is None else None
            if noted is not None:
                self._pool.add(jobs(noted(inference, *inference.cells(look), known=False)))
            self._look(inference, look)
            if noted is not None:
                self._pool.add(jobs(noted(inference, *inference.cells(look), known=True)))

        looks = jobs(wanted)
        self._pool.run([*looks, *new(reads or {})])

    def _reads(self, inference: Inference, look: InferencePlace) -> CellReads:
        """What reads the cells of a look."""
        boxes = inference.cells(look)
        reads = [self._rasters.cell_reads(inference.layer, inference.grid, box) for box in boxes]
        return {key: read for each in reads for key, read in each.items()}

    def _glances(
        self, wanted: Iterable[tuple[Inference, InferencePlace]]
    ) -> dict[WindowKey, tuple[Inference, InferencePlace]]:
        """The glances that decide about looks, as far as they are not cached."""
        found: dict[WindowKey, tuple[Inference, InferencePlace]] = {}
        for inference, look in wanted:
            if (glance := inference.glance) is not None:
                found |= {glance.key(seen): (glance, seen) for seen in self.missing(glance, inference.under(look))}
        return found

    def _surely_clear(self, inference: Inference, look: InferencePlace) -> bool:
        """Whether a glance finds nothing where a look would be at."""
        if (glance := inference.glance) is None:
            return False
        seen = self.probabilities(glance, inference.under(look)).sum(axis=0, dtype=np.int32)
        return int(seen.max()) < GLANCE_PROBABILITY * 255

    def _announce(self, looks: Iterable[tuple[Inference, InferencePlace]]) -> None:
        """Announce what will be read, so that the bytes of remote rasters come in few requests."""
        boxes: dict[tuple[Layer, Grid], list[Box]] = {}
        for inference, look in looks:
            boxes.setdefault((inference.layer, inference.grid), []).extend(inference.cells(look))
        for (layer, grid), wanted in boxes.items():
            self._rasters.announce_cells(layer, grid, wanted)

    def missing(self, inference: Inference, box: Box) -> Iterator[InferencePlace]:
        """Looks for a box inside the scene that are not cached yet."""
        return (look for look in inference.looks(box) if not self._cache.peek(inference.key(look)))

    def probabilities(self, inference: Inference, box: Box) -> npt.NDArray[np.uint8]:
        """(2, h, w) probabilities of cloud and of shadow, 255 = 1, over a box inside the scene, or inside the plot."""
        if (plot := inference.plot) is None:
            fetch = partial(self._look, inference)
            return blend(fetch, (box.top, box.bottom), (box.left, box.right), inference.grid.shape)
        number, place = inference.place
        part = self._look(inference, number)[(slice(None), *inference.mosaic[place])]
        return part.repeat(inference.shrunk, 1).repeat(inference.shrunk, 2)[(slice(None), *box.within(plot))]


def _mosaic(
    inference: Inference, values: list[npt.NDArray[np.float32]], valid: list[npt.NDArray[np.bool_]]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """The window (B, 256, 256) that plots make together, and where it has data."""
    seen = np.zeros((len(values[0]), INPUT_CELLS, INPUT_CELLS), np.float32)
    there = np.zeros(seen.shape[1:], bool)
    for (rows, cols), part, has in zip(inference.mosaic, values, valid, strict=False):
        shrunk = cell_means(part, has, inference.shrunk)
        height, width = shrunk.valid.shape
        at = slice(rows.start, rows.start + height), slice(cols.start, cols.start + width)
        seen[(slice(None), *at)], there[at] = shrunk.values, shrunk.valid
    return seen, there
