"""One piece: read, fill with the server's own code, encode."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from rasterio.crs import CRS
from rasterio.windows import bounds as window_bounds
from rio_tiler.models import ImageData
from rio_tiler.reader import read

from algorithms.fill import UNFILLED
from algorithms.masks import NODATA
from algorithms.removal import CloudImage, CloudRemoval
from algorithms.sidecar import CloudSidecar, hidden_pixels
from server.analysis.engine import Analysis
from server.analysis.outputs import completed, read_layer
from server.analysis.plane import Plane
from server.analysis.sidecar import classes_sidecar, fill_sidecar
from server.export.figures import FillFigures
from server.export.plan import Piece, blocks_box, blocks_under, ground_around, window_of
from server.export.tiles import LOSSLESS, stored_mask, stored_tiles
from server.raster.dataset import dataset_crs
from server.raster.grid import BlockNumber, Box
from server.raster.sampling import OutputGrid
from server.raster.sources import Sources

FIGURES_KIND: Final = "figures.json"
MASK_KIND: Final = "mask.tif"
PROVENANCE_KIND: Final = "provenance.tif"
IMAGE_KIND: Final = "image.tif"
"""Kinds of the files of a piece, each the end of their names."""


@dataclass(frozen=True, slots=True)
class Looked:
    """A box of the target's pixels as they are, and what fills their clouds; arrays are (rows, cols)."""

    image: ImageData
    """The target's bands."""
    output: OutputGrid
    """The box as an output grid."""
    clouds: CloudSidecar
    """The fill."""
    source: npt.NDArray[np.uint8]
    """0 original, k the k-th replacement, 255 unfilled or no data."""
    confidence: npt.NDArray[np.uint8]
    """Percent."""
    hidden: npt.NDArray[np.bool_]
    """Pixels without data."""


@dataclass(frozen=True, slots=True)
class FilledPiece:
    """The pixels of a piece."""

    image: npt.NDArray[Any]
    """(bands, rows, cols) of the target's data type, alpha bands included."""
    mask: npt.NDArray[np.uint8] | None
    """(1, rows, cols), 255 where there is data; None where the output has no mask."""
    provenance: npt.NDArray[np.uint8] | None
    """(3, rows, cols): source, confidence, classes."""
    figures: FillFigures
    """What was found and filled."""


