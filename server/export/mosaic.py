"""The files of finished pieces as one raster: its pixels, and the tiles that are finished already."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rasterio.io import DatasetReader, MemoryFile

from server.export.plan import Piece
from server.export.tiff import Span, Tags, read_tags, spans_of, tags_alike
from server.export.tiles import TILE_PIXELS
from server.raster.grid import BlockNumber, Box

PieceFile = tuple[Piece, Path]
"""A piece, and the file with its pixels."""
Kept = tuple[Path, Span]
"""A tile's bytes: a file, and where in it they are."""


class _Opened:
    """The file of a piece, while its pixels are looked at."""

    def __init__(self, piece: PieceFile, stack: ExitStack) -> None:
        self.box, self.path = piece[0].pixels, piece[1]
        content = self.path.read_bytes()
        (self.tags,) = read_tags(content)
        self._src: DatasetReader = stack.enter_context(stack.enter_context(MemoryFile(content)).open())

    def read(self, bands: Sequence[int], box: Box) -> npt.NDArray[Any]:
        """Some of its bands over a part of its box."""
        at = box.within(self.box)
        return np.asarray(self._src.read(list(bands), window=tuple((part.start, part.stop) for part in at)))

    def kept(self, box: Box) -> Kept | None:
        """The tile over a box, if it is one of its own."""
        (rows, cols), across = box.within(self.box), -(-self.box.shape[1] // TILE_PIXELS)
        if self.box.intersection(box) != box or rows.start % TILE_PIXELS or cols.start % TILE_PIXELS:
            return None
        return self.path, spans_of(self.tags)[rows.start // TILE_PIXELS * across + cols.start // TILE_PIXELS]


@dataclass(frozen=True, slots=True)
class Mosaic:
    """Bands of pieces that lie next to each other."""

    shape: tuple[int, int]
    """Rows and columns of all of them together."""
    pieces: tuple[PieceFile, ...]
    """The pieces."""
    bands: tuple[int, ...]
    """Numbers, from 1, of their bands that are wanted."""

    def under(self, box: Box) -> list[PieceFile]:
        """The pieces that a box touches."""
        return [piece for piece in self.pieces if piece[0].pixels.intersection(box).area]

    def look(self, box: Box, template: Tags) -> tuple[npt.NDArray[Any], dict[BlockNumber, Kept]]:
        """The pixels of a box, and those of its tiles that pieces have stored as a template is."""
        with ExitStack() as stack:
            opened = [_Opened(piece, stack) for piece in self.under(box)]
            values: npt.NDArray[Any] | None = None
            for piece in opened:
                part = piece.box.intersection(box)
                pixels = piece.read(self.bands, part)
                values = np.zeros((len(self.bands), *box.shape), pixels.dtype) if values is None else values
                values[(slice(None), *part.within(box))] = pixels
            assert values is not None  # noqa: S101  (pieces cover all of the raster)
            kept: dict[BlockNumber, Kept] = {}
            for number in box.blocks(TILE_PIXELS):
                tile = tile_box(number).clip(self.shape)
                for piece in opened:
                    if tags_alike(piece.tags, template) and (found := piece.kept(tile)) is not None:
                        kept[number] = found
        return values, kept


def tile_box(number: BlockNumber) -> Box:
    """The pixels of a tile, also beyond the raster."""
    row, col = number
    return Box(row, row + 1, col, col + 1).times(TILE_PIXELS)
