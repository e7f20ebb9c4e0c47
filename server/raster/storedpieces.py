"""Pieces of pixels as they are stored, of one file or of a scene of several files, and of their overviews."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from server.raster.dataset import Dataset
from server.raster.grid import Box
from server.raster.outline import Outline, stack_outline
from server.raster.sources import Sources
from server.raster.stack import Level, StackBand, StackForm, stack_form
from server.raster.stored import StoredPixels, piece_pixels
from server.remote.files import is_remote

Bands = Sequence[npt.NDArray[Any]] | npt.NDArray[Any]
"""(h, w) pixels of each band."""
Some = npt.NDArray[np.bool_] | None
"""(h, w), which pixels; None for none."""


@dataclass(frozen=True, slots=True)
class FileLevel:
    """Bands of a file, or of one of its overviews."""

    url: str
    version: str
    bands: tuple[int, ...]
    overview: int | None


class PixelPieces(Protocol):
    """Pixels of a raster, or of one of its overviews."""

    @property
    def level(self) -> Level:
        """Their size."""

    def over(self, box: Box) -> tuple[Bands, Some]:
        """Those over a box inside of it, and which may have other values than those stored."""

    def hidden(self, box: Box) -> Some:
        """Which pixels over a box inside of it a mask hides."""


@dataclass(frozen=True, slots=True)
class FilePieces:
    """PixelPieces of a raster of one file."""

    stored: StoredPixels
    dataset: Dataset
    bands: tuple[int, ...]
    overview: int | None
    level: Level
    side: int
    masked: bool

    @property
    def as_stored(self) -> bool:
        """Whether none of the pixels is interpolated: none of a file's."""
        return True

    @property
    def files(self) -> list[FileLevel]:
        """The one file they are in."""
        return [FileLevel(self.dataset.url, self.dataset.version, self.bands, self.overview)]

    def over(self, box: Box) -> tuple[Bands, Some]:
        """See `PixelPieces`."""
        url, version = self.dataset.url, self.dataset.version
        return self.stored.of_file(url, version, self.overview, self.level, self.bands, box, self.side), None

    def hidden(self, box: Box) -> Some:
        """See `PixelPieces`."""
        url, version = self.dataset.url, self.dataset.version
        if not self.masked:
            return None
        return np.asarray(self.stored.of_file(url, version, self.overview, self.level, (), box, self.side) == 0)


@dataclass(frozen=True, slots=True)
class StackPieces:
    """PixelPieces of the files of a scene."""

    stored: StoredPixels
    url: str
    bands: tuple[StackBand, ...]
    form: StackForm
    level: Level
    sides: tuple[int, ...]

    @property
    def as_stored(self) -> bool:
        """Whether none of the pixels is interpolated between those of the files."""
        return all(self.form.copied(band, self.level) for band in self.bands)

    @property
    def files(self) -> list[FileLevel]:
        """The files they are in."""
        bands: dict[tuple[str, str, int], list[int]] = {}
        for band in self.bands:
            bands.setdefault((band.url, band.version, self.form.source_level(band, self.level)), []).append(band.index)
        return [
            FileLevel(url, version, tuple(own), number - 1 if number else None)
            for (url, version, number), own in bands.items()
        ]

    def over(self, box: Box) -> tuple[Bands, Some]:
        """See `PixelPieces`."""
        return self.stored.of_stack(self.url, self.bands, self.form, self.level, box, self.sides), None

    def hidden(self, _box: Box) -> Some:
        """None: scenes with masks are not taken from pieces."""
        return None


def outline_of(sources: Sources, dataset: Dataset) -> Outline:
    """What a raster, of one file or several, says of itself. Raises as `Sources.open` does."""
    if dataset.parts:
        return stack_outline(dataset.parts)
    return sources.outline(dataset.url, dataset.version)


def overview_level(sources: Sources, dataset: Dataset, overview: int) -> Level:
    """The size of a raster's overview, from 0. Raises as `Sources.open` does."""
    if dataset.parts:
        return stack_form(dataset.parts).levels[1 + overview]
    seen = sources.outline(dataset.url, dataset.version, overview)
    return Level(outline_of(sources, dataset).factors[overview], seen.width, seen.height)


StoredPieces = FilePieces | StackPieces
"""Pixels as they are stored."""


def stored_pieces(
    stored: StoredPixels, dataset: Dataset, bands: tuple[int, ...], overview: int | None
) -> StoredPieces | None:
    """Pieces of a raster, or of one of its overviews; None where they would take more of remote files than an image.

    Args:
        stored: what is cached.
        dataset: the raster.
        bands: 1-based.
        overview: which of its overviews, from 0; None for the raster itself.

    Raises:
        As `Sources.open` does.
    """
    sources = stored.sources
    if dataset.parts:
        return _of_stack(stored, dataset, bands, overview)
    seen = sources.outline(dataset.url, dataset.version, overview)
    level = Level(1, seen.width, seen.height) if overview is None else overview_level(sources, dataset, overview)
    side = piece_pixels(dataset.url, seen.block)
    if seen.masked != outline_of(sources, dataset).masked:  # a mask without overviews
        return None
    return None if side is None else FilePieces(stored, dataset, bands, overview, level, side, seen.masked)


def _of_stack(
    stored: StoredPixels, dataset: Dataset, bands: tuple[int, ...], overview: int | None
) -> StackPieces | None:
    form = stack_form(dataset.parts)
    level = form.levels[0] if overview is None else overview_level(stored.sources, dataset, overview)
    chosen = tuple(dataset.parts[band - 1] for band in bands)
    sides = []
    for band in chosen:
        if is_remote(band.url) and not form.copied(band, level):  # interpolated at the borders of pieces
            return None
        side = piece_pixels(band.url, band.blocks[form.source_level(band, level)])
        if side is None:
            return None
        sides.append(side)
    return StackPieces(stored, dataset.url, chosen, form, level, tuple(sides))
