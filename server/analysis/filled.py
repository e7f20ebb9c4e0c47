"""What is filled so far of a region of cells, while one replacement after the other fills it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from algorithms.fill import LEAST_CONFIDENCE_PERCENT, UNFILLED, FillFields, Ground
from algorithms.masks import dilate
from server.analysis.pairs import Pair
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
    """A region of which one replacement after the other fills what those before it left open."""

    def __init__(self, filled: FilledBox, region: Box, pair: Pair) -> None:
        """Nothing is filled yet.

        Args:
            filled: where the part of the region inside the rim is written to.
            region: the cells whose fill that of the box depends on.
            pair: what the target shows of them; the replacement does not matter.
        """
        inner = filled.rim.intersection(region)
        self._filled = filled
        self._at, self._place = inner.within(region), inner.within(filled.rim)
        self._values = pair.target.values
        self._known = pair.target.full & ~pair.masked
        self._open = pair.target.valid & pair.masked

    @property
    def complete(self) -> bool:
        """Whether nothing inside the rim is left open."""
        return not self._open[self._at].any()

    def open(self, pair: Pair, hidden: Bools) -> Ground | None:
        """The ground for a replacement to fill what it can, None where that is nothing inside the rim.

        Args:
            pair: what the target and the replacement show of the region.
            hidden: (h, w), cells on which the replacement shows cloud.
        """
        wanted = self._open & pair.other.valid & ~hidden
        if not wanted[self._at].any():
            return None
        return Ground(self._values, pair.other.values, pair.other.full & ~hidden, self._known, wanted)

    def take(self, k: ReplacementIndex, ground: Ground, fit: FillFields, *, doubtful: bool) -> None:
        """Accept what the k-th replacement fills, with half the confidence where it is `doubtful`."""
        source, at, place, wanted = self._filled.source, self._at, self._place, ground.wanted
        taken, had = wanted[at], source == k
        source[place][taken] = k
        self._filled.lacking[place][taken] = ~ground.usable[at][taken]
        self._filled.confidence[place][taken] = np.maximum(
            fit.confidence[at][taken] // (2 if doubtful else 1), LEAST_CONFIDENCE_PERCENT
        )
        fields = np.zeros((*source.shape, 2 * len(fit.gain)), np.float32)
        fields[place] = np.moveaxis(np.concatenate([fit.gain, fit.offset])[(slice(None), *at)], 0, -1)
        meets = np.zeros(source.shape, bool)
        meets[place] = fit.meets[at]
        if had.any():  # filled the first time round, when the windows were chosen for them: they keep their fill
            kept, before = dilate(had, 1) & ((source != k) | had), self._filled.layers[k]
            fields[kept], meets[kept] = before.fields[kept], before.meets[kept]
        self._filled.layers[k] = LayerFields(fields, meets)
        # What is filled now is ground that the next replacement has to meet.
        self._values = np.where(wanted, fit.gain * ground.replacement[: len(fit.gain)] + fit.offset, self._values)
        self._known, self._open = self._known | wanted, self._open & ~wanted