@dataclass(frozen=True, slots=True)
class PieceFiller:
    """Fills pieces of one scene; any number of threads may use it."""

    analysis: Analysis
    """What is computed, and its cache."""
    plane: Plane
    """What to analyse."""
    algorithm: CloudRemoval
    """How to fill."""
    provenance: bool
    """Whether provenance is wanted."""
    needs_mask: bool
    """Whether the output has a mask."""
    reading: dict[str, Any]
    """Options for reading replacements."""
    compression: str
    """How the output's pixels are compressed."""
    written: tuple[int, ...] | None = None
    """0-based positions of the target's bands that are written; None for all, and what other bands its file has."""

    def kinds(self, _piece: Piece) -> tuple[str, ...]:
        """The files of a piece, in the order they are written."""
        return (FIGURES_KIND, *[MASK_KIND] * self.needs_mask, *[PROVENANCE_KIND] * self.provenance, IMAGE_KIND)

    def make(self, piece: Piece) -> Iterator[tuple[str, bytes]]:
        """The files of a piece, by kind and in the order of `kinds`."""
        filled = self.fill(piece)
        yield FIGURES_KIND, filled.figures.written()
        if filled.mask is not None:
            yield MASK_KIND, stored_mask(filled.mask)
        if filled.provenance is not None:
            yield PROVENANCE_KIND, stored_tiles(filled.provenance, LOSSLESS[0])
        yield IMAGE_KIND, stored_tiles(filled.image, self.compression)

    @property
    def sources(self) -> Sources:
        """What opens rasters."""
        return self.analysis.rasters.sources

    def announce(self, pieces: list[Piece]) -> None:
        """Say which blocks of fills will be made."""
        self.analysis.announce(self.plane, blocks_under(self.plane, pieces))

    def infer(self, pieces: list[Piece]) -> None:
        """Find the clouds around pieces: masks first, or each group of blocks would make its own."""
        numbers = blocks_under(self.plane, pieces)
        around = self.plane.mask_cells(ground_around(self.plane, numbers))
        self.analysis.pairs.classes(self.plane.masks, around)
        self.analysis.prepare_groups(self.plane, numbers)

    def prepare(self, pieces: list[Piece]) -> None:
        """Compute and keep the fills of pieces."""
        self.analysis.groups(self.plane, blocks_under(self.plane, pieces))

    def keep(self, coming: list[list[Piece]]) -> None:
        """Keep no more in memory than strips of pieces need that are not made yet."""
        swaths: dict[int, list[BlockNumber]] = {}
        for strip in coming:
            swaths.setdefault(strip[0].pixels.left, []).extend(blocks_under(self.plane, strip))
        made = [self.plane.rimmed(blocks_box(self.plane, numbers)) for numbers in swaths.values()]
        seen = [ground_around(self.plane, numbers) for numbers in swaths.values()]
        self.analysis.keep(self.plane, made=made, seen=seen)

    def read(self, box: Box) -> tuple[ImageData, OutputGrid, npt.NDArray[np.bool_]]:
        """A box of the target's pixels as they are, the box as an output grid, and which pixels have no data."""
        target = self.plane.target.dataset
        window = window_of(box)
        if (image := self._kept(box)) is None:
            with self.sources.open_described(target) as src:
                image = read(src, window=window, indexes=target.indexes, nodata=target.nodata)
        rows, cols = box.shape
        output = OutputGrid.from_bounds(target.crs, window_bounds(window, target.affine), cols, rows)
        return image, output, hidden_pixels(image)

    def _kept(self, box: Box) -> ImageData | None:
        """The same image from the pixels that fills read anyway, without decoding them again.

        None where these may not be kept, or are not what the file holds: converted, or with a guess for a band's gap.
        """
        target = self.plane.target.dataset
        if not self.plane.pixelwise or target.parts or target.nodata is None or target.dtype.startswith("float"):
            return None
        pixels = self.analysis.rasters.pixels(self.plane.target, box)
        if pixels.values.dtype != target.dtype or not np.array_equal(pixels.valid, pixels.whole):
            return None
        array = np.ma.MaskedArray(pixels.values, mask=np.broadcast_to(~pixels.valid, pixels.values.shape))
        bounds = window_bounds(window_of(box), target.affine)
        return ImageData(array, bounds=bounds, crs=dataset_crs(target), nodata=target.nodata)

    def look(self, box: Box) -> Looked:
        """Read a box of pixels, and what fills its clouds."""
        image, output, hidden = self.read(box)
        clouds = completed(self._fill_sidecar(output, image.crs), hidden)
        assert clouds.source is not None  # noqa: S101  (completed)
        return Looked(image, output, clouds, clouds.source, self._confidence(output, clouds.source, hidden), hidden)

    def fill(self, piece: Piece) -> FilledPiece:
        """Read a piece and fill its clouds."""
        target = self.plane.target.dataset
        looked = self.look(piece.pixels)
        with self.sources.open_described(target) as src:
            others = [i for i in src.indexes if i not in target.indexes]
            alpha = src.read(others, window=piece.window) if others else None
            own_mask = src.dataset_mask(window=piece.window) if self.needs_mask else None
        data = self.algorithm(CloudImage.of(looked.image, looked.clouds)).array.data
        if self.algorithm.unfilled == "nodata":
            self._open((looked.source == UNFILLED) & ~looked.hidden, data, alpha, own_mask)
        if self.written is not None:
            data = data[list(self.written)]
        elif alpha is not None:
            data = self._with_others(data, alpha, others)
        return FilledPiece(
            image=data,
            mask=own_mask,
            provenance=self._provenance(looked) if self.provenance else None,
            figures=FillFigures.of(looked.source, looked.confidence, looked.hidden),
        )

    def _fill_sidecar(self, output: OutputGrid, crs: CRS) -> CloudSidecar:
        """The fill of the cloudy pixels of a piece."""
        bands = tuple(range(len(self.plane.target.dataset.indexes)))
        return fill_sidecar(
            self.analysis,
            self.plane.task,
            output,
            needs="fill",
            bands=bands,
            grid=self.plane.grid,
            read_replacement=lambda k: read_layer(
                self.analysis.rasters, self.plane.replacement(k), bands, output, crs, self.reading
            ),
        )

    def _confidence(
        self, output: OutputGrid, source: npt.NDArray[np.uint8], hidden: npt.NDArray[np.bool_]
    ) -> npt.NDArray[np.uint8]:
        """(H, W), percent."""
        if not ((source != 0) & ~hidden).any():
            return np.full(source.shape, 100, np.uint8)
        clouds = fill_sidecar(
            self.analysis, self.plane.task, output, needs="provenance", bands=(), grid=self.plane.grid
        )
        confidence = completed(clouds, hidden).confidence
        assert confidence is not None  # noqa: S101  (completed)
        # Pixels that the replacement lacks within a cell it covers in part are not filled after all.
        return np.where(source == UNFILLED, 0, confidence).astype(np.uint8)

    def _open(
        self,
        lost: npt.NDArray[np.bool_],
        data: npt.NDArray[Any],
        alpha: npt.NDArray[Any] | None,
        own_mask: npt.NDArray[np.uint8] | None,
    ) -> None:
        """Mark pixels as without data, in the target's own way."""
        nodata = self.plane.target.dataset.nodata
        if nodata is not None:
            data[:, lost] = nodata
        elif alpha is not None:
            alpha[:, lost] = 0
        if own_mask is not None:
            own_mask[lost] = 0

    def _with_others(self, data: npt.NDArray[Any], alpha: npt.NDArray[Any], others: list[int]) -> npt.NDArray[Any]:
        """All bands in the target's order."""
        indexes = self.plane.target.dataset.indexes
        result = np.empty((len(indexes) + len(others), *data.shape[1:]), data.dtype)
        result[[i - 1 for i in indexes]] = data
        result[[i - 1 for i in others]] = alpha
        return result

    def _provenance(self, looked: Looked) -> npt.NDArray[np.uint8]:
        """Source, confidence and classes; 255 in all three without data."""
        classes = classes_sidecar(self.analysis, self.plane.task, looked.output).classes
        assert classes is not None  # noqa: S101  (asked for)
        result = np.stack([looked.source, looked.confidence, classes])
        result[:, looked.hidden] = NODATA
        return result
