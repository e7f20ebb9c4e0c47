"""Where the pixels of an image are taken from: stored ones, or those of a layer that are kept for the analysis."""

from __future__ import annotations

from dataclasses import dataclass

from server.raster.cache import RasterCache
from server.raster.dataset import Dataset
from server.raster.grid import Box
from server.raster.layer import Layer
from server.raster.outline import Outline, stack_outline
from server.raster.stack import Level
from server.raster.storedpieces import Bands, PixelPieces, Some, outline_of, stored_pieces


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

    def over(self, box: Box) -> tuple[Bands, Some]:
        """See `PixelPieces`."""
        self.rasters.announce_pixels(self.layer, box)
        pixels = self.rasters.pixels(self.layer, box, bands=self.positions)
        guessed = pixels.valid & ~pixels.whole  # bands without a number, for the analysis
        return pixels.values, guessed if guessed.any() else None

    def hidden(self, _box: Box) -> Some:
        """None: they are not taken where there is a mask."""
        return None

    def fit(self, outline: Outline) -> bool:
        """Whether they are a raster's pixels, in its type and on its grid, and no mask hides some."""
        own = stack_outline(self.layer.dataset.parts) if self.layer.dataset.parts else outline
        return not outline.masked and (own.dtypes[0], repr(own.nodata), own.transform, own.width, own.height) == (
            outline.dtypes[0],
            repr(outline.nodata),
            outline.transform,
            outline.width,
            outline.height,
        )


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
    if overview is None and shared is not None and shared.fit(outline_of(rasters.sources, dataset)):
        return shared
    return stored_pieces(rasters.stored, dataset, bands, overview)
