"""Which blocks of a view are filled together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from server.raster.grid import BlockNumber

Group = list[BlockNumber]
"""Blocks that are filled together."""

GROUP_CELLS: Final = 256, 512
"""Rows and columns of cells that are filled together of a whole scene: few rows, for what lies around all that are next
to each other is kept."""
VIEW_CELLS: Final = 1 << 16
"""Most cells of blocks that are filled together of a view: a worker takes about 0.2 s, and others wait."""
SPARSE: Final = 2
"""Blocks of a rectangle for each that is wanted, up to which the rectangle is filled as one."""


def grouped(numbers: Sequence[BlockNumber], most: int) -> list[Group]:
    """Blocks in groups that fill most of a rectangle each, of at most so many blocks.

    Args:
        numbers: the blocks, each once.
        most: blocks of a rectangle, 1 or more.
    """
    if not numbers:
        return []
    rows, cols = zip(*numbers, strict=True)
    top, left = min(rows), min(cols)
    height, width = max(rows) + 1 - top, max(cols) + 1 - left
    if height * width <= min(most, SPARSE * len(numbers)):
        return [sorted(numbers)]
    axis = 0 if height >= width else 1
    middle = top + height // 2 if axis == 0 else left + width // 2
    halves = [n for n in numbers if n[axis] < middle], [n for n in numbers if n[axis] >= middle]
    return [group for half in halves for group in grouped(half, most)]


def chunked(groups: Iterable[Group], most: int) -> Iterator[list[Group]]:
    """Groups in their order, of so many blocks at a time at most, or one group of more."""
    chunk: list[Group] = []
    for group in groups:
        if chunk and sum(map(len, [*chunk, group])) > most:
            yield chunk
            chunk = []
        chunk.append(group)
    if chunk:
        yield chunk


def group_blocks(side: int) -> tuple[int, int]:
    """Rows and columns of blocks of so many cells per side that are filled together of a whole scene."""
    rows, cols = GROUP_CELLS
    return max(1, rows // side), max(1, cols // side)
