"""The tiles of a raster and of its overviews, from finished pieces, whose own tiles are kept as they are."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from server.export.mosaic import Kept, Mosaic, tile_box
from server.export.overviews import Halving, level_shapes
from server.export.tiff import Tags, read_tags, spans_of
from server.export.tiles import TILE_PIXELS, stored_mask, stored_tiles
from server.raster.grid import BlockNumber, Box
from server.work.ticket import check_wanted

SQUARES_AHEAD: Final = 2
"""Squares of four tiles on their way for each thread."""


@dataclass(frozen=True, slots=True)
class MadeTile:
    """A tile of a level."""

    level: int
    """0 for the raster itself, 1 for its first overview."""
    number: BlockNumber
    """Row and column among the level's tiles."""
    image: bytes | Kept
    """Its pixels as they are stored."""
    mask: bytes | Kept | None = None
    """Where it has data, if the raster has a mask."""


@dataclass(frozen=True, slots=True)
class LevelPart:
    """Some pixels of a level."""

    values: npt.NDArray[Any]
    """(B, h, w)."""
    mask: npt.NDArray[np.bool_] | None
    """(h, w), where they have data; None if the raster has no mask."""


@dataclass(frozen=True, slots=True)
class Pyramid:
    """A raster and its overviews to be made."""

    image: Mosaic
    """Its pixels."""
    mask: Mosaic | None
    """Where they have data, if it has a mask."""
    template: Tags
    """Tags of an image stored as its tiles are to be."""
    mask_template: Tags | None
    """The same of its mask."""
    compression: str
    """How tiles are compressed."""
    halving: Halving
    """How overviews are made."""

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """Rows and columns of every level."""
        return level_shapes(*self.image.shape, TILE_PIXELS)

    def tiles(self, threads: int) -> Iterator[MadeTile]:
        """All tiles, each square of four before the one that they are halved to.

        So that few pixels are held, however large the raster is.
        """
        levels = 1
        while TILE_PIXELS << levels < max(self.image.shape):
            levels += 1
        order = list(self._squares(levels, (0, 0)))
        with ThreadPoolExecutor(threads, thread_name_prefix="tile") as pool:
            try:
                yield from self._built(levels, (0, 0), self._ahead(order, pool, threads * SQUARES_AHEAD))
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _squares(self, level: int, number: BlockNumber) -> Iterator[BlockNumber]:
        """The tiles of level 1 under one of another, as they are wanted."""
        if not self._there(level, number):
            return
        if level == 1:
            yield number
        else:
            for child in _four(number):
                yield from self._squares(level - 1, child)

    def _there(self, level: int, number: BlockNumber) -> bool:
        row, col = number
        return (row * TILE_PIXELS) << level < self.image.shape[0] and (col * TILE_PIXELS) << level < self.image.shape[1]

    def _ahead(
        self, order: list[BlockNumber], pool: ThreadPoolExecutor, most: int
    ) -> Iterator[tuple[list[MadeTile], LevelPart | None]]:
        """Squares in their order, so many of them on their way."""
        waiting: deque[Future[tuple[list[MadeTile], LevelPart | None]]] = deque()
        for number in order:
            waiting.append(pool.submit(copy_context().run, partial(self._square, number)))
            if len(waiting) == most:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    def _built(
        self, level: int, number: BlockNumber, squares: Iterator[tuple[list[MadeTile], LevelPart | None]]
    ) -> Generator[MadeTile, None, LevelPart | None]:
        """The tiles under a tile and itself; the pixels of that."""
        if not self._there(level, number):
            return None
        if level == 1:
            made, part = next(squares)
            yield from made
            return part
        parts = []
        for child in _four(number):
            part = yield from self._built(level - 1, child, squares)
            parts.append(part)
        if level >= len(self.shapes):
            return None
        whole = _joined(parts)
        part = self._halved(level, whole)
        yield from self._stored(level, number, part)
        return part

    def _square(self, number: BlockNumber) -> tuple[list[MadeTile], LevelPart | None]:
        """Four tiles of the raster, and that of the first overview over them."""
        check_wanted()
        row, col = number
        box = Box(2 * row, 2 * row + 2, 2 * col, 2 * col + 2).times(TILE_PIXELS).clip(self.image.shape)
        values, kept = self.image.look(box, self.template)
        mask: npt.NDArray[np.bool_] | None = None
        kept_masks: dict[BlockNumber, Kept] = {}
        if self.mask is not None and self.mask_template is not None:
            masks, kept_masks = self.mask.look(box, self.mask_template)
            mask = masks[0] > 0
        made: list[MadeTile] = []
        for tile in box.blocks(TILE_PIXELS):
            at = tile_box(tile).clip(self.image.shape).within(box)
            image = kept[tile] if tile in kept else _tile(stored_tiles(values[(slice(None), *at)], self.compression))
            own = None if mask is None else kept_masks.get(tile) or _tile(stored_mask(mask[at]))
            made.append(MadeTile(0, tile, image, own))
        if len(self.shapes) == 1:
            return made, None
        part = self._halved(1, LevelPart(values, mask))
        return [*made, *self._stored(1, number, part)], part

    def _halved(self, level: int, finer: LevelPart) -> LevelPart:
        """A part of a level from that of the next finer one, of which a single row or column stays one."""
        values, mask = finer.values, finer.mask
        for axis, length in zip((-2, -1), self.shapes[level - 1], strict=True):
            if length == 1:
                values, mask = values.repeat(2, axis), None if mask is None else mask.repeat(2, axis)
        return LevelPart(*self.halving.halved(values, mask))

    def _stored(self, level: int, number: BlockNumber, part: LevelPart) -> Iterator[MadeTile]:
        if part.values.size:
            mask = None if part.mask is None else _tile(stored_mask(part.mask))
            yield MadeTile(level, number, _tile(stored_tiles(part.values, self.compression)), mask)


def _tile(content: bytes) -> bytes:
    """The only tile of a file."""
    ((start, size),) = spans_of(read_tags(content)[0])
    return content[start : start + size]


def _four(number: BlockNumber) -> list[BlockNumber]:
    """The tiles of the next finer level under a tile."""
    row, col = number
    return [(2 * row + down, 2 * col + right) for down in (0, 1) for right in (0, 1)]


def _joined(parts: Sequence[LevelPart | None]) -> LevelPart:
    """Up to four neighbouring tiles as one, two in a row."""

    def joined(name: str) -> npt.NDArray[Any] | None:
        rows = [[getattr(part, name) for part in parts[at : at + 2] if part is not None] for at in (0, 2)]
        if any(array is None for row in rows for array in row):
            return None
        return np.concatenate([np.concatenate(row, axis=-1) for row in rows if row], axis=-2)

    values = joined("values")
    assert values is not None  # noqa: S101  (the first of four tiles is inside)
    return LevelPart(values, joined("mask"))
