"""One replacement after the other: which cells each one fills, and on which region that has to be computed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from algorithms.masks import dilate
from server.analysis.extents import extent_of
from server.analysis.pairs import Pair
from server.analysis.task import ReplacementIndex, Task
from server.raster.grid import Box

MET_CELLS: Final = 3
"""Cells around those of a turn whose values the turn looks at: it meets the next ones, and its fields are interpolated
as far as the others."""

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Turn:
    """What one replacement fills of a box when it is its turn."""

    k: ReplacementIndex
    """Which replacement."""
    doubtful: bool
    """Whether its own cloud is doubtful there."""
    wanted: Bools
    """(h, w), cells that it fills."""
    usable: Bools
    """(h, w), cells on which it can be compared with the target."""

    @classmethod
    def of(cls, k: ReplacementIndex, pair: Pair, hidden: Bools, still: Bools, *, doubtful: bool) -> Turn:
        """What a replacement fills of the cells that are `still` open; `hidden` (h, w) where it shows cloud."""
        return cls(k, doubtful, still & pair.other.valid & ~hidden, pair.other.full & ~hidden)


def order(task: Task) -> Iterator[tuple[ReplacementIndex, bool]]:
    """Who fills, in order, and whether it may be doubtful.

    What is clear in no replacement takes the first one whose cloud there is doubtful: a false alarm of the model on a
    clear date would otherwise leave the target's cloud standing.
    """
    yield from ((k, False) for k in task.turns)
    yield from ((k, True) for k in task.indexes)


def turn_regions(
    turns: Sequence[Turn], box: Box, inner: Box, *, reach: int, shape: tuple[int, int]
) -> list[Box | None]:
    """The cells on which each turn has to be computed, None where nothing inside depends on it.

    A turn is computed as far around its cells as the border of the mask reaches. Among what it meets there are cells
    that turns before it fill: they are computed, too, and as far around those.

    Args:
        turns: over the box, in order.
        box: where it is known what each turn fills.
        inner: the cells that are asked for.
        reach: cells from which a border can reach a point.
        shape: of the scene.
    """
    found: list[Box | None] = [None] * len(turns)
    needed = [np.zeros(box.shape, bool) for _ in turns]
    for cells, turn in zip(needed, turns, strict=True):
        at = inner.intersection(box).within(box)
        cells[at] = turn.wanted[at]
    for i in reversed(range(len(turns))):
        if not needed[i].any():
            continue
        region = extent_of(needed[i], box).pad(reach).clip(shape)
        found[i] = region
        at = region.intersection(box).within(box)
        linked = ndimage.binary_propagation(needed[i][at], mask=turns[i].wanted[at])
        met = dilate(np.asarray(linked), MET_CELLS)
        for j in range(i):
            needed[j][at] |= turns[j].wanted[at] & met
    return found
