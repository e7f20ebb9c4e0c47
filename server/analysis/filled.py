"""What is filled so far of a region of cells, while one replacement after the other fills it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from algorithms.cells import Cells
from algorithms.fill import LEAST_CONFIDENCE_PERCENT, UNFILLED, FillFields, Ground
from algorithms.masks import dilate
from server.analysis.pairs import Pair
from server.analysis.succession import Turn
from server.analysis.task import ReplacementIndex
from server.raster.grid import Box

Bools = npt.NDArray[np.bool_]
Bytes = npt.NDArray[np.uint8]
Fields = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class LayerFields:
    """What one replacement fills of a box."""

    fields: Fields
    """(h, w, 2 B): gain of every band, then offset of every band."""
    meets: Bools
    """(h, w), cells at which the residual is known."""


@dataclass(frozen=True, slots=True)
class FilledBox:
    """The fill of a box of cells with a rim around it."""

    rim: Box
    """The box with its rim."""
    source: Bytes
    """(h, w): 0 original, k filled from the k-th replacement, 255 nodata or not filled."""
    confidence: Bytes
    """(h, w) 0-100, 0 only where nothing is there or filled."""
    data: Bytes
    """(h, w), how much data the target has, as in `BlockFill`."""
    lacking: Bytes
    """(h, w), 1 where the replacement that fills a cell lacks some of its pixels."""
    layers: dict[ReplacementIndex, LayerFields]
    """By replacement."""

    @classmethod
    def original(cls, rim: Box, there: Bools, data: Bytes) -> FilledBox:
        """A box of which nothing is filled yet; `there` (h, w) where the target has data."""
        source = np.where(there, 0, UNFILLED).astype(np.uint8)
        return cls(rim, source, np.where(there, 100, 0).astype(np.uint8), data, np.zeros_like(source), {})


class FillSoFar:
    """A box of which one replacement after the other fills what those before it left open."""

    def __init__(self, filled: FilledBox, box: Box, pair: Pair) -> None:
        """Nothing is filled yet.

        Args:
            filled: where the part inside the rim is written to.
            box: all cells that any turn looks at.
            pair: what the target shows of them; the replacement does not matter.
        """
        self._filled = filled
        self._box = box
        self._values = pair.target.values.copy()
        self._known = pair.target.full & ~pair.masked
        self._had: dict[ReplacementIndex, Bools] = {}

    def ground(self, turn: Turn, region: Box, other: Cells) -> Ground:
        """The ground for a replacement to fill what it can; `other` is what it shows of the region."""
        at = region.within(self._box)
        return Ground(self._values[(slice(None), *at)], other.values, turn.usable[at], self._known[at], turn.wanted[at])

    def take(self, k: ReplacementIndex, turn: Turn, region: Box, ground: Ground, fit: FillFields) -> None:
        """Accept what the k-th replacement fills of a region, with half the confidence where that is doubtful."""
        filled, inner = self._filled, self._filled.rim.intersection(region)
        at, place = inner.within(region), inner.within(filled.rim)
        taken = ground.wanted[at]
        filled.source[place][taken] = k
        filled.lacking[place][taken] = ~ground.usable[at][taken]
        filled.confidence[place][taken] = np.maximum(
            fit.confidence[at][taken] // (2 if turn.doubtful else 1), LEAST_CONFIDENCE_PERCENT
        )
        fields = np.zeros((*filled.source.shape, 2 * len(fit.gain)), np.float32)
        fields[place] = np.moveaxis(np.concatenate([fit.gain, fit.offset])[(slice(None), *at)], 0, -1)
        meets = np.zeros(filled.source.shape, bool)
        meets[place] = fit.meets[at]
        if k in filled.layers:  # cells of its first turn, for which the windows were chosen then, keep their fill
            kept, before = self._kept(k), filled.layers[k]
            fields[kept], meets[kept] = before.fields[kept], before.meets[kept]
        filled.layers[k] = LayerFields(fields, meets)
        # What is filled now is ground that the next replacement has to meet.
        here = region.within(self._box)
        value = fit.gain * ground.replacement[: len(fit.gain)] + fit.offset
        np.copyto(self._values[(slice(None), *here)], value, where=ground.wanted)
        had = self._had.setdefault(k, np.zeros(self._box.shape, bool))
        had[here] |= ground.wanted

    def _kept(self, k: ReplacementIndex) -> Bools:
        """Cells of the rim whose fields from the k-th replacement are those of an earlier turn."""
        rim = self._filled.rim
        inner = rim.intersection(self._box)
        at, place, had = inner.within(self._box), inner.within(rim), self._had[k]
        kept = np.zeros(rim.shape, bool)
        kept[place] = dilate(had, 1)[at] & ((self._filled.source[place] != k) | had[at])
        return kept

    def end(self, turn: Turn) -> None:
        """What a turn fills is known from now on, also where nothing depends on the values."""
        self._known = self._known | turn.wanted
