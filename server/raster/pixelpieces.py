"""Where the pixels of an image are taken from: cached pieces of a file, of a scene of several files, or of a layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from server.raster.cache import RasterCache
from server.raster.dataset import Dataset
from server.raster.grid import Box
from server.raster.layer import Layer
from server.raster.outline import Outline, stack_outline
from server.raster.stack import Level, StackBand, StackForm, stack_form
from server.raster.stored import piece_pixels
from server.remote.files import is_remote

Bands = Sequence[npt.NDArray[Any]] | npt.NDArray[Any]
"""(h, w) pixels of each band."""
Doubtful = npt.NDArray[np.bool_] | None
"""(h, w), pixels whose values may not be those stored; None for none."""


class PixelPieces(Protocol):
    """Pixels of a raster, or of one of its overviews."""

    @property
    def level(self) -> Level:
        """Their size."""

    def over(self, box: Box) -> tuple[Bands, Doubtful]:
        """Those over a box inside of it."""


@dataclass(frozen=True, slots=True)
class FilePieces:
    """PixelPieces of a raster of one file."""

    rasters: RasterCache
    dataset: Dataset
    bands: tuple[int, ...]
    overview: int | None
    level: Level
    side: int

    def over(self, box: Box) -> tuple[Bands, Doubtful]:
        """See `PixelPieces`."""
        url, version, stored = self.dataset.url, self.dataset.version, self.rasters.stored
        return stored.of_file(url, version, self.overview, self.level, self.bands, box, self.side), None


@dataclass(frozen=True, slots=True)
class StackPieces:
    """PixelPieces of the files of a scene."""

    rasters: RasterCache
    url: str
    bands: tuple[StackBand, ...]
    form: StackForm
    level: Level
    sides: tuple[int, ...]

    def over(self, box: Box) -> tuple[Bands, Doubtful]:
        """See `PixelPieces`."""
        return self.rasters.stored.of_stack(self.url, self.bands, self.form, self.level, box, self.sides), None


@dataclass(frozen=True, slots=True)
class LayerPieces:
    """Native pixels that are kept for the analysis."""

    rasters: RasterCache
    layer: Layer
    positions: tuple[int, ...]
    """Of the bands in the layer, from 0."""

    @property
    def level(self) -> Level:
        """See `PixelPieces`."""
        dataset = self.layer.dataset
        return Level(1, dataset.width, dataset.height)

    def over(self, box: Box) -> tuple[Bands, Doubtful]:
        """See `PixelPieces`."""
        self.rasters.announce_pixels(self.layer, box)
        pixels = self.rasters.pixels(self.layer, box, bands=self.positions)
        guessed = pixels.valid & ~pixels.whole  # bands without a number, for the analysis
        return pixels.values, guessed if guessed.any() else None

    def fit(self, outline: Outline) -> bool:
        """Whether they are a raster's pixels, in its type and on its grid."""
        own = stack_outline(self.layer.dataset.parts) if self.layer.dataset.parts else outline
        return (own.dtypes[0], repr(own.nodata), own.transform, own.width, own.height) == (
            outline.dtypes[0],
            repr(outline.nodata),
            outline.transform,
            outline.width,
            outline.height,
        )


def outline_of(rasters: RasterCache, dataset: Dataset) -> Outline:
    """What a raster, of one file or several, says of itself. Raises as `Sources.open` does."""
    if dataset.parts:
        return stack_outline(dataset.parts)
    return rasters.sources.outline(dataset.url, dataset.version)


def overview_level(rasters: RasterCache, dataset: Dataset, overview: int) -> Level:
    """The size of a raster's overview, from 0. Raises as `Sources.open` does."""
    if dataset.parts:
        return stack_form(dataset.parts).levels[1 + overview]
    seen = rasters.sources.outline(dataset.url, dataset.version, overview)
    return Level(outline_of(rasters, dataset).factors[overview], seen.width, seen.height)


def pieces_of(
    rasters: RasterCache,
    dataset: Dataset,
    bands: tuple[int, ...],
    overview: int | None,
    shared: LayerPieces | None = None,
) -> PixelPieces | None:
    """Pieces of a raster, or of one of its overviews; None where they would take more of remote files than an image.

    Args:
        rasters: what is cached.
        dataset: the raster.
        bands: 1-based.
        overview: which of its overviews, from 0; None for the raster itself.
        shared: native pixels of these bands that are kept for the analysis anyway.

    Raises:
        As `Sources.open` does.
    """
    if overview is None and shared is not None and shared.fit(outline_of(rasters, dataset)):
        return shared
    if dataset.parts:
        return _of_stack(rasters, dataset, bands, overview)
    seen = rasters.sources.outline(dataset.url, dataset.version, overview)
    level = Level(1, seen.width, seen.height) if overview is None else overview_level(rasters, dataset, overview)
    side = piece_pixels(dataset.url, seen.block)
    return None if side is None else FilePieces(rasters, dataset, bands, overview, level, side)


def _of_stack(
    rasters: RasterCache, dataset: Dataset, bands: tuple[int, ...], overview: int | None
) -> PixelPieces | None:
    form = stack_form(dataset.parts)
    level = form.levels[0] if overview is None else overview_level(rasters, dataset, overview)
    chosen = tuple(dataset.parts[band - 1] for band in bands)
    sides = []
    for band in chosen:
        if is_remote(band.url) and not form.copied(band, level):  # interpolated at the borders of pieces
            return None
        side = piece_pixels(band.url, band.blocks[form.source_level(band, level)])
        if side is None:
            return None
        sides.append(side)
    return StackPieces(rasters, dataset.url, chosen, form, level, tuple(sides))
