"""Pixels as they are stored, in cached pieces: of rasters, of their overviews, and of scenes of several files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, Final

import numpy.typing as npt
from rasterio.windows import Window

from server.errors import SourceError
from server.raster.assembling import READ_PIXELS, assemble
from server.raster.grid import BlockNumber, Box, Grid
from server.raster.sources import Sources
from server.raster.spans import block_spans
from server.raster.stack import BandPlace, Level, StackBand, StackForm, place
from server.remote.files import is_remote
from server.scenes.scene import Member
from server.work.cache import TileCache

SMALLEST_PIECE_PIXELS: Final = 128
"""Side of the smallest blocks of remote files that are kept one by one."""

FetchPiece = Callable[["StoredKey | BandKey", int | tuple[int, ...], Box], npt.NDArray[Any]]
"""Gives a piece by its key, the bands and the box that it is read from."""


def piece_pixels(url: str, block: tuple[int, int]) -> int | None:
    """Side of the pieces in which a file's pixels are kept; None where that would fetch more than an image needs.

    Args:
        url: the file.
        block: rows and columns of a block of it.
    """
    if not is_remote(url):
        return READ_PIXELS
    rows, cols = block
    if rows % READ_PIXELS == cols % READ_PIXELS == 0:  # a piece is in one block
        return READ_PIXELS
    return rows if rows == cols and rows in range(SMALLEST_PIECE_PIXELS, READ_PIXELS) else None


@dataclass(frozen=True, slots=True)
class StoredKey:
    """The cache key of a piece of pixels as they are stored, of bands or the mask of a raster or an overview."""

    url: str
    version: str
    overview: int | None
    bands: tuple[int, ...]
    side: int
    number: BlockNumber


@dataclass(frozen=True, slots=True)
class PlacedBand:
    """What the pixels of a scene's band on a level of the scene's grid depend on."""

    url: str
    version: str
    member: Member | None
    index: int
    own_nodata: float | None
    at: BandPlace
    size: tuple[int, int]
    level: Level
    dtype: str
    nodata: str
    side: int

    @classmethod
    def of(cls, band: StackBand, form: StackForm, level: Level, side: int) -> PlacedBand:
        """That of a band, in pieces of `side` pixels."""
        return cls(
            url=band.url,
            version=band.version,
            member=band.member,
            index=band.index,
            own_nodata=band.nodata,
            at=place(band, form.base),
            size=(form.base.height, form.base.width),
            level=level,
            dtype=form.dtype,
            nodata=repr(form.nodata),  # NaN is not itself
            side=side,
        )

    def __hash__(self) -> int:
        # What tells bands apart nearly always, not every field.
        return hash((self.url, self.version, self.index, self.level.factor))


@dataclass(frozen=True, slots=True)
class BandKey:
    """The cache key of a piece of a scene's band on the scene's grid, in the scene's type."""

    band: PlacedBand
    number: BlockNumber


class StoredPixels:
    """Reads pixels in pieces, each once."""

    def __init__(self, sources: Sources, tiles: TileCache) -> None:
        self.sources: Final = sources
        """What opens the rasters."""
        self._cache = tiles

    def of_file(
        self, url: str, version: str, overview: int | None, size: Level, bands: tuple[int, ...], box: Box, side: int
    ) -> npt.NDArray[Any]:
        """Pixels of a raster of one file or of one of its overviews: (B, h, w) over a box inside it.

        Args:
            url: the raster.
            version: its state.
            overview: which of its overviews, from 0; None for the raster itself.
            size: of the raster or overview.
            bands: 1-based; none for the mask, (h, w).
            box: the pixels.
            side: of the pieces, see `piece_pixels`.
        """
        grid = _grid(size)
        keys = {number: StoredKey(url, version, overview, bands, side, number) for number in box.blocks(side)}

        @contextmanager
        def opened() -> Iterator[Any]:
            with self.sources.open(url, version, overview=overview) as src:
                if is_remote(url):
                    missing = [grid.block(number, side) for number in keys if not self._cache.peek(keys[number])]
                    self.sources.announce(url, version, block_spans(src, bands or (1,), missing))
                yield src

        with self._pieces(opened) as piece:
            return assemble(lambda number: piece(keys[number], bands, grid.block(number, side)), box, grid, side)

    def of_stack(
        self, url: str, bands: Sequence[StackBand], form: StackForm, level: Level, box: Box, sides: Sequence[int]
    ) -> list[npt.NDArray[Any]]:
        """Pixels of bands of a scene on a level of its grid: (h, w) of each over a box inside it.

        Files of which all is there are not opened.

        Args:
            url: what the scene is called.
            bands: some of the scene's.
            form: the scene's.
            level: one of `form.levels`.
            box: the pixels.
            sides: of each band's pieces, see `piece_pixels`.
        """
        grid = _grid(level)
        placed = [PlacedBand.of(band, form, level, side) for band, side in zip(bands, sides, strict=True)]
        keys = [{number: BandKey(band, number) for number in box.blocks(band.side)} for band in placed]

        @contextmanager
        def opened() -> Iterator[Any]:
            missing = [
                [grid.block(number, side) for number, key in own.items() if not self._cache.peek(key)]
                for own, side in zip(keys, sides, strict=True)
            ]
            for band, boxes in zip(bands, missing, strict=True):
                if boxes and is_remote(band.url):
                    self._announce(band, form.source_level(band, level), boxes)
            with self.sources.open_level(url, bands, form, level) as src:
                yield src

        with self._pieces(opened) as piece:

            def fetch(place: int, number: BlockNumber) -> npt.NDArray[Any]:
                return piece(keys[place][number], place + 1, grid.block(number, sides[place]))

            return [assemble(partial(fetch, k), box, grid, sides[k]) for k in range(len(bands))]

    @contextmanager
    def _pieces(self, opening: Callable[[], AbstractContextManager[Any]]) -> Iterator[FetchPiece]:
        """Gives pieces by their keys, those that are missing from a raster that is opened for the first of them.

        A fault that GDAL hides shows when the raster is closed: what was read of it is not kept then.
        """
        read: list[StoredKey | BandKey] = []
        try:
            with ExitStack() as stack:
                opened = cache(lambda: stack.enter_context(opening()))

                def piece(key: StoredKey | BandKey, bands: int | tuple[int, ...], box: Box) -> npt.NDArray[Any]:
                    def compute() -> npt.NDArray[Any]:
                        values = _read(opened(), bands, box)
                        read.append(key)
                        return values

                    return self._cache.get(key, compute)

                yield piece
        except SourceError:
            self._cache.drop(read)
            raise

    def _announce(self, band: StackBand, number: int, boxes: list[Box]) -> None:
        """Announce boxes of pixels of one of a band's levels, which are those of its file."""
        with self.sources.open(band.url, band.version, overview=number - 1 if number else None) as src:
            spans = block_spans(src, (band.index,), boxes)
        self.sources.announce(band.url, band.version, spans)


def _grid(size: Level) -> Grid:
    return Grid(factor=1, rows=size.height, cols=size.width)


def _read(src: Any, bands: int | tuple[int, ...], box: Box) -> npt.NDArray[Any]:
    window = Window(box.left, box.top, *box.shape[::-1])
    values: npt.NDArray[Any] = src.read_masks(1, window=window) if bands == () else src.read(bands, window=window)
    return values
